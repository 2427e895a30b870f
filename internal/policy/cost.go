// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// costs says what the calls of a condition cost. CEL's own numbers go by the types
// that are known when a condition is compiled, and for arguments none are; they
// also take the size of a text, and comparing nested lists, for one step.
type costs struct{}

// CallCost implements cost.ActualCostEstimator.
func (costs) CallCost(function, _ string, args []ref.Val, result ref.Val) *uint64 {
	c := uint64(1)
	switch function {
	case overloads.Matches:
		// Length of the text times length of the pattern, as CEL has it.
		return nil
	case chainHas, chainApprovedBy, chainWithin, chainPassed:
		if h, ok := args[0].(*history); ok {
			c += h.spent()
		}
	case operators.In:
		c += weight(args[1])
	case operators.Equals, operators.NotEquals, operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		c += min(weight(args[0]), weight(args[1]))
	default:
		for _, v := range append(args[:len(args):len(args)], result) {
			if text, ok := v.(types.String); ok {
				c += weight(text)
			}
		}
	}
	return &c
}

// maxSummed is the size up to which the members of a list that a condition made
// itself are weighed each.
const maxSummed = 64

// weight is the number of values in v, with one more for ten characters of a text.
// It takes about one step, whatever v is.
func weight(v ref.Val) uint64 {
	switch v := v.(type) {
	case types.String:
		return 1 + uint64(len(v))/10
	case valueList:
		return v.weight
	case valueMap:
		return v.weight
	case traits.Lister:
		n, ok := v.Size().(types.Int)
		if !ok || n > maxSummed {
			return 1 + uint64(n) //nolint:gosec // a length
		}
		sum := uint64(1)
		for i := types.IntZero; i < n; i++ {
			sum += weight(v.Get(i))
		}
		return sum
	case traits.Sizer:
		n, _ := v.Size().(types.Int)
		return 1 + uint64(n) //nolint:gosec // a length
	}
	return 1
}
