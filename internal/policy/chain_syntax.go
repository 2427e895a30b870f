// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/parser"
)

// The names behind `chain`. A condition cannot write the ones with @ itself: macros
// put them in, so that the functions get the Past as their first argument.
const (
	nameChain       = "chain"
	namePast        = "@chain"
	nameSteps       = "@chain.steps"
	chainInstance   = "chain.instance"
	chainLength     = "chain.length"
	chainComplete   = "chain.complete"
	chainHas        = "@chain.has"
	chainApprovedBy = "@chain.approvedBy"
	chainWithin     = "@chain.within"
	chainPassed     = "@chain.passed"
)

// chainUses says how the functions of chain are written.
var chainUses = map[string]string{
	chainHas:        `chain.has("step") or chain.has("step", "spiffe://...")`,
	chainApprovedBy: `chain.approvedBy("spiffe://...")`,
	chainWithin:     `chain.within("step", duration("10m")) or chain.within("step", "spiffe://...", duration("10m"))`,
	chainPassed:     `chain.passed("tool")`,
	"@chain.all":    `chain.all(s, s.status == "ok")`,
	"@chain.exists": `chain.exists(s, s.name == "step")`,
}

const chainMembers = "chain is used by its members: write one of chain.instance, chain.length, chain.complete, " +
	"chain.has(...), chain.approvedBy(...), chain.within(...), chain.passed(...), chain.all(...), chain.exists(...)"

var (
	noOverloadOfChain = regexp.MustCompile(`^found no matching overload for '(@chain\.[a-zA-Z]+)'`)
	noFieldOfStep     = regexp.MustCompile(`^undefined field '([^']*)'`)
)

// chainOptions declares `chain` and `actors`.
func chainOptions() []cel.EnvOption {
	return []cel.EnvOption{
		func(e *cel.Env) (*cel.Env, error) { return cel.CustomTypeProvider(stepTypes{e.CELTypeProvider()})(e) },
		cel.Variable(namePast, pastType),
		cel.Variable(nameSteps, cel.ListType(stepType)),
		cel.Variable(chainInstance, cel.StringType),
		cel.Variable(chainLength, cel.IntType),
		cel.Variable(chainComplete, cel.BoolType),
		cel.Variable("actors", cel.ListType(cel.StringType)),
		cel.Function(chainHas,
			cel.Overload("chain_has", []*cel.Type{pastType, cel.StringType}, cel.BoolType, cel.FunctionBinding(hasStep)),
			cel.Overload("chain_has_by", []*cel.Type{pastType, cel.StringType, cel.StringType}, cel.BoolType, cel.FunctionBinding(hasStep))),
		cel.Function(chainApprovedBy,
			cel.Overload("chain_approved_by", []*cel.Type{pastType, cel.StringType}, cel.BoolType, cel.BinaryBinding(approvedBy))),
		cel.Function(chainWithin,
			cel.Overload("chain_within", []*cel.Type{pastType, cel.StringType, cel.DurationType}, cel.BoolType, cel.FunctionBinding(hasWithin)),
			cel.Overload("chain_within_by", []*cel.Type{pastType, cel.StringType, cel.StringType, cel.DurationType}, cel.BoolType, cel.FunctionBinding(hasWithin))),
		cel.Function(chainPassed,
			cel.Overload("chain_passed", []*cel.Type{pastType, cel.StringType}, cel.IntType, cel.BinaryBinding(passedBefore))),
		cel.Macros(
			parser.NewReceiverVarArgMacro("passed", chainCall(chainPassed, 1, 1)),
			parser.NewReceiverVarArgMacro("has", chainCall(chainHas, 1, 2)),
			parser.NewReceiverVarArgMacro("approvedBy", chainCall(chainApprovedBy, 1, 1)),
			parser.NewReceiverVarArgMacro("within", chainCall(chainWithin, 2, 3)),
			parser.NewReceiverMacro("all", 2, allSteps),
			parser.NewReceiverMacro("exists", 2, someStep),
			parser.NewReceiverVarArgMacro("all", chainCall("@chain.all", 2, 2)),
			parser.NewReceiverVarArgMacro("exists", chainCall("@chain.exists", 2, 2)),
		),
	}
}

func isChain(e ast.Expr) bool { return e.Kind() == ast.IdentKind && e.AsIdent() == nameChain }

// chainCall makes chain.f(...) a call with the steps as first argument. Where
// there is a pattern it has to be written out, so that a wrong one is found now.
func chainCall(function string, least, most int) parser.MacroExpander {
	return func(eh parser.ExprHelper, target ast.Expr, args []ast.Expr) (ast.Expr, *common.Error) {
		if !isChain(target) {
			return nil, nil //nolint:nilnil // how a macro says that it is not meant
		}
		if len(args) < least || len(args) > most {
			return nil, eh.NewError(target.ID(), usageOf(function))
		}
		if i := patternAt(function, len(args)); i >= 0 {
			if err := checkPattern(args[i]); err != nil {
				return nil, eh.NewError(args[i].ID(), fmt.Sprintf("the pattern of %s: %v", function[1:], err))
			}
		}
		return eh.NewCall(function, append([]ast.Expr{eh.NewIdent(namePast)}, args...)...), nil
	}
}

// patternAt is the place of the pattern among so many arguments, -1 for none.
func patternAt(function string, args int) int {
	switch {
	case function == chainApprovedBy:
		return 0
	case function == chainHas && args == 2, function == chainWithin && args == 3:
		return 1
	}
	return -1
}

func usageOf(function string) string { return "write " + chainUses[function] }

// checkPattern takes a SPIFFE ID in which a path segment, and the trust domain as a
// whole, may be `*`.
func checkPattern(e ast.Expr) error {
	var text types.String
	ok := e.Kind() == ast.LiteralKind
	if ok {
		text, ok = e.AsLiteral().(types.String)
	}
	if !ok {
		return errors.New(`write it out as a text, as in "spiffe://*/ns/default/fraud"`)
	}
	anywhere, found := strings.CutPrefix(string(text), spiffeScheme+every+"/")
	if found {
		// The domain matches whatever it is; the path is checked as any.
		text = types.String(spiffeScheme + "any/" + anywhere)
	}
	_, err := parseCaller(string(text))
	return err
}

// allSteps is chain.all, which is false for a chain that is not complete.
func allSteps(eh parser.ExprHelper, target ast.Expr, args []ast.Expr) (ast.Expr, *common.Error) {
	if !isChain(target) {
		return parser.MakeAll(eh, target, args)
	}
	all, err := parser.MakeAll(eh, eh.NewIdent(nameSteps), args)
	if err != nil {
		return nil, err
	}
	return eh.NewCall(operators.LogicalAnd, eh.NewSelect(target, "complete"), all), nil
}

func someStep(eh parser.ExprHelper, target ast.Expr, args []ast.Expr) (ast.Expr, *common.Error) {
	if isChain(target) {
		target = eh.NewIdent(nameSteps)
	}
	return parser.MakeExists(eh, target, args)
}

// explainChain words what CEL says of a wrong use of chain; "" if it is about
// something else.
func explainChain(message string) string {
	if m := noOverloadOfChain.FindStringSubmatch(message); m != nil {
		return usageOf(m[1])
	}
	if m := noFieldOfStep.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("%q is no member of a step of chain: they are %s", m[1], strings.Join(stepFields, ", "))
	}
	return ""
}

// asksChain reports whether a checked condition names chain.
func asksChain(tree *ast.AST) bool {
	for _, reference := range tree.ReferenceMap() {
		if fact(strings.TrimPrefix(reference.Name, ".")) == FactChain {
			return true
		}
	}
	return false
}
