// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policydir_test

import (
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/policydir"
)

// BenchmarkChange is the time from before a save until the new Set is in force for
// whoever asks.
func BenchmarkChange(b *testing.B) {
	f := &folder{t: b, dir: b.TempDir()}
	f.open(b)
	texts := []string{text("a", "x", "!y"), text("a", "x", "!z")}
	i := 0
	for b.Loop() {
		f.write("a.yaml", texts[i%2])
		f.watcher.Current()
		i++
	}
}

// BenchmarkCurrent is what a call pays to know that nothing has changed.
func BenchmarkCurrent(b *testing.B) {
	f := &folder{t: b, dir: b.TempDir()}
	f.open(b)
	b.ReportAllocs()
	for b.Loop() {
		f.watcher.Current()
	}
}

// open watches without keeping the statuses.
func (f *folder) open(b *testing.B) {
	var err error
	f.watcher, err = policydir.Open(policydir.Options{
		Dir:     f.dir,
		Compile: policy.CompileOptions{TrustDomain: spiffeid.RequireTrustDomainFromString("custody.local"), Namespace: "default"},
	})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, f.watcher.Close()) })
}
