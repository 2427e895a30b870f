// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// maxAhead is how far the clock of whoever signed a step may be before ours.
const maxAhead = time.Minute

// pastType is the type of what stands for chain as a whole. No condition can write its name.
var pastType = cel.OpaqueType("chain")

// history is the Past of a request as the functions of chain get it. It is no
// list, for CEL looks at each element of a list that a function gets.
type history struct {
	past   Past // nil for none
	now    time.Time
	passed func(tool string) (int, error)
	// looked is what the function called last has cost.
	looked uint64
}

func (h *history) len() int {
	if h.past == nil {
		return 0
	}
	return h.past.Len()
}

// named returns the steps of a name, oldest first.
func (h *history) named(name string) []int {
	if h.past == nil {
		return nil
	}
	return h.past.Named(name)
}

// spent returns what the function called last has cost, once.
func (h *history) spent() uint64 {
	cost := h.looked
	h.looked = 0
	return cost
}

// wanted is what a step has to be beside done.
type wanted struct {
	// pattern matches who did it; "" for whoever.
	pattern string
	// span is how long ago it may be, where timed is set.
	span  time.Duration
	timed bool
}

// some reports whether one of the steps at the places was done and is as wanted. It
// begins with the newest, and ends where the condition has cost too much, which is
// an error as soon as that is counted.
func (h *history) some(places []int, want wanted) bool {
	for _, i := range slices.Backward(places) {
		if h.looked > maxConditionCost {
			break
		}
		h.looked++
		s := h.past.Step(i)
		if s.done() && (want.pattern == "" || h.by(&s, want.pattern)) && (!want.timed || h.recent(&s, want.span)) {
			return true
		}
	}
	return false
}

// by reports whether the pattern matches the workload, and counts the work.
func (h *history) by(s *PastStep, pattern string) bool {
	id := s.By.String()
	h.looked += 1 + uint64(len(id))/10
	return namesCaller(pattern, id)
}

func (h *history) recent(s *PastStep, span time.Duration) bool {
	ago := h.now.Sub(s.At)
	return !s.At.IsZero() && ago <= span && ago >= -maxAhead
}

// hasStep is chain.has.
func hasStep(args ...ref.Val) ref.Val {
	h, name, want, fault := nameAndPattern(args)
	if fault != nil {
		return fault
	}
	return types.Bool(h.some(h.named(name), want))
}

// hasWithin is chain.within, whose last argument is how long ago a step may be.
func hasWithin(args ...ref.Val) ref.Val {
	last := len(args) - 1
	h, name, want, fault := nameAndPattern(args[:last])
	span, ok := args[last].(types.Duration)
	switch {
	case fault != nil:
		return fault
	case !ok:
		return types.MaybeNoSuchOverloadErr(args[last])
	}
	places := h.named(name)
	if len(places) > 0 && h.now.IsZero() {
		return types.WrapErr(errNoNow)
	}
	want.span, want.timed = span.Duration, true
	return types.Bool(h.some(places, want))
}

// nameAndPattern takes the arguments of a function: the Past, the name of a step
// and, if there are three, the pattern of who did it.
func nameAndPattern(args []ref.Val) (h *history, name string, want wanted, fault ref.Val) {
	h, ok := args[0].(*history)
	text, isText := args[1].(types.String)
	if !ok || !isText {
		return nil, "", wanted{}, types.MaybeNoSuchOverloadErr(args[1])
	}
	if len(args) > 2 {
		pattern, isText := args[2].(types.String)
		if !isText || pattern == "" {
			return nil, "", wanted{}, types.MaybeNoSuchOverloadErr(args[2])
		}
		want.pattern = string(pattern)
	}
	h.looked = weight(text)
	return h, string(text), want, nil
}

// approvedBy is chain.approvedBy. It looks at all steps, up to what a condition may
// cost: approvals have names of their own.
func approvedBy(steps, text ref.Val) ref.Val {
	h, ok := steps.(*history)
	pattern, isText := text.(types.String)
	if !ok || !isText {
		return types.MaybeNoSuchOverloadErr(text)
	}
	h.looked = 0
	for i := h.len() - 1; i >= 0 && h.looked <= maxConditionCost; i-- {
		h.looked++
		if s := h.past.Step(i); s.Kind == StepApproval && h.by(&s, string(pattern)) {
			return types.True
		}
	}
	return types.False
}

// passedBefore is chain.passed. It costs a step for each call that it counts.
func passedBefore(steps, tool ref.Val) ref.Val {
	h, ok := steps.(*history)
	name, isText := tool.(types.String)
	switch {
	case !ok || !isText:
		return types.MaybeNoSuchOverloadErr(tool)
	case h.passed == nil:
		return types.WrapErr(errNoPassed)
	}
	n, err := h.passed(string(name))
	if err != nil {
		return types.WrapErr(errNoPassed)
	}
	h.looked = weight(name) + uint64(n) //nolint:gosec // a count
	return types.Int(n)
}

// ConvertToNative implements ref.Val.
func (h *history) ConvertToNative(to reflect.Type) (any, error) {
	return nil, fmt.Errorf("chain cannot be made %v", to)
}

// ConvertToType implements ref.Val.
func (h *history) ConvertToType(ref.Type) ref.Val { return types.MaybeNoSuchOverloadErr(h) }

// Equal implements ref.Val.
func (h *history) Equal(other ref.Val) ref.Val { return types.Bool(ref.Val(h) == other) }

// Type implements ref.Val.
func (h *history) Type() ref.Type { return pastType }

// Value implements ref.Val.
func (h *history) Value() any { return h }
