// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// Limits of conditions.
const (
	// MaxConditionBytes is the longest condition.
	MaxConditionBytes = 4096
	// maxConditionCost bounds the work of one condition and maxRequestCost that of
	// all conditions of one request, in units of CEL's cost model: about one for
	// each step, name and ten characters looked at.
	maxConditionCost = 100_000
	maxRequestCost   = 400_000
	// interruptEvery is the number of steps of a loop between two looks at Facts.Context.
	interruptEvery = 256
	// maxConditionNesting bounds the depth of parentheses and the like.
	maxConditionNesting = 64
	// exactDouble is where float64 begins to leave out integers. Decimals from
	// there on take no part in conditions, so that every comparison is exact.
	exactDouble = 1 << 53
)

// condition is the compiled `when` of a rule. It is immutable and may be shared.
type condition struct {
	text    string
	program cel.Program
	// chain: it names chain.
	chain bool
}

// String returns the text of the condition, "" for none.
func (c *condition) String() string {
	if c == nil {
		return ""
	}
	return c.text
}

// conditionError is what is wrong with a condition: line counts from 1, column
// from 0 in characters, both within the text. Line 0 means the whole.
type conditionError struct {
	line, column int
	message      string
}

// scope holds the fields of each name that a condition may use.
var scope = map[string][]string{
	"caller":  {"spiffeID", "trustDomain", "namespace", "appID", "proof"},
	"action":  {"kind", "server", "tool", "prompt", "resource", "digest"},
	"request": {"ip", "traceID"},
	"session": {"id"},
	"actor":   {"spiffeID", "txn"},
}

var (
	environments = [aboutCount]func() (*cel.Env, error){
		aboutCalls: sync.OnceValues(func() (*cel.Env, error) { return newEnvironment(aboutCalls) }),
		aboutState: sync.OnceValues(func() (*cel.Env, error) { return newEnvironment(aboutState) }),
		aboutSQL:   sync.OnceValues(func() (*cel.Env, error) { return newEnvironment(aboutSQL) }),
	}
	undeclared  = regexp.MustCompile(`^undeclared reference to '([^']*)'`)
	fixedOffset = regexp.MustCompile(`^(?:UTC|[+-]\d\d:\d\d)$`)
)

func newEnvironment(about about) (*cel.Env, error) {
	options := []cel.EnvOption{
		cel.Variable("args", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("now", cel.TimestampType),
		cel.ParserExpressionSizeLimit(MaxConditionBytes),
		cel.ParserRecursionLimit(maxConditionNesting),
		cel.RegexProgramSizeLimit(1000),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.EnableErrorOnBadPresenceTest(true),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals()),
	}
	// Dotted names, and not one object each: a field that is not there is then an
	// error when the policy is loaded.
	for name, fields := range scope {
		for _, field := range fields {
			options = append(options, cel.Variable(name+"."+field, cel.StringType))
		}
	}
	return cel.NewEnv(slices.Concat(options, chainOptions(), dataOptions(about))...)
}

// compileCondition checks the text and makes it ready to be evaluated.
func compileCondition(text string, about about) (*condition, []conditionError) {
	if len(text) > MaxConditionBytes {
		return nil, []conditionError{{message: fmt.Sprintf("has %d bytes, the limit is %d", len(text), MaxConditionBytes)}}
	}
	env, err := environments[about]()
	if err != nil {
		return nil, []conditionError{{message: err.Error()}}
	}
	checked, issues := env.Compile(text)
	if err := issues.Err(); err != nil {
		return nil, explain(issues, about)
	}
	if checked.OutputType() != cel.BoolType {
		return nil, []conditionError{{line: 1, message: fmt.Sprintf(
			"gives %s, not true or false: compare it with something, as in (...) == true", checked.OutputType())}}
	}
	if found := checkTree(checked.NativeRep()); len(found) > 0 {
		return nil, found
	}
	program, err := env.Program(checked,
		cel.CostLimit(maxConditionCost), cel.CostTracking(costs{}),
		cel.InterruptCheckFrequency(interruptEvery),
		cel.OptimizeRegex(interpreter.MatchesRegexOptimization),
		cel.CustomDecoratorV2(exactResults))
	if err != nil {
		return nil, []conditionError{{message: err.Error()}}
	}
	return &condition{text: strings.TrimSpace(text), program: program, chain: asksChain(checked.NativeRep())}, nil
}

