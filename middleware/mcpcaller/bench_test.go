// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpcaller_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/middleware/mcpcaller"
)

// BenchmarkCall is the work of the door alone: nothing is sent, and the guard has
// the certificates, as the worker has.
func BenchmarkCall(b *testing.B) {
	ca := testkit.NewCA(b, "custody.local")
	svid := ca.SVID("refunds")
	factory := mcpcaller.NewFactory(func() (mcpcaller.Host, error) {
		return mcpcaller.Host{ID: svid.ID, SVIDs: svid, Bundles: x509bundle.NewSet(ca.Bundle()), Log: b.Logf}, nil
	})
	caller, err := factory.Make("bench", map[string]string{"journalDir": filepath.Join(b.TempDir(), "journal")})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, factory.Close()) })
	door := caller.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			panic(err)
		}
		w.Header().Set(mcpcaller.HeaderHas, mcpcaller.HasBoth)
	}))
	held := receipt.KeyID(svid.Certificates[0])[:16]
	body := call("echo", strings.Repeat("x", 500))
	run := func(b *testing.B, step func(n int) string) {
		b.ReportAllocs()
		for n := 1; b.Loop(); n++ {
			r := httptest.NewRequest(http.MethodPost, invokePath, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			if step != nil {
				r.Header.Set(mcpcaller.HeaderStep, encoded(step(n)))
				r.Header.Set(mcpcaller.HeaderHeld, held)
			}
			w := httptest.NewRecorder()
			door.ServeHTTP(w, r)
			if w.Code != http.StatusOK {
				b.Fatal(w.Body)
			}
		}
	}
	b.Run("no step", func(b *testing.B) { run(b, nil) })
	b.Run("new steps", func(b *testing.B) { run(b, aStep) })
	b.Run("one step again", func(b *testing.B) { run(b, func(int) string { return aStep(1 << 30) }) })
}
