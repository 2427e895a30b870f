// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sqlguard_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/sqlguard"
)

// bound says whether customer_id is bound for certain in every occurrence of orders.
func bound(s *sqlguard.Statement) bool {
	for _, relation := range s.Relations {
		if relation.Name.Name == "orders" && !relation.IsBound("customer_id") {
			return false
		}
	}
	return true
}

func TestBindings(t *testing.T) {
	tests := []struct {
		name, in string
		want     bool
	}{
		{"a parameter", "SELECT * FROM orders WHERE customer_id = $1", true},
		{"a literal, from the other side", "SELECT * FROM orders WHERE 7 = customer_id", true},
		{"a cast value", "SELECT * FROM orders WHERE customer_id = '7'::int", true},
		{"among others", "SELECT * FROM orders o WHERE o.total > 1 AND (o.customer_id = $1 AND o.status = 'x')", true},
		{"nothing", "SELECT * FROM orders", false},
		{"OR", "SELECT * FROM orders WHERE customer_id = $1 OR true", false},
		{"OR below AND", "SELECT * FROM orders WHERE total > 1 AND (customer_id = $1 OR 1 = 1)", false},
		{"NOT", "SELECT * FROM orders WHERE NOT customer_id = $1", false},
		{"another operator", "SELECT * FROM orders WHERE customer_id >= $1", false},
		{"IS NOT DISTINCT FROM", "SELECT * FROM orders WHERE customer_id IS NOT DISTINCT FROM $1", false},
		{"itself", "SELECT * FROM orders WHERE customer_id = customer_id", false},
		{"an expression of itself", "SELECT * FROM orders WHERE customer_id + 0 = $1", false},
		{"a value that a subquery picks", "SELECT * FROM orders WHERE customer_id = (SELECT 1)", false},
		{"a value that a function makes", "SELECT * FROM orders WHERE customer_id = abs(1)", false},
		{"ANY of a list", "SELECT * FROM orders WHERE customer_id = ANY ($1)", false},
		{"in HAVING", "SELECT customer_id FROM orders GROUP BY customer_id HAVING customer_id = $1", false},
		{"in CASE", "SELECT * FROM orders WHERE CASE WHEN customer_id = $1 THEN true ELSE true END", false},
		{"in the select list", "SELECT customer_id = $1 FROM orders", false},
		{"one of two", "SELECT * FROM orders a, orders b WHERE a.customer_id = $1", false},
		{"both of two", "SELECT * FROM orders a, orders b WHERE a.customer_id = $1 AND b.customer_id = $1", true},
		{"another table's column", "SELECT * FROM orders o, customers c WHERE c.customer_id = $1", false},
		{"a bare column of two tables", "SELECT * FROM orders o, customers c WHERE customer_id = $1", false},
		{"a bare column beside a CTE", "WITH x AS (SELECT 1 AS customer_id) SELECT * FROM orders o, x WHERE customer_id = $1", false},
		{"another table under the name of orders", "SELECT * FROM orders o, customers orders WHERE orders.customer_id = $1", false},
		{"one arm of a union", "SELECT * FROM orders WHERE customer_id = $1 UNION SELECT * FROM orders", false},
		{"both arms of a union", "SELECT * FROM orders WHERE customer_id = $1 UNION SELECT * FROM orders WHERE customer_id = $1", true},
		{"a subquery", "SELECT (SELECT count(*) FROM orders) FROM orders WHERE customer_id = $1", false},
		{"outside of the subquery", "SELECT * FROM (SELECT * FROM orders) o WHERE o.customer_id = $1", false},
		{"inside of the subquery", "SELECT * FROM (SELECT * FROM orders WHERE customer_id = $1) o", true},
		{"the outer orders in the inner condition", "SELECT 1 FROM orders o WHERE o.customer_id = $1 AND EXISTS (SELECT 1 FROM orders x WHERE o.customer_id = $1)", false},
		{"a name that a join's alias hides", "SELECT 1 FROM orders o WHERE o.customer_id = 1 AND EXISTS (SELECT 1 FROM (orders o JOIN c ON true) AS j WHERE o.customer_id = 1)", false},
		{"a schema that may be an outer level's", "SELECT 1 FROM shop.orders x WHERE x.customer_id = 1 AND EXISTS (SELECT 1 FROM orders WHERE shop.orders.customer_id = 1)", false},
		{"a schema", "SELECT 1 FROM shop.orders WHERE shop.orders.customer_id = 1", true},
		{"a column that an alias renames", "SELECT * FROM orders AS o(customer_id, id) WHERE o.customer_id = $1", false},
		{"a column that a join's alias renames", "SELECT * FROM (orders o JOIN c ON true) AS j(customer_id) WHERE customer_id = $1", false},
		{"ON of an inner join", "SELECT * FROM orders o JOIN c ON o.customer_id = $1", true},
		{"ON of a left join that keeps orders", "SELECT * FROM orders o LEFT JOIN c ON o.customer_id = $1", false},
		{"ON of a left join that may drop orders", "SELECT * FROM c LEFT JOIN orders o ON o.customer_id = $1", true},
		{"ON of a right join that keeps orders", "SELECT * FROM c RIGHT JOIN orders o ON o.customer_id = $1", false},
		{"ON of a full join", "SELECT * FROM c FULL JOIN orders o ON o.customer_id = $1", false},
		{"WHERE above a full join", "SELECT * FROM c FULL JOIN orders o ON true WHERE o.customer_id = $1", true},
		{"an update", "UPDATE orders SET total = 1 WHERE customer_id = $1", true},
		{"an update that sets it", "UPDATE orders SET customer_id = $1", false},
		{"an update by another table", "UPDATE orders SET total = 1 FROM c WHERE c.customer_id = $1", false},
		{"a delete", "DELETE FROM orders WHERE customer_id = $1 AND total = 0", true},
		{"a delete of all", "DELETE FROM orders WHERE customer_id = customer_id", false},
		{"an insert", "INSERT INTO orders (id, customer_id) VALUES (1, $1), (2, $1)", true},
		{"an insert of two values", "INSERT INTO orders (id, customer_id) VALUES (1, $1), (2, $2)", false},
		{"an insert without its column", "INSERT INTO orders (id) VALUES (1)", false},
		{"an insert without a list", "INSERT INTO orders VALUES ($1)", false},
		{"an insert of a query", "INSERT INTO orders (customer_id) SELECT $1", false},
		{"an insert of the default", "INSERT INTO orders (customer_id) VALUES (DEFAULT)", false},
		{"an upsert over another's row", "INSERT INTO orders (id, customer_id) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET total = 1", false},
		{"an upsert that looks at the new row only", "INSERT INTO orders (id, customer_id) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET total = 1 WHERE excluded.customer_id = $1", false},
		{"an upsert of own rows", "INSERT INTO orders (id, customer_id) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET total = 1 WHERE orders.customer_id = $1", true},
		{"an upsert of two customers", "INSERT INTO orders (id, customer_id) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET total = 1 WHERE orders.customer_id = $2", false},
		{"a merge", "MERGE INTO orders o USING n ON o.customer_id = $1 AND n.id = o.id WHEN MATCHED THEN DELETE", true},
		{"a merge of what nothing matched", "MERGE INTO orders o USING n ON o.customer_id = $1 WHEN NOT MATCHED BY SOURCE THEN DELETE", false},
		{"a merge that inserts", "MERGE INTO orders o USING n ON o.customer_id = $1 WHEN NOT MATCHED THEN INSERT VALUES (n.id)", false},
		{"the source of a merge", "MERGE INTO n USING orders o ON o.customer_id = $1 WHEN NOT MATCHED THEN INSERT VALUES (o.id)", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			require.Equal(t, test.want, bound(parse(t, test.in)), strings.Join(describe(parse(t, test.in)), "\n"))
		})
	}
}

