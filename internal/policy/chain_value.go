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
	"cel.dev/cel-go/common/types/traits"
)

// maxAhead is how far the clock of whoever signed a step may be before ours.
const maxAhead = time.Minute

// stepType is the type of a step. No condition can write its name.
var (
	stepType   = cel.ObjectType("chain step", traits.IndexerType, traits.FieldTesterType)
	stepFields = []string{"name", "kind", "by", "server", "door", "tool", "status", "at", "instance"}
)

// stepTypes says which members a step has, so that another one is an error when
// the policy is loaded.
type stepTypes struct{ types.Provider }

func (p stepTypes) FindStructType(name string) (*types.Type, bool) {
	if name == stepType.TypeName() {
		return types.NewTypeTypeWithParam(stepType), true
	}
	return p.Provider.FindStructType(name)
}

func (p stepTypes) FindStructFieldNames(name string) ([]string, bool) {
	if name == stepType.TypeName() {
		return stepFields, true
	}
	return p.Provider.FindStructFieldNames(name)
}

func (p stepTypes) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	if name != stepType.TypeName() {
		return p.Provider.FindStructFieldType(name, field)
	}
	if !slices.Contains(stepFields, field) {
		return nil, false
	}
	t := types.StringType
	if field == "at" {
		t = types.TimestampType
	}
	return &types.FieldType{
		Type:  t,
		IsSet: func(any) bool { return true },
		GetFrom: func(target any) (any, error) {
			s, ok := target.(step)
			if !ok {
				return nil, fmt.Errorf("%T is no step", target)
			}
			return s.field(field), nil
		},
	}, true
}

// history is the Past of a request as a list of steps.
type history struct {
	past Past // nil for none
	now  time.Time
	// looked is what the function called last has cost.
	looked uint64
}

var _ traits.Lister = (*history)(nil)

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

// some reports whether one of the steps at the places, the newest first, was done
// and fits.
func (h *history) some(places []int, fits func(*PastStep) bool) bool {
	for _, i := range slices.Backward(places) {
		h.looked++
		if s := h.past.Step(i); s.done() && fits(&s) {
			return true
		}
	}
	return false
}

// by reports whether the pattern matches the workload, and counts the work.
func (h *history) by(s *PastStep, pattern string) bool {
	id := s.By.String()
	h.looked += weight(types.String(id))
	return namesCaller(pattern, id)
}

// hasStep is chain.has.
func hasStep(args ...ref.Val) ref.Val {
	h, ok := args[0].(*history)
	name, isText := args[1].(types.String)
	if !ok || !isText {
		return types.MaybeNoSuchOverloadErr(args[1])
	}
	fits := func(*PastStep) bool { return true }
	if len(args) > 2 {
		pattern, isText := args[2].(types.String)
		if !isText {
			return types.MaybeNoSuchOverloadErr(args[2])
		}
		fits = func(s *PastStep) bool { return h.by(s, string(pattern)) }
	}
	h.looked = weight(name)
	return types.Bool(h.some(h.named(string(name)), fits))
}

// hasWithin is chain.within.
func hasWithin(args ...ref.Val) ref.Val {
	h, ok := args[0].(*history)
	name, isText := args[1].(types.String)
	span, isSpan := args[2].(types.Duration)
	if !ok || !isText || !isSpan {
		return types.MaybeNoSuchOverloadErr(args[1])
	}
	h.looked = weight(name)
	places := h.named(string(name))
	if len(places) > 0 && h.now.IsZero() {
		return types.WrapErr(errNoNow)
	}
	return types.Bool(h.some(places, func(s *PastStep) bool {
		ago := h.now.Sub(s.At)
		return !s.At.IsZero() && ago <= span.Duration && ago >= -maxAhead
	}))
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

// Get returns the step at an index.
func (h *history) Get(index ref.Val) ref.Val {
	i, ok := index.(types.Int)
	if !ok || i < 0 || int(i) >= h.len() {
		return types.NewErr("no step at %v", index)
	}
	return step{past: h.past, i: int(i)}
}

// Size is chain.length.
func (h *history) Size() ref.Val { return types.Int(h.len()) }

// The rest is what a list has to have. No condition gets to it: chain.all and
// chain.exists are all that is there for the list.

// Add implements traits.Adder.
func (h *history) Add(other ref.Val) ref.Val { return types.MaybeNoSuchOverloadErr(other) }

// Contains implements traits.Container.
func (h *history) Contains(value ref.Val) ref.Val { return types.MaybeNoSuchOverloadErr(value) }

// Iterator implements traits.Iterable.
func (h *history) Iterator() traits.Iterator {
	all := make([]ref.Val, h.len())
	for i := range all {
		all[i] = step{past: h.past, i: i}
	}
	return types.NewRefValList(types.DefaultTypeAdapter, all).Iterator()
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
func (h *history) Type() ref.Type { return types.ListType }

// Value implements ref.Val.
func (h *history) Value() any { return h }
