// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package journal_test

import (
	"bytes"
	"sync"
	"testing"

	"github.com/dapr-custody/custody/internal/journal"
)

// BenchmarkAppend writes records of the size of a receipt.
func BenchmarkAppend(b *testing.B) {
	payload := bytes.Repeat([]byte("r"), 2200)
	for _, durability := range []journal.Durability{journal.DurabilityGroup, journal.DurabilitySync} {
		for _, writers := range []int{1, 64} {
			name := string(durability) + "/alone"
			if writers > 1 {
				name = string(durability) + "/64-writers"
			}
			b.Run(name, func(b *testing.B) {
				w := open(b, journal.Options{Dir: b.TempDir(), Durability: durability})
				b.ReportAllocs()
				b.ResetTimer()
				var group sync.WaitGroup
				for n := range writers {
					group.Go(func() {
						for i := n; i < b.N; i += writers {
							if _, err := w.Append(journal.KindReceipt, payload); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				group.Wait()
				b.StopTimer()
				if err := w.Close(); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}

func BenchmarkRead(b *testing.B) {
	dir := b.TempDir()
	w := open(b, journal.Options{Dir: dir})
	payload := bytes.Repeat([]byte("r"), 2200)
	for range 10_000 {
		if _, err := w.Append(journal.KindReceipt, payload); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(10_000 * int64(len(payload)))
	b.ResetTimer()
	for b.Loop() {
		if err := journal.Read(dir, func(journal.Record) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
