// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"strings"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Past is what happened in the workflow that a request belongs to, for `chain` in
// conditions: the steps whose links were verified (docs/chain.md), and no others.
// Whoever makes one answers for it. It is used by one goroutine at a time and does
// not change while a request is decided.
type Past interface {
	// Instance is the ID of the workflow instance that the chain began with.
	Instance() string
	// Len is the number of steps.
	Len() int
	// Complete reports that no predecessor of a step is missing.
	Complete() bool
	// Step returns the step at i, 0 <= i < Len(), oldest first.
	Step(i int) PastStep
	// Named returns the indexes of the steps of this name, oldest first. It takes
	// about as long for 10,000 steps as for ten.
	Named(name string) []int
}

// The kinds of a PastStep.
const (
	StepTool      = "tool"      // a question and, once there is one, its answer
	StepStatement = "statement" // stated by the app that did it
	StepApproval  = "approval"  // approved
)

// PastStep is one step of a Past.
type PastStep struct {
	Name string
	// Kind is StepTool, StepStatement or StepApproval. A step of another kind is not done.
	Kind string
	// By is the workload whose sidecar asked, stated or approved.
	By spiffeid.ID
	// Server and Tool are what was called, empty unless Kind is StepTool.
	Server string
	// Door is the workload that answered, zero where nobody did.
	Door spiffeid.ID
	Tool string
	// Status is that of the receipt that settles the step: of the answer for a tool
	// call that has one, of the only link otherwise.
	Status string
	// At is when the step was settled, by the clock of the one that signed it. A zero
	// At is never within any time.
	At time.Time
	// Instance is the workflow instance that did the step.
	Instance string
	// Digest is that of what was stated or approved, or of the arguments of a tool
	// call, in RFC 8785 form; zero for a call without arguments.
	Digest Digest
}

// Actor is on whose behalf a request is made, as a verified transaction token
// says, for `actor` and `actors` in conditions.
type Actor struct {
	// SPIFFEID is the principal with whom the transaction began.
	SPIFFEID spiffeid.ID
	// Txn is the ID of the transaction.
	Txn string
	// Chain are the workloads through which the request came, from the principal to
	// the one that called last, both among them.
	Chain []spiffeid.ID
}

// done reports whether the step is one that conditions may rely on.
func (s *PastStep) done() bool {
	switch s.Kind {
	case StepTool:
		return s.Status == statusOK
	case StepStatement, StepApproval:
		return true
	}
	return false
}

// statusOK is the status of a tool call that was answered with a result.
const (
	statusOK      = "ok"
	statusUnknown = "unknown" // a question without an answer
)

// AsksChain reports whether a rule that could decide something for the server has
// a condition that names `chain`, also one of a policy in shadow mode. Where it
// does not, Facts.Past changes no decision. It takes no longer for many rules than
// for one. A nil Set asks nothing.
func (s *Set) AsksChain(server string) bool {
	return s != nil && (s.chained[every] || s.chained[server])
}

// chains notes what a rule asks for.
func (s *Set) chains(r *rule) {
	if r.when == nil || !r.when.chain {
		return
	}
	if s.chained == nil {
		s.chained = map[string]bool{}
	}
	s.chained[r.server] = true
}

// fact returns what Foresee calls the fact that a name of conditions asks for.
func fact(name string) string {
	switch {
	case name == nameDigest:
		return FactArguments
	case name == nameParams || strings.HasPrefix(name, nameSQL+"."):
		return FactSQL
	case name == namePast || name == nameSteps || strings.HasPrefix(name, nameChain+"."):
		return FactChain
	case name == "actors" || strings.HasPrefix(name, FactActor+"."):
		return FactActor
	}
	return name
}

// ofPast gives the names of chain, actor and actors their values.
func (v *variables) ofPast(name string) (any, bool) {
	switch fact(name) {
	case FactChain:
		return v.ofChain(name), true
	case FactActor:
		return v.ofActor(name), true
	}
	return nil, false
}

func (v *variables) ofChain(name string) any {
	past := v.facts.Past
	switch {
	case name == namePast:
		if v.past == nil {
			v.past = &history{past: past, now: v.facts.Now, passed: v.facts.Passed}
		}
		return v.past
	case name == nameSteps:
		return stepList{past}
	case name == chainLength && past == nil:
		return types.IntZero
	case name == chainLength:
		return types.Int(past.Len())
	case name == chainComplete:
		return types.Bool(past != nil && past.Complete())
	case past == nil:
		return types.String("")
	}
	return types.String(past.Instance())
}

func (v *variables) ofActor(name string) any {
	a := v.facts.Actor
	if a == nil {
		a = &Actor{}
	}
	switch name {
	case "actor.spiffeID":
		return types.String(a.SPIFFEID.String())
	case "actor.txn":
		return types.String(a.Txn)
	}
	through, sum := make([]ref.Val, len(a.Chain)), uint64(1)
	for i, id := range a.Chain {
		through[i] = types.String(id.String())
		sum += weight(through[i])
	}
	return valueList{Lister: types.NewRefValList(types.DefaultTypeAdapter, through), weight: sum}
}
