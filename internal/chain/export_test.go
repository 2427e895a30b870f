// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package chain

// Forget makes a chain look at its links anew.
func Forget(c *Chain) { c.memo = memo{} }

const (
	// MaxSkewForTest is how much clocks may differ.
	MaxSkewForTest = maxSkew
	// FreelyCopied is how many links may be remembered twice.
	FreelyCopied = freelyCopied
)

// Remembered is how many links stand in what a chain remembers, each as often as it does.
func Remembered(c *Chain) int {
	n := 0
	seen := map[*span]bool{}
	count := func(p past) {
		for s := p.span; s != nil && !seen[s]; s = s.base {
			seen[s] = true
			n += len(s.own)
		}
	}
	for _, p := range c.memo.nodes {
		count(p)
	}
	for _, p := range c.memo.unions {
		count(p)
	}
	return n
}
