// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"slices"
	"strings"
	"unicode"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"github.com/dapr-custody/custody/internal/nearest"
)

// maxListed is how many names a message lists, and maxLikely among how many a
// name is looked for that was probably meant.
const (
	maxListed = 8
	maxLikely = 500
)

// in is `x in y`: an element of a list, or the name of a member.
func (t *typing) in(e ast.Expr) *shape {
	args := e.AsCall().Args()
	operands := t.operands(e.AsCall())
	needle, hay := operands[0], operands[1]
	if name, ok := needle.literal.(types.String); ok && hay.kinds == kindObject {
		if t.member(hay, args[1], string(name), t.start(args[0]), true) == nil {
			return truth(false)
		}
		return boolean()
	}
	if args[1].Kind() == ast.ListKind {
		return t.inList(args[0], needle, args[1].AsList().Elements(), hay)
	}
	if hay.kinds == kindList && hay.element != nil && !canEqual(needle, hay.element) {
		t.fail(t.start(e), t.name(args[0])+" is "+needle.kinds.words()+" in ",
			", and "+t.name(args[1])+" holds "+hay.element.kinds.words())
	}
	return t.overloaded(e, operands)
}

// inList is `x in [...]`.
func (t *typing) inList(e ast.Expr, needle *shape, elements []ast.Expr, hay *shape) *shape {
	if !canEqual(needle, hay.element) {
		t.fail(t.start(e), t.name(e)+" is "+needle.kinds.words()+" in ", ", and is looked for in a list of "+hay.element.kinds.words())
		return boolean()
	}
	known, holds := needle.literal != nil, false
	for _, each := range elements {
		if each.Kind() != ast.LiteralKind {
			known = false
			continue
		}
		t.oneOf(e, needle, t.infer(each), t.start(each))
		holds = holds || known && needle.literal.Equal(each.AsLiteral()) == types.True
	}
	if known {
		return truth(holds)
	}
	return boolean()
}

// equal is == and !=.
func (t *typing) equal(e ast.Expr) *shape {
	args := e.AsCall().Args()
	operands := t.operands(e.AsCall())
	left, right := operands[0], operands[1]
	if !canEqual(left, right) {
		t.mismatch(e, operands)
		return boolean()
	}
	if left.literal != nil && right.literal != nil {
		same := left.literal.Equal(right.literal) == types.True
		return truth(same == (e.AsCall().FunctionName() == operators.Equals))
	}
	t.oneOf(args[0], left, right, t.start(args[1]))
	t.oneOf(args[1], right, left, t.start(args[0]))
	return boolean()
}

// oneOf hints at a text that the schema does not list among those of e.
func (t *typing) oneOf(e ast.Expr, listed, value *shape, at int) {
	text, ok := value.literal.(types.String)
	if !ok || listed.texts == nil || slices.Contains(listed.texts, string(text)) {
		return
	}
	t.found = append(t.found, wrong{
		offset: at, before: quoted(string(text)) + " is no value of " + t.name(e) + " in ", help: likely(string(text), listed.texts), hint: true,
	})
}

// overloaded finds what a function gives for the operands, by those of its forms
// that they fit.
func (t *typing) overloaded(e ast.Expr, operands []*shape) *shape {
	reference := t.condition.tree.ReferenceMap()[e.ID()]
	function := t.condition.env.Functions()[e.AsCall().FunctionName()]
	if reference == nil || function == nil {
		return anything()
	}
	result := &shape{}
	for _, overload := range function.OverloadDecls() {
		if slices.Contains(reference.OverloadIDs, overload.ID()) && fitAll(operands, overload.ArgTypes()) {
			result = either(result, shapeOfType(overload.ResultType()))
		}
	}
	if result.kinds == 0 {
		t.mismatch(e, operands)
		return shapeOfType(t.condition.tree.GetType(e.ID()))
	}
	if e.AsCall().FunctionName() == operators.Add && result.kinds == kindList {
		return either(operands[0], operands[1])
	}
	return result
}

func fitAll(operands []*shape, wanted []*types.Type) bool {
	if len(operands) != len(wanted) {
		return false
	}
	for i, each := range operands {
		if !each.may(shapeOfType(wanted[i]).kinds) {
			return false
		}
	}
	return true
}

// mismatch says that operands do not fit what is done with them.
func (t *typing) mismatch(e ast.Expr, operands []*shape) {
	call := e.AsCall()
	args := arguments(call)
	subject := t.culprit(e, args, operands)
	var others []string
	for i, each := range args {
		if i == subject {
			continue
		}
		other := operands[i].kinds.words()
		if operands[i].kinds == kindAny {
			other = "it"
		}
		if path := t.path(each); path != "" {
			other = path + ", " + other
		}
		others = append(others, other)
	}
	before := t.name(args[subject]) + " is " + operands[subject].kinds.words() + " in "
	at := t.start(args[subject])
	with := strings.Join(others, " and ")
	switch symbol := operatorSymbol(call.FunctionName()); {
	case symbol == "":
		t.fail(at, before, ", and cannot be used with "+strings.TrimPrefix(call.FunctionName(), "@"))
	case slices.Contains([]string{"==", "!=", "<", "<=", ">", ">="}, symbol):
		t.fail(at, before, ", and is compared with "+with)
	case with == "" || symbol == "&&" || symbol == "||":
		t.fail(at, before, ", and cannot be used with "+symbol)
	default:
		t.fail(at, before, ", and cannot be used with "+symbol+" and "+with)
	}
}

