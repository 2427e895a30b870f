// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"fmt"
	"reflect"
	"slices"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

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