func TestBindingValues(t *testing.T) {
	relation := parse(t, "SELECT 1 FROM o WHERE a = 1 AND b = 1.5 AND c = 'it''s' AND d = true AND e = B'1' AND f = NULL AND g = $3::text AND 0 = h").Relations[0]
	require.Equal(t, []sqlguard.Binding{
		{Column: "a", Literal: "1"},
		{Column: "b", Literal: "1.5"},
		{Column: "c", Literal: "it's"},
		{Column: "d", Literal: "true"},
		{Column: "e", Literal: "b1"},
		{Column: "f", Null: true},
		{Column: "g", Parameter: 3},
		{Column: "h", Literal: "0"},
	}, relation.Bound)
}

func TestHasWhere(t *testing.T) {
	for in, want := range map[string]bool{
		"UPDATE orders SET a = 1":                                                              false,
		"UPDATE orders SET a = 1 WHERE true":                                                   false,
		"UPDATE orders SET a = 1 WHERE 1 = 1":                                                  false,
		"UPDATE orders SET a = 1 WHERE id > 3":                                                 true,
		"UPDATE orders SET a = 1 WHERE EXISTS (SELECT 1)":                                      false,
		"UPDATE orders SET a = 1 WHERE EXISTS (SELECT 1 FROM c WHERE c.id = 3)":                false,
		"UPDATE orders SET a = 1 WHERE EXISTS (SELECT 1 FROM c WHERE id = 3)":                  false,
		"UPDATE orders SET a = 1 WHERE EXISTS (SELECT 1 FROM c WHERE c.id = orders.id)":        true,
		"UPDATE orders SET a = 1 FROM c WHERE c.id = 3":                                        false,
		"DELETE FROM orders":                                                                   false,
		"DELETE FROM orders WHERE id = $1":                                                     true,
		"DELETE FROM orders USING c WHERE c.x":                                                 false,
		"DELETE FROM orders o WHERE o.id IN (SELECT 1)":                                        true,
		"MERGE INTO orders USING c ON true WHEN MATCHED THEN DELETE":                           false,
		"MERGE INTO orders USING c ON c.id = orders.id WHEN MATCHED THEN DELETE":               true,
		"MERGE INTO orders USING c ON c.id = orders.id WHEN NOT MATCHED BY SOURCE THEN DELETE": false,
	} {
		require.Equal(t, want, parse(t, in).Relations[0].HasWhere, in)
	}
}
