// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sqlguard_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/sqlguard"
)

// BenchmarkInspect measures the guard alone, for each class of statement without the cache and with it.
func BenchmarkInspect(b *testing.B) {
	classes := []struct{ name, text string }{
		{"point select", "SELECT id, total, status FROM shop.orders WHERE id = $1"},
		{"join and group", "SELECT c.country, count(*), sum(o.total) FROM shop.orders o JOIN shop.customers c ON c.id = o.customer_id WHERE o.status = 'paid' AND c.country = $1 GROUP BY c.country HAVING count(*) > 3 ORDER BY 3 DESC LIMIT 10"},
		{"recursive cte", "WITH RECURSIVE tree AS (SELECT sku, parent, 0 AS level FROM shop.products WHERE parent IS NULL UNION ALL SELECT p.sku, p.parent, t.level + 1 FROM shop.products p JOIN tree t ON p.parent = t.sku) SELECT t.sku, t.level, l.n FROM tree t CROSS JOIN LATERAL (SELECT count(*) AS n FROM shop.items i WHERE i.sku = t.sku) l ORDER BY t.level"},
		{"window", "SELECT id, sum(total) OVER (PARTITION BY customer_id ORDER BY created_at ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) FROM shop.orders"},
		{"insert", "INSERT INTO shop.orders (id, customer_id, status, total) VALUES ($1, $2, $3, $4) RETURNING id"},
		{"update", "UPDATE shop.orders SET status = $2, notes = COALESCE(notes, '') || $3 WHERE id = $1"},
		{"upsert", "INSERT INTO shop.stock (sku, on_hand) VALUES ($1, $2) ON CONFLICT (sku) DO UPDATE SET on_hand = stock.on_hand + excluded.on_hand"},
		{"at the caps", "SELECT " + strings.Repeat("1,", 990) + "1 -- " + strings.Repeat("x", 14000)},
		{"refused by size", "SELECT '" + strings.Repeat("x", 20000) + "'"},
		{"refused by function", "SELECT pg_sleep(10)"},
	}
	for _, class := range classes {
		for cached, bytes := range map[string]int{"uncached": -1, "cached": 0} {
			b.Run(class.name+"/"+cached, func(b *testing.B) {
				guard := newGuard(b, sqlguard.Options{CacheBytes: bytes})
				_, first := guard.Inspect(class.text)
				b.ReportAllocs()
				for b.Loop() {
					_, err := guard.Inspect(class.text)
					if (err == nil) != (first == nil) {
						require.NoError(b, err)
					}
				}
			})
		}
	}
}