// culprit is the operand to name: one that no form of the function takes, else
// the first that comes from the arguments.
func (t *typing) culprit(e ast.Expr, args []ast.Expr, operands []*shape) int {
	function := t.condition.env.Functions()[e.AsCall().FunctionName()]
	for i := range args {
		takes := kinds(0)
		for _, overload := range function.OverloadDecls() {
			if wanted := overload.ArgTypes(); i < len(wanted) && len(wanted) == len(args) {
				takes |= shapeOfType(wanted[i]).kinds
			}
		}
		if operands[i].kinds&takes == 0 {
			return i
		}
	}
	return max(slices.IndexFunc(args, func(each ast.Expr) bool { return t.path(each) != "" }), 0)
}

func operatorSymbol(function string) string {
	if function == operators.Index {
		return "[]"
	}
	if symbol, ok := operators.FindReverse(function); ok {
		return symbol
	}
	return ""
}

// name is how the condition writes e, where that is a name with members.
func (t *typing) name(e ast.Expr) string {
	if path := t.path(e); path != "" {
		return path
	}
	return "this"
}

func (t *typing) path(e ast.Expr) string {
	switch e.Kind() {
	case ast.IdentKind:
		if name := e.AsIdent(); !strings.HasPrefix(name, "@") {
			return name
		}
	case ast.SelectKind:
		if of := t.path(e.AsSelect().Operand()); of != "" && !e.AsSelect().IsTestOnly() {
			return of + "." + e.AsSelect().FieldName()
		}
	case ast.CallKind:
		if call := e.AsCall(); call.FunctionName() == operators.Index {
			if of := t.path(call.Args()[0]); of != "" {
				return of + "[...]"
			}
		}
	}
	return ""
}

// start is where e begins, in characters of the condition.
func (t *typing) start(e ast.Expr) int {
	switch e.Kind() {
	case ast.SelectKind:
		if !e.AsSelect().IsTestOnly() {
			return t.start(e.AsSelect().Operand())
		}
	case ast.CallKind:
		call := e.AsCall()
		if call.IsMemberFunction() {
			return t.start(call.Target())
		}
		if operator := operatorSymbol(call.FunctionName()); operator != "" && len(call.Args()) > 1 {
			return t.start(call.Args()[0])
		}
	case ast.ComprehensionKind:
		return t.start(e.AsComprehension().IterRange())
	}
	place, _ := t.condition.tree.SourceInfo().GetOffsetRange(e.ID())
	return int(place.Start)
}

// fieldOffset is where the name of the member stands that e selects.
func (t *typing) fieldOffset(e ast.Expr) int {
	field := []rune(e.AsSelect().FieldName())
	from := t.end(e.AsSelect().Operand())
	for i := from; i+len(field) <= len(t.condition.text); i++ {
		if slices.Equal(t.condition.text[i:i+len(field)], field) && t.condition.text[i-1] != '_' && !unicode.IsLetter(t.condition.text[i-1]) {
			return i
		}
	}
	return t.start(e)
}

// end is a place behind the name with which e ends, or in e.
func (t *typing) end(e ast.Expr) int {
	switch e.Kind() {
	case ast.IdentKind:
		return t.start(e) + len([]rune(e.AsIdent()))
	case ast.SelectKind:
		return t.fieldOffset(e) + len([]rune(e.AsSelect().FieldName()))
	}
	place, _ := t.condition.tree.SourceInfo().GetOffsetRange(e.ID())
	return int(place.Start) + 1
}

// hints lists what the author may have meant.
func hints(name string, object *shape) string {
	names := make([]string, 0, len(object.fields))
	for field := range object.fields {
		names = append(names, field)
	}
	return likely(name, names)
}

func likely(word string, known []string) string {
	known = slices.Clone(known)
	slices.Sort(known)
	known = slices.DeleteFunc(slices.Compact(known), func(s string) bool { return s == "" || len(s) > maxAppID })
	if near := nearest.Word(word, known[:min(len(known), maxLikely)]); near != "" {
		return ": did you mean " + quoted(near) + "?"
	}
	if len(known) == 0 || len(known) > maxListed {
		return ""
	}
	for i := range known {
		known[i] = quoted(known[i])
	}
	return ": known are " + strings.Join(known, ", ")
}
