// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
)

// wrong is something in a condition that cannot be right for a tool.
type wrong struct {
	offset int // in characters of the condition
	// before and after are what to say, with the tool named in between.
	before, after string
	// help is added where it is one tool's.
	help string
	// asked: the condition asks whether the member is there, which is right if
	// another tool of the rule has it.
	asked bool
	hint  bool
}

// typing follows a condition through with the shapes of one tool's arguments. What
// it does not know it takes for anything: what it finds is wrong for certain.
type typing struct {
	condition *typed
	server    string
	tool      string
	args      *shape
	// scope holds the variables of macros, the innermost last.
	scope []variable
	found []wrong
	// met are the places where a member was asked for that is there.
	met []int
}

type variable struct {
	name  string
	shape *shape
}

// typed is a condition as CEL reads it.
type typed struct {
	env  *cel.Env
	tree *ast.AST
	text []rune
}

// readTyped reads the text of a condition that was taken before.
func readTyped(text string) (*typed, error) {
	env, err := environments[aboutCalls]()
	if err != nil {
		return nil, err
	}
	checked, issues := env.Compile(text)
	if err := issues.Err(); err != nil {
		return nil, err
	}
	return &typed{env: env, tree: checked.NativeRep(), text: []rune(text)}, nil
}

// infer returns the shape of what e gives.
func (t *typing) infer(e ast.Expr) *shape {
	switch e.Kind() {
	case ast.LiteralKind:
		s := shapeOfType(t.condition.tree.GetType(e.ID()))
		s.literal = e.AsLiteral()
		return s
	case ast.IdentKind:
		return t.ident(e)
	case ast.SelectKind:
		return t.selects(e)
	case ast.CallKind:
		return t.call(e)
	case ast.ComprehensionKind:
		return t.comprehension(e.AsComprehension())
	case ast.ListKind:
		s := &shape{kinds: kindList, element: &shape{}}
		for _, each := range e.AsList().Elements() {
			s.element = either(s.element, t.infer(each))
		}
		return s
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			t.infer(entry.AsMapEntry().Key())
			t.infer(entry.AsMapEntry().Value())
		}
		return &shape{kinds: kindObject}
	case ast.StructKind:
		for _, field := range e.AsStruct().Fields() {
			t.infer(field.AsStructField().Value())
		}
	}
	return anything()
}

func (t *typing) ident(e ast.Expr) *shape {
	name := e.AsIdent()
	for i := len(t.scope) - 1; i >= 0; i-- {
		if t.scope[i].name == name {
			return t.scope[i].shape
		}
	}
	switch strings.TrimPrefix(name, ".") {
	case "args":
		return t.args
	case "action.kind":
		return textOf(KindToolCall)
	case "action.server":
		return textOf(t.server)
	case FactTool:
		return textOf(t.tool)
	case FactPrompt, FactResource:
		return textOf("")
	}
	return shapeOfType(t.condition.tree.GetType(e.ID()))
}

func (t *typing) selects(e ast.Expr) *shape {
	selected := e.AsSelect()
	operand := t.infer(selected.Operand())
	at := t.fieldOffset(e)
	if !operand.may(kindObject) {
		t.fail(t.start(selected.Operand()), t.name(selected.Operand())+" is "+operand.kinds.words()+" in ", ", and has no members")
		return anything()
	}
	member := t.member(operand, selected.Operand(), selected.FieldName(), at, selected.IsTestOnly())
	switch {
	case !selected.IsTestOnly() && member == nil:
		return anything()
	case !selected.IsTestOnly():
		return member
	case member == nil && operand.kinds == kindObject:
		return truth(false)
	}
	return boolean()
}

// member returns the shape of a member, or nil and notes it where there can be none.
func (t *typing) member(object *shape, e ast.Expr, name string, at int, asked bool) *shape {
	if member, ok := object.member(name); ok {
		if asked {
			t.met = append(t.met, at)
		}
		return member
	}
	w := wrong{offset: at, before: quoted(name) + " is no argument of ", asked: asked, help: hints(name, object)}
	if object != t.args {
		w.before, w.after = quoted(name)+" is no member of "+t.name(e)+" in ", ""
	}
	t.found = append(t.found, w)
	return nil
}

func (t *typing) fail(at int, before, after string) {
	t.found = append(t.found, wrong{offset: at, before: before, after: after})
}

