// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policydir_test

import "testing"

// BenchmarkChange is the time from before a save until the new Set is in force.
func BenchmarkChange(b *testing.B) {
	f := open(b, b.TempDir(), nil)
	texts := []string{text("a", "x", "!y"), text("a", "x", "!z")}
	i := 0
	for b.Loop() {
		f.write("a.yaml", texts[i%2])
		f.next(inForce)
		i++
	}
}
