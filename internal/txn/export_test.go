// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package txn

// Limit makes the Verifier remember less.
func (v *Verifier) Limit(tokens, bytes int) { v.most, v.mostBytes = tokens, bytes }

// Remembered is how many tokens are remembered.
func (v *Verifier) Remembered() int { return v.recent.Len() }