// comprehension follows one turn of the loop that a macro stands for.
func (t *typing) comprehension(c ast.ComprehensionExpr) *shape {
	over := t.infer(c.IterRange())
	first, second := over.of(), anything()
	switch {
	case !over.may(kindList | kindObject):
		t.fail(t.start(c.IterRange()), t.name(c.IterRange())+" is "+over.kinds.words()+" in ", ", and has no elements")
	case over.kinds == kindObject:
		first = &shape{kinds: kindText}
	case c.HasIterVar2():
		first, second = anything(), over.of()
	}
	outside := len(t.scope)
	result := t.infer(c.AccuInit()).plain()
	t.scope = append(t.scope, variable{c.IterVar(), first}, variable{c.AccuVar(), result})
	if c.HasIterVar2() {
		t.scope = append(t.scope, variable{c.IterVar2(), second})
	}
	t.infer(c.LoopCondition())
	result = either(result, t.infer(c.LoopStep()))
	t.scope = append(t.scope[:outside], variable{c.AccuVar(), result})
	result = t.infer(c.Result()).plain()
	t.scope = t.scope[:outside]
	return result
}

// call returns the shape of the result of a function or operator.
func (t *typing) call(e ast.Expr) *shape {
	call := e.AsCall()
	switch call.FunctionName() {
	case operators.LogicalAnd:
		return t.logic(e, false)
	case operators.LogicalOr:
		return t.logic(e, true)
	case operators.LogicalNot:
		return t.not(e)
	case operators.Conditional:
		return t.conditional(call.Args())
	case operators.Index:
		return t.index(e)
	case operators.In:
		return t.in(e)
	case operators.Equals, operators.NotEquals:
		return t.equal(e)
	case operators.NotStrictlyFalse, overloads.TypeConvertDyn:
		// dyn says that the author knows better.
		for _, each := range call.Args() {
			t.infer(each)
		}
		return anything()
	}
	return t.overloaded(e, t.operands(call))
}

func (t *typing) operands(call ast.CallExpr) []*shape {
	var shapes []*shape
	for _, each := range arguments(call) {
		shapes = append(shapes, t.infer(each))
	}
	return shapes
}

func arguments(call ast.CallExpr) []ast.Expr {
	if !call.IsMemberFunction() {
		return call.Args()
	}
	return append([]ast.Expr{call.Target()}, call.Args()...)
}

// logic is && or ||, of which one side settles the whole if it is the value of
// settles. What the other side says then does not count: CEL does not mind it either.
func (t *typing) logic(e ast.Expr, settles types.Bool) *shape {
	sides := e.AsCall().Args()
	before := len(t.found)
	left := t.infer(sides[0])
	between := len(t.found)
	right := t.infer(sides[1])
	switch {
	case left.is(settles):
		t.drop(between, len(t.found))
		return left
	case right.is(settles):
		t.drop(before, between)
		return right
	case left.is(!settles) && right.is(!settles):
		return left
	}
	t.overloaded(e, []*shape{left, right})
	return boolean()
}

// drop takes out what was found in code that is not reached. Questions stay.
func (t *typing) drop(from, to int) {
	kept := t.found[:from]
	for i, w := range t.found[from:] {
		if w.asked || from+i >= to {
			kept = append(kept, w)
		}
	}
	t.found = kept
}

func (t *typing) not(e ast.Expr) *shape {
	operands := t.operands(e.AsCall())
	if value, ok := operands[0].literal.(types.Bool); ok {
		return truth(bool(!value))
	}
	return t.overloaded(e, operands)
}

func (t *typing) conditional(args []ast.Expr) *shape {
	asked := t.infer(args[0])
	before := len(t.found)
	yes := t.infer(args[1])
	between := len(t.found)
	no := t.infer(args[2])
	switch {
	case asked.is(types.True):
		t.drop(between, len(t.found))
		return yes
	case asked.is(types.False):
		t.drop(before, between)
		return no
	}
	return either(yes, no)
}

func (t *typing) index(e ast.Expr) *shape {
	args := e.AsCall().Args()
	operands := t.operands(e.AsCall())
	if name, ok := operands[1].literal.(types.String); ok && operands[0].kinds == kindObject {
		if member := t.member(operands[0], args[0], string(name), t.start(args[1]), false); member != nil {
			return member
		}
		return anything()
	}
	t.overloaded(e, operands)
	return operands[0].of()
}
