// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package rate_test

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/dapr-custody/custody/internal/rate"
)

// BenchmarkTake has one claim with a key of usual length. With 64 goroutines each has a key of its own, or all share
// one.
func BenchmarkTake(b *testing.B) {
	for _, kind := range []string{"memory", "file"} {
		for _, c := range []struct {
			name   string
			takers int
			keys   int
			count  int
		}{
			{"alone", 1, 1, rate.MaxCount},
			{"alone-refused", 1, 1, 1},
			{"64-keys", 64, 64, rate.MaxCount},
			{"64-one-key", 64, 1, rate.MaxCount},
		} {
			b.Run(kind+"/"+c.name, func(b *testing.B) {
				options := rate.Options{Now: time.Now}
				if kind == "file" {
					options.File = filepath.Join(b.TempDir(), "rates")
				}
				l, err := rate.New(options)
				if err != nil {
					b.Fatal(err)
				}
				unit := time.Second // a million each second is more than can be asked for
				if c.count == 1 {
					unit = time.Hour
				}
				b.ReportAllocs()
				b.ResetTimer()
				var group sync.WaitGroup
				for n := range c.takers {
					claim := rate.Claim{
						Key:   fmt.Sprintf("orders/report/spiffe://public/ns/default/app/analytics-agent/orders/run_report/%d", n%c.keys),
						Limit: rate.Limit{Count: c.count, Per: unit},
					}
					group.Go(func() {
						for i := n; i < b.N; i += c.takers {
							if _, _, _, err := l.Take(claim); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				group.Wait()
				b.StopTimer()
				if err := l.Close(); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}

// BenchmarkFullTable takes for a new key where as many as may be are counted.
func BenchmarkFullTable(b *testing.B) {
	const keys = 100_000
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, pass := range map[string]time.Duration{"none-is-full": 0, "one-is-full": time.Millisecond} {
		b.Run(name, func(b *testing.B) {
			at := now
			l, err := rate.New(rate.Options{Now: func() time.Time { return at }, MaxKeys: keys})
			if err != nil {
				b.Fatal(err)
			}
			take := func(n int) {
				_, _, _, err = l.Take(rate.Claim{Key: fmt.Sprint(n), Limit: rate.Limit{Count: 1, Per: time.Hour}})
			}
			for n := range keys {
				take(n)
				at = at.Add(pass)
			}
			if pass > 0 {
				at = now.Add(time.Hour)
			}
			b.ResetTimer()
			for n := keys; b.Loop(); n++ {
				take(n)
				at = at.Add(pass)
			}
		})
	}
}
