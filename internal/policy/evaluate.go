// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/interpreter"
)

// maxReason is the length of the longest reason, in characters.
const maxReason = 200

// evaluation evaluates the conditions of one request. It is used once, by one
// goroutine.
type evaluation struct {
	variables *variables
	spent     uint64
}

// newEvaluation goes on from what the parts of the request before this one have cost.
func newEvaluation(r *Request) *evaluation {
	v := newVariables(r)
	return &evaluation{variables: v, spent: v.read.spent}
}

// rule reports whether a rule that names the action holds: its demands of the use of a
// table, and its condition.
func (e *evaluation) rule(c *compiledRule) (holds bool, why string) {
	if m, _ := c.rule.check.misfit(c.rule.effect, &e.variables.request.Action); m != fits {
		return false, ""
	}
	return e.holds(c.rule.when)
}

// holds reports whether the condition is true. why says why that cannot be told,
// in words that hold nothing of the request's values; it is empty where it can.
// No condition is true.
func (e *evaluation) holds(c *condition) (holds bool, why string) {
	if c == nil {
		return true, ""
	}
	if e.spent > maxRequestCost {
		return false, "the conditions for this request cost too much together"
	}
	ctx := e.variables.facts.Context
	if ctx == nil {
		ctx = context.Background()
	}
	out, details, err := c.program.ContextEval(ctx, e.variables)
	if spent := details.ActualCost(); spent != nil {
		e.spent += *spent
	}
	if err != nil {
		return false, c.explain(err)
	}
	switch out {
	case types.True:
		return true, ""
	case types.False:
		return false, ""
	}
	return false, "it gave neither true nor false"
}

// explain words an error of CEL without the values in it, which are the caller's.
func (c *condition) explain(err error) string {
	var canceled interpreter.EvalCancelledError
	if errors.As(err, &canceled) && canceled.Cause == interpreter.CostLimitExceeded {
		return "it costs too much"
	}
	for _, own := range ownErrors {
		if errors.Is(err, own) {
			return own.Error()
		}
	}
	text := err.Error()
	if key, ok := strings.CutPrefix(text, "no such key: "); ok {
		// A key that the condition itself names is no secret of the caller's.
		if strings.Contains(c.text, key) {
			return text
		}
		return "no such key"
	}
	switch {
	case strings.HasPrefix(text, "no such overload"):
		return "a value is not of the type that the condition wants"
	case errors.Is(err, interpreter.InterruptError{}):
		return "the request was given up"
	}
	return "a value cannot be used as the condition wants"
}

func unevaluated(rule, why string) string {
	reason := "the condition of rule " + rule + " could not be evaluated: " + why
	if utf8.RuneCountInString(reason) <= maxReason {
		return reason
	}
	return string([]rune(reason)[:maxReason-3]) + "..."
}
