// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody

import (
	"encoding/json"
	"time"

	"github.com/dapr-custody/custody/internal/receipt"
)

// Link is one link of a chain: a signed receipt.
type Link struct {
	// Digest names it: "sha256:" and 64 hexadecimal digits.
	Digest string `json:"digest"`
	// Envelope is the DSSE envelope as JSON, with certificates.
	Envelope json.RawMessage `json:"envelope"`
	// decoded is the same, where it is at hand; then the envelope may be nil within this package. It must not be changed.
	decoded *receipt.Envelope
}

// chainName is receipt.Chain as it goes to the own sidecar, which fills in an App that is left out.
type chainName struct {
	App      string `json:"app,omitempty"`
	Instance string `json:"instance"`
	// Started is left out until a link of the chain has told it: then the activity finds it out.
	Started time.Time `json:"started,omitzero"`
}

// stepName is receipt.Workflow in the same way.
type stepName struct {
	Chain      chainName `json:"chain"`
	Instance   string    `json:"instance"`
	App        string    `json:"app,omitempty"`
	Name       string    `json:"name,omitempty"`
	Generation uint32    `json:"generation,omitempty"`
	Task       uint32    `json:"task,omitempty"`
	Step       string    `json:"step,omitempty"`
}

// asked is what goes with a question (header Custody-Step), a statement and an approval.
type asked struct {
	Workflow stepName `json:"workflow"`
	Prev     []string `json:"prev"`
	// Server is the name of the server, where the ID of its app is another.
	Server string `json:"server,omitempty"`
}

// order is the input of an activity.
type order struct {
	asked
	// Kind and Statement are for statements.
	Kind      string          `json:"kind,omitempty"`
	Statement json.RawMessage `json:"statement,omitempty"`
	// Target and what follows are for calls.
	Target    *target         `json:"target,omitempty"`
	Arguments json.RawMessage `json:"arguments,omitempty"`
	// Repeat lets a call be made although an earlier attempt of it may have been, or was.
	Repeat bool `json:"repeat,omitempty"`
	// Pending is the question of an earlier attempt of which it is not known what came.
	Pending string `json:"pending,omitempty"`
	// Links are those that the server is to be shown, where an earlier attempt did not find them, and All says that there
	// are no others. For a kindBegin they are the last link of the generation before, and Expect is what that has to state.
	Links  packed `json:"links,omitempty"`
	All    bool   `json:"all,omitempty"`
	Expect string `json:"expect,omitempty"`
	// As is the number of the step where it is not the activity's own: that of the activity that asked before and did not
	// find the links (nothing was decided, so this one asks for the same step), or endTask. 0 is its own.
	As uint32 `json:"as,omitempty"`
	// Held are the keys whose certificates results of this generation have, the newest, by the beginning of their IDs.
	Held []string `json:"held,omitempty"`
	// After names the newest links of this generation, after which the result may keep its own (package linkpack).
	After string `json:"after,omitempty"`
	// Look says that nothing is to be called, and only what came of Pending is to be found out.
	Look bool `json:"look,omitempty"`
}

// target is the tool that is called, and where.
type target struct {
	Tool string `json:"tool"`
	App  string `json:"app"`
	// Path is left out where it is the usual one.
	Path string `json:"path,omitempty"`
}

const usualPath = "/mcp"

func (t *target) path() string {
	if t.Path == "" {
		return usualPath
	}
	return t.Path
}

// The states that an attempt ends in. All but the first fail the step.
const (
	stateAnswered    = "answered"    // there is an answer, or the statement was made
	stateSettled     = "settled"     // there was an answer already; what the tool gave is lost
	stateUnknown     = "unknown"     // the call was passed on, and nobody knows what came of it
	stateUnreachable = "unreachable" // no answer was given
	stateLinks       = "links"       // the server wants links that the activity does not have
	stateSession     = "session"     // the server has forgotten the session, and did nothing
	stateRefused     = "refused"     // a sidecar does not take the step as it is
	stateNoCaller    = "nocaller"    // the sidecar has no mcpcaller
)

// outcome is the result of an activity. It is never an error, because errors of activities are texts, and links would be
// lost.
type outcome struct {
	// Version marks the results of this package within a history.
	Version int    `json:"custody"`
	State   string `json:"state"`
	// Status is that of the receipt of the answer.
	Status string `json:"status,omitempty"`
	// Links are what was signed, with all certificates, and Kept is the form in which they are kept.
	Links []Link          `json:"-"`
	Kept  json.RawMessage `json:"links,omitempty"`
	// ChainApp, Started and App are what was filled into the name of the step, and Door is the own sidecar's identity. A
	// call gives the first two, and those only where the order does not have them.
	ChainApp string    `json:"chainApp,omitempty"`
	Started  time.Time `json:"started,omitzero"`
	App      string    `json:"app,omitempty"`
	Door     string    `json:"door,omitempty"`
	// Result is that of the tool, and tool what is read of it; nil where there is none, or nobody has read it.
	Result json.RawMessage `json:"result,omitempty"`
	tool   *toolResult
	// Code, HTTPStatus, Reference and Detail say more of what went wrong.
	Code       int    `json:"code,omitempty"`
	HTTPStatus int    `json:"httpStatus,omitempty"`
	Reference  string `json:"reference,omitempty"`
	Detail     string `json:"detail,omitempty"`
	// Pending is for the next attempt.
	Pending string `json:"pending,omitempty"`
	// Found is set where the answer is that to an earlier attempt, and nothing was called.
	Found bool `json:"found,omitempty"`
	// Task is the number of the step.
	Task uint32 `json:"task,omitempty"`
	// By and At are those of an approval.
	By string    `json:"by,omitempty"`
	At time.Time `json:"at,omitzero"`
}

// outcomeVersion says how links are kept: 1 as an array of Link, 2 in the compact form where there is one.
const outcomeVersion = 2

// head is the newest link of the outcome, or nil if nothing was signed.
func (o *outcome) head() *Link {
	if len(o.Links) == 0 {
		return nil
	}
	return &o.Links[len(o.Links)-1]
}