// explain words CEL's own messages for what a condition may use.
func explain(issues *cel.Issues, about about) []conditionError {
	var found []conditionError
	for _, e := range issues.Errors() {
		message, _, _ := strings.Cut(e.Message, "\n")
		message, _, _ = strings.Cut(message, " expecting {")
		if m := undeclared.FindStringSubmatch(message); m != nil {
			message = unknownName(m[1], about)
		} else if worded := explainChain(message); worded != "" {
			message = worded
		}
		found = append(found, conditionError{line: e.Location.Line(), column: e.Location.Column(), message: message})
	}
	return found
}

func unknownName(reference string, about about) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(reference, "."), ".")
	if name == nameChain {
		return chainMembers
	}
	if fields, ok := scope[name]; ok {
		return fmt.Sprintf("%s is used by its fields: write one of %s.%s", name, name, strings.Join(fields, ", "+name+"."))
	}
	if worded := unknownOfData(name, about); worded != "" {
		return worded
	}
	known := append([]string{"args", "now", nameChain, "actors"}, namesOfData(about)...)
	for each := range scope {
		known = append(known, each)
	}
	slices.Sort(known)
	return fmt.Sprintf("%q is no name or function that a condition may use: the names are %s", name, strings.Join(known, ", "))
}

// checkTree refuses what type checks allow and we cannot stand for.
func checkTree(tree *ast.AST) []conditionError {
	var found []conditionError
	fail := func(e ast.Expr, message string) {
		at := tree.SourceInfo().GetStartLocation(e.ID())
		found = append(found, conditionError{line: at.Line(), column: at.Column(), message: message})
	}
	ast.PostOrderVisit(tree.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.LiteralKind:
			if d, ok := e.AsLiteral().(types.Double); ok && !exact(d) {
				fail(e, "a decimal of 2^53 or more cannot be compared exactly: write it as an integer, "+
					"with the suffix u above 9223372036854775807")
			}
		case ast.ComprehensionKind:
			if e.AsComprehension().IterVar() == nameChain {
				fail(e, "chain is a reserved name: choose another for the variable")
			}
		case ast.CallKind:
			if call := e.AsCall(); call.IsMemberFunction() && strings.HasPrefix(call.FunctionName(), "get") && !fixedZone(call.Args()) {
				fail(e, "a time zone must be written out as \"UTC\" or an offset such as \"+02:00\": "+
					"names of zones need a database that hosts do not share")
			}
		}
	}))
	return found
}

func exact(d types.Double) bool { return math.Abs(float64(d)) < exactDouble }

// fixedZone reports whether the arguments of getHours and the like are none, or a
// zone that needs no database.
func fixedZone(args []ast.Expr) bool {
	if len(args) == 0 {
		return true
	}
	if args[0].Kind() != ast.LiteralKind {
		return false
	}
	zone, ok := args[0].AsLiteral().(types.String)
	return ok && fixedOffset.MatchString(string(zone))
}

// exactResults makes a calculation fail whose result is a decimal that could not
// be compared exactly: CEL compares integers with decimals as float64.
func exactResults(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	call, ok := i.(interpreter.InterpretableCall)
	if !ok {
		return i, nil
	}
	switch call.Function() {
	case operators.Add, operators.Subtract, operators.Multiply, operators.Divide, overloads.TypeConvertDouble:
		return exactCall{call}, nil
	}
	return i, nil
}

type exactCall struct{ interpreter.InterpretableCall }

func (c exactCall) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	return exactOrError(c.InterpretableCall.Exec(frame))
}

func (c exactCall) Eval(vars interpreter.Activation) ref.Val {
	return exactOrError(c.InterpretableCall.Eval(vars))
}

func exactOrError(v ref.Val) ref.Val {
	if d, ok := v.(types.Double); ok && !exact(d) {
		return types.WrapErr(errInexact)
	}
	return v
}
