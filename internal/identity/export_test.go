// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package identity

// RememberAtMost lowers the number of chains that v remembers.
func RememberAtMost(v *Verifier, most int) { v.most = most }

// Remembered is the number of chains that v remembers.
func Remembered(v *Verifier) int { return len(v.seen) }
