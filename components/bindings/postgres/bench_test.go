// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres_test

import (
	"context"
	"testing"

	"github.com/dapr/components-contrib/bindings"
	"github.com/stretchr/testify/require"
)

// A point select by Dapr's binding, and by the door: both in this process, to the same server.
func BenchmarkPointSelect(b *testing.B) {
	r := newRig(b, allowAll)
	for name, binding := range map[string]bindings.OutputBinding{"dapr": r.plain(), "custody": r.binding("reader")} {
		for _, operation := range []struct {
			kind bindings.OperationKind
			sql  string
		}{{"query", "SELECT id, status, total FROM shop.orders WHERE id = $1"}} {
			ctx := r.as(context.Background(), "reader")
			request := &bindings.InvokeRequest{Operation: operation.kind, Metadata: map[string]string{"sql": operation.sql, "params": "[7]"}}
			b.Run(name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					_, err := binding.Invoke(ctx, request)
					require.NoError(b, err)
				}
			})
		}
	}
}
