// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"maps"
	"slices"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// kinds is a set of the kinds that a value may be of. The empty set says nothing:
// it is that of the elements of an empty list.
type kinds uint16

const (
	kindNull kinds = 1 << iota
	kindBool
	kindInt
	kindUint
	kindDouble
	kindText
	kindList
	kindObject
	kindBytes
	kindTime
	kindDuration
	kindType

	kindNumber = kindInt | kindUint | kindDouble
	kindAny    = kindType<<1 - 1
)

// shape is what is known of a value before there is one. It is immutable.
type shape struct {
	kinds kinds
	// fields are the known members of an object. nil: they are not known.
	fields map[string]*shape
	// extra is the shape of further members where fields are known. nil: there are none.
	extra *shape
	// element is that of a list. nil: not known.
	element *shape
	// texts are all the texts that it may be. nil: any.
	texts []string
	// literal is the value itself, where nothing but the condition and the tool
	// decide it. nil: not known.
	literal ref.Val
}

func anything() *shape { return &shape{kinds: kindAny} }

func boolean() *shape { return &shape{kinds: kindBool} }

func textOf(value string) *shape { return &shape{kinds: kindText, literal: types.String(value)} }

func truth(value bool) *shape { return &shape{kinds: kindBool, literal: types.Bool(value)} }

// may reports whether the value may be of one of the kinds.
func (s *shape) may(k kinds) bool { return s.kinds == 0 || s.kinds&k != 0 }

// is reports whether it is known to be this value.
func (s *shape) is(value types.Bool) bool { return s.literal == ref.Val(value) }

// member returns the shape of a member of an object, and whether there can be one.
func (s *shape) member(name string) (*shape, bool) {
	if s.fields == nil {
		return anything(), true
	}
	if field := s.fields[name]; field != nil {
		return field, true
	}
	return s.extra, s.extra != nil
}

// of returns the shape of an element, or of the member with a name that is not known.
func (s *shape) of() *shape {
	if s.kinds == kindList && s.element != nil && s.element.kinds != 0 {
		return s.element
	}
	return anything()
}

// plain is the shape without its value.
func (s *shape) plain() *shape {
	if s.literal == nil {
		return s
	}
	without := *s
	without.literal = nil
	return &without
}

// either is the shape of what has one shape or the other.
func either(a, b *shape) *shape {
	switch {
	case a.kinds == 0:
		return b.plain()
	case b.kinds == 0 || a == b:
		return a.plain()
	}
	s := &shape{kinds: a.kinds | b.kinds}
	s.fields, s.extra = eitherObject(a, b)
	switch {
	case a.kinds&kindList == 0:
		s.element = b.element
	case b.kinds&kindList == 0:
		s.element = a.element
	case a.element != nil && b.element != nil:
		s.element = either(a.element, b.element)
	}
	switch {
	case a.kinds&kindText == 0:
		s.texts = b.texts
	case b.kinds&kindText == 0:
		s.texts = a.texts
	case a.texts != nil && b.texts != nil:
		s.texts = slices.Concat(a.texts, b.texts)
	}
	return s
}

func eitherObject(a, b *shape) (fields map[string]*shape, extra *shape) {
	switch {
	case a.kinds&kindObject == 0:
		return b.fields, b.extra
	case b.kinds&kindObject == 0:
		return a.fields, a.extra
	case a.fields == nil || b.fields == nil:
		return nil, nil
	}
	fields, extra = maps.Clone(a.fields), a.extra
	for name, field := range b.fields {
		if known := fields[name]; known != nil {
			field = either(known, field)
		}
		fields[name] = field
	}
	if a.extra != nil && b.extra != nil {
		extra = either(a.extra, b.extra)
	} else if extra == nil {
		extra = b.extra
	}
	return fields, extra
}

// canEqual reports whether the two can be equal. Numbers of all kinds can, and
// asking whether something is null is always right.
func canEqual(a, b *shape) bool {
	if a.kinds == kindNull || b.kinds == kindNull {
		return true
	}
	return a.kinds == 0 || b.may(numbers(a.kinds))
}

func numbers(k kinds) kinds {
	if k&kindNumber != 0 {
		return k | kindNumber
	}
	return k
}

// shapeOfType is what CEL's own type says.
func shapeOfType(t *types.Type) *shape {
	switch t.Kind() {
	case types.BoolKind:
		return boolean()
	case types.IntKind:
		return &shape{kinds: kindInt}
	case types.UintKind:
		return &shape{kinds: kindUint}
	case types.DoubleKind:
		return &shape{kinds: kindDouble}
	case types.StringKind:
		return &shape{kinds: kindText}
	case types.BytesKind:
		return &shape{kinds: kindBytes}
	case types.TimestampKind:
		return &shape{kinds: kindTime}
	case types.DurationKind:
		return &shape{kinds: kindDuration}
	case types.NullTypeKind:
		return &shape{kinds: kindNull}
	case types.TypeKind:
		return &shape{kinds: kindType}
	case types.MapKind:
		return &shape{kinds: kindObject}
	case types.StructKind:
		return stepShape(t)
	case types.ListKind:
		s := &shape{kinds: kindList}
		if inner := t.Parameters(); len(inner) == 1 {
			s.element = shapeOfType(inner[0])
		}
		return s
	}
	return anything()
}

// words says what kinds of value it is, as in "a number or null".
func (k kinds) words() string {
	var all []string
	for _, each := range []struct {
		kinds kinds
		word  string
	}{
		{kindBool, "true or false"},
		{kindNumber, "a number"},
		{kindText, "a text"},
		{kindList, "a list"},
		{kindObject, "an object"},
		{kindBytes, "bytes"},
		{kindTime, "a time"},
		{kindDuration, "a duration"},
		{kindType, "a type"},
		{kindNull, "null"},
	} {
		if k&each.kinds != 0 {
			all = append(all, each.word)
		}
	}
	return strings.Join(all, " or ")
}
