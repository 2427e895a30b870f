// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"fmt"
	"reflect"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// stepType is the type of a step. No condition can write its name.
var (
	stepType   = cel.ObjectType("chain step", traits.IndexerType, traits.FieldTesterType)
	stepFields = []string{"name", "kind", "by", "server", "door", "tool", "status", "at", "instance", "digest"}
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
	return &types.FieldType{
		Type:  stepFieldType(field),
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

// stepShape is what is known of a step before there is one.
func stepShape(t *types.Type) *shape {
	if t.TypeName() != stepType.TypeName() {
		return anything()
	}
	s := &shape{kinds: kindObject, fields: map[string]*shape{}}
	for _, field := range stepFields {
		s.fields[field] = shapeOfType(stepFieldType(field))
	}
	return s
}

func stepFieldType(field string) *types.Type {
	if field == "at" {
		return types.TimestampType
	}
	return types.StringType
}

// step is one step of a Past as a value. It holds the place alone, so that a loop
// over 10,000 steps copies only the members that it asks for.
type step struct {
	past Past
	i    int
}

var (
	_ traits.Indexer     = step{}
	_ traits.FieldTester = step{}
)

// field returns a member, which is one of stepFields.
func (s step) field(name string) ref.Val {
	at := s.past.Step(s.i)
	switch name {
	case "name":
		return types.String(at.Name)
	case "kind":
		return types.String(at.Kind)
	case "by":
		return types.String(at.By.String())
	case "server":
		return types.String(at.Server)
	case "door":
		return types.String(at.Door.String())
	case "tool":
		return types.String(at.Tool)
	case "status":
		return types.String(at.Status)
	case "at":
		return types.Timestamp{Time: at.At.UTC()}
	case "instance":
		return types.String(at.Instance)
	case "digest":
		return types.String(at.Digest.String())
	}
	return types.NewErr("no such key: %s", name)
}

// Get returns a member by its name.
func (s step) Get(index ref.Val) ref.Val {
	name, ok := index.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(index)
	}
	return s.field(string(name))
}

// IsSet reports whether there is a member of this name.
func (s step) IsSet(field ref.Val) ref.Val {
	name, ok := field.(types.String)
	return types.Bool(ok && slices.Contains(stepFields, string(name)))
}

// ConvertToNative implements ref.Val.
func (s step) ConvertToNative(to reflect.Type) (any, error) {
	return nil, fmt.Errorf("a step cannot be made %v", to)
}

// ConvertToType implements ref.Val.
func (s step) ConvertToType(to ref.Type) ref.Val {
	if to.TypeName() == types.TypeType.TypeName() {
		return stepType
	}
	return types.MaybeNoSuchOverloadErr(s)
}

// Equal implements ref.Val: a step is equal to itself.
func (s step) Equal(other ref.Val) ref.Val {
	o, ok := other.(step)
	return types.Bool(ok && o.i == s.i)
}

// Type implements ref.Val.
func (s step) Type() ref.Type { return stepType }

// Value implements ref.Val.
func (s step) Value() any { return s }

// stepList is a Past as a list, for chain.all and chain.exists and nothing else.
type stepList struct{ past Past } // nil for none

var _ traits.Lister = stepList{}

// Size returns the number of steps.
func (l stepList) Size() ref.Val {
	if l.past == nil {
		return types.IntZero
	}
	return types.Int(l.past.Len())
}

// Get returns the step at an index.
func (l stepList) Get(index ref.Val) ref.Val {
	i, ok := index.(types.Int)
	if !ok || i < 0 || i >= l.Size().(types.Int) {
		return types.NewErr("no step at %v", index)
	}
	return step{past: l.past, i: int(i)}
}

// Iterator implements traits.Iterable.
func (l stepList) Iterator() traits.Iterator {
	all := make([]ref.Val, l.Size().(types.Int))
	for i := range all {
		all[i] = step{past: l.past, i: i}
	}
	return types.NewRefValList(types.DefaultTypeAdapter, all).Iterator()
}

// Add implements traits.Adder.
func (l stepList) Add(other ref.Val) ref.Val { return types.MaybeNoSuchOverloadErr(other) }

// Contains implements traits.Container.
func (l stepList) Contains(value ref.Val) ref.Val { return types.MaybeNoSuchOverloadErr(value) }

// ConvertToNative implements ref.Val.
func (l stepList) ConvertToNative(to reflect.Type) (any, error) {
	return nil, fmt.Errorf("the steps of chain cannot be made %v", to)
}

// ConvertToType implements ref.Val.
func (l stepList) ConvertToType(ref.Type) ref.Val { return types.MaybeNoSuchOverloadErr(l) }

// Equal implements ref.Val.
func (l stepList) Equal(other ref.Val) ref.Val { return types.MaybeNoSuchOverloadErr(other) }

// Type implements ref.Val.
func (l stepList) Type() ref.Type { return types.ListType }

// Value implements ref.Val.
func (l stepList) Value() any { return l }
