// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package receipt

import (
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// The exact names under which receipts travel.
const (
	// PayloadType is the DSSE payload type of an in-toto Statement.
	PayloadType = "application/vnd.in-toto+json"
	// StatementType is the _type of an in-toto Statement v1.
	StatementType = "https://in-toto.io/Statement/v1"
	// PredicateType names the predicate that Receipt describes.
	PredicateType = "https://custody.dev/receipt/v1"
)

// The effects of a decision.
const (
	EffectAllow = "allow"
	EffectDeny  = "deny"
)

// What became of the action. StatusDenied belongs to EffectDeny and to nothing else.
const (
	StatusDenied     = "denied"     // refused by policy; nothing was forwarded
	StatusOK         = "ok"         // the server answered with a result
	StatusToolError  = "toolError"  // the server answered with a result that has isError
	StatusRPCError   = "rpcError"   // the server answered with a JSON-RPC error
	StatusHTTPError  = "httpError"  // the server answered with an HTTP error status
	StatusIncomplete = "incomplete" // the answer broke off
	StatusWithheld   = "withheld"   // the server answered, and the answer was not passed on
	StatusFailed     = "failed"     // the database or state store answered with an error
)

// What the sidecar of a caller or a worker states by itself. They belong to EffectAllow; nobody else decided them.
const (
	StatusAsked    = "asked"    // the door's own app asks this of the app To, whose receipt continues this one
	StatusStated   = "stated"   // the door's own app states this of itself
	StatusApproved = "approved" // the door's own app approves what Workflow.Step names
	StatusAnchored = "anchored" // RequestDigest is that of a record which somebody else keeps
)

// Receipt is the predicate: what a door saw, decided and got back. Zero members are left out of the JSON form. Members
// without a note are free text that came from the policy or from the request, and are stated, not checked.
type Receipt struct {
	// ID names the action within its journal. Required: 1 to 128 letters, digits, '.', '_' or '-'.
	ID     string `json:"id"`
	Door   Door   `json:"door"`
	Caller Caller `json:"caller,omitzero"`
	// Txn is the ID of the transaction that the action is a part of, and Actors are the workloads through whose hands it
	// came, from the one that began it to the caller, as a transaction token said that the door verified
	// (docs/delegation.md). Both are empty without one.
	Txn    string        `json:"txn,omitempty"`
	Actors []spiffeid.ID `json:"actors,omitempty"`
	Action Action        `json:"action"`
	// To is the app that alone may answer a question. Required of StatusAsked in a link of a chain, and zero elsewhere.
	To spiffeid.ID `json:"to,omitzero"`
	// RequestDigest is over the exact bytes that were forwarded or, for a refusal, that would have been. Required.
	RequestDigest Digest `json:"requestDigest"`
	// ArgumentsDigest is over the arguments in RFC 8785 form. Zero if there were none.
	ArgumentsDigest Digest   `json:"argumentsDigest,omitzero"`
	Decision        Decision `json:"decision"`
	// Touched are the parts of a request that has several: the relations of a statement, the keys of a state request, with
	// what was to be done with each. At most MaxTouched, and TouchedMore counts the others. Both are empty without parts.
	Touched     []Touched `json:"touched,omitempty"`
	TouchedMore int       `json:"touchedMore,omitempty"`
	// Statement is the statement of SQL. Nil for what is none. Its parameters are never recorded.
	Statement *Statement `json:"statement,omitempty"`
	// Workflow is nil for an action outside a workflow.
	Workflow *Workflow `json:"workflow,omitempty"`
	// Prev are the digests of the receipts that this one continues.
	Prev    []Digest `json:"prev,omitempty"`
	Journal Journal  `json:"journal"`
	Times   Times    `json:"times"`
	Outcome Outcome  `json:"outcome"`
}

// Door is the place that decided. SPIFFEID is required and is the identity that signs.
type Door struct {
	SPIFFEID spiffeid.ID `json:"spiffeID"`
	Name     string      `json:"name,omitempty"`
}

// Caller is who asked. It is zero when the caller could not be established.
type Caller struct {
	SPIFFEID spiffeid.ID `json:"spiffeID"`
	// Proof says how the identity was proven, for example "x509-svid".
	Proof string `json:"proof,omitempty"`
	// CertificateDigest is over the DER of the caller's leaf certificate. Zero if there was none.
	CertificateDigest Digest `json:"certificateDigest,omitzero"`
}

// Action is what was asked. Kind is required.
type Action struct {
	Kind   string `json:"kind"`
	Server string `json:"server,omitempty"`
	Name   string `json:"name,omitempty"`
}

// Touched is one part of a request: a kind of action, as sql.update, and what it acts on. Kind is required.
type Touched struct {
	Kind string `json:"kind"`
	Name string `json:"name,omitempty"`
}

// Statement is a statement of SQL. Digest is required.
type Statement struct {
	// Fingerprint is equal for statements that differ in constants only. Empty for one that could not be parsed.
	Fingerprint string `json:"fingerprint,omitempty"`
	// Digest is over the bytes of the text.
	Digest Digest `json:"digest"`
	// Text is the statement itself, where the database is configured so. Else empty.
	Text string `json:"text,omitempty"`
}

// Decision is what policy said. Effect is required: EffectAllow or EffectDeny.
type Decision struct {
	Effect string `json:"effect"`
	Policy string `json:"policy,omitempty"`
	Rule   string `json:"rule,omitempty"`
	Reason string `json:"reason,omitempty"`
	// SetDigest names the Set of rules that decided. Zero if there was none to decide.
	SetDigest Digest `json:"setDigest,omitzero"`
	// Shadow is what the policies in shadow mode would have changed. Nil if nothing.
	Shadow *Shadow `json:"shadow,omitempty"`
}

// Shadow is a decision that was not enforced. Effect is required: EffectAllow or EffectDeny. Where it is that of the
// decision itself, what comes with the allow would be another.
type Shadow struct {
	Effect string `json:"effect"`
	Policy string `json:"policy,omitempty"`
	Rule   string `json:"rule,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// Workflow is the workflow step in which the action happened. Instance is required. Where the receipt is a link of a
// chain (docs/chain.md), so are Chain and App.
type Workflow struct {
	// Chain names the chain that the receipt belongs to. Nil for a receipt that is no link.
	Chain *Chain `json:"chain,omitempty"`
	// Instance is Dapr's ID of the workflow instance that does the step, which is another than that of Chain in a child
	// workflow.
	Instance string `json:"instance"`
	// App is the ID of the app that the instance runs in.
	App string `json:"app,omitempty"`
	// Name is the workflow's name.
	Name string `json:"name,omitempty"`
	// Generation counts how often the instance was continued as new. 0 is the first.
	Generation uint32 `json:"generation,omitempty"`
	// Task is Dapr's ID of the event by which the step was scheduled, plus one. 0 means that there is none.
	Task uint32 `json:"task,omitempty"`
	// Step is the step's name.
	Step string `json:"step,omitempty"`
}

// Chain names a chain by the workflow that it began with. All members are required. Started tells runs of one instance
// ID apart: it is the time of the first event in Dapr's history.
type Chain struct {
	App      spiffeid.ID `json:"app"`
	Instance string      `json:"instance"`
	Started  time.Time   `json:"started"`
}

// AppendJSON appends the JSON form of receipts to dst, which is that of RFC 8785: Started has nine digits after the
// second, in UTC.
func (c *Chain) AppendJSON(dst []byte) []byte {
	dst = appendString(append(dst, `{"app":`...), c.App.String())
	dst = appendString(append(dst, `,"instance":`...), c.Instance)
	return append(appendTime(append(dst, `,"started":`...), c.Started), '}')
}

// Equal reports whether both name the same chain.
func (c *Chain) Equal(other *Chain) bool {
	if c == nil || other == nil {
		return c == other
	}
	return c.App == other.App && c.Instance == other.Instance && c.Started.Equal(other.Started)
}

// Journal is the position in the door's journal that the receipt stands on: with its signature the door vouches for the
// record Seq and for everything before it. ID is required. Seq 0 with the first chain value of the journal means that
// the receipt stands on an empty journal.
type Journal struct {
	ID    string `json:"id"`
	Seq   uint64 `json:"seq"`
	Chain Digest `json:"chain"`
}

// Times are stated by the door. Both are required, and Decided is not after Settled.
type Times struct {
	Decided time.Time `json:"decided"`
	Settled time.Time `json:"settled"`
}

// Outcome is what became of the action. Status is required.
type Outcome struct {
	Status     string `json:"status"`
	HTTPStatus int    `json:"httpStatus,omitempty"`
	// ResponseDigest is over the exact bytes of the answer as passed on. Zero if there was none.
	ResponseDigest Digest `json:"responseDigest,omitzero"`
	// ResultDigest is over the result in RFC 8785 form. Zero if there was none.
	ResultDigest Digest `json:"resultDigest,omitzero"`
	// Reason says why an answer was withheld, and of links that were presented to a door which do not hold. Else empty.
	Reason string `json:"reason,omitempty"`
	// Rows counts the rows that a statement returned or changed.
	Rows int64 `json:"rows,omitempty"`
	// Redacted counts by kind what was taken out of the answer. The digests are over what is left.
	Redacted map[string]int `json:"redacted,omitempty"`
}

// Witness reports whether the status is one of those that a door states by itself: no policy decided, and no answer was
// waited for.
func (o *Outcome) Witness() bool {
	switch o.Status {
	case StatusAsked, StatusStated, StatusApproved, StatusAnchored:
		return true
	}
	return false
}

// subject is the name of the one subject of the statement.
func (a Action) subject() string { return a.Kind + " " + a.Server + "/" + a.Name }
