// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package testkit

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/linkpack"
	"github.com/dapr-custody/custody/internal/receipt"
)

// Chained is a workflow whose steps form a chain: its history as daprd writes it, with the activities of workflows/custody,
// and its links as the sidecars sign them.
type Chained struct {
	*History

	Chain receipt.Chain
	Heads []receipt.Digest
	Links []*receipt.Envelope
	// Generation counts ContinueAsNew.
	Generation uint32
	// Packed has results bear their links in the compact form, each certificate once.
	Packed bool

	task   int32
	asked  uint32 // the task of the newest statement that asks for an approval
	held   map[string]bool
	newest *linkpack.Text
}

// NewChained begins a workflow of the app whose SVID it is, and its chain.
func NewChained(tb testing.TB, svid *x509svid.SVID, instance string, at time.Time) *Chained {
	tb.Helper()
	c := &Chained{History: NewHistory(tb, svid, instance, at)}
	c.Start("refund")
	c.Chain = receipt.Chain{App: svid.ID, Instance: instance, Started: c.At.UTC()}
	return c
}

// Fork gives the same workflow, to go another way from here.
func (c *Chained) Fork() *Chained {
	other := *c
	other.History = c.Copy()
	other.Heads = append([]receipt.Digest(nil), c.Heads...)
	other.Links = append([]*receipt.Envelope(nil), c.Links...)
	return &other
}

// State makes a statement in a turn of its own.
func (c *Chained) State(kind, step string, change ...func(*receipt.Receipt)) *receipt.Envelope {
	c.tb.Helper()
	id := c.ScheduleStep("custody.state", kind, step)
	e := c.Sign(c.SVID, c.Receipt(kind, step, uint32(id)+1, receipt.StatusStated), change...)
	c.CompleteStep(id, "answered", e)
	c.Heads = []receipt.Digest{e.PayloadDigest()}
	if strings.HasPrefix(step, "custody.ask.") {
		c.asked = uint32(id) + 1
	}
	return e
}

// Call calls a tool of a server in a turn of its own.
func (c *Chained) Call(step string, server *x509svid.SVID) (question, answer *receipt.Envelope) {
	c.tb.Helper()
	id := c.ScheduleStep("custody.call", "", step)
	asked := c.Receipt("mcp.tools/call", step, uint32(id)+1, receipt.StatusAsked)
	asked.Action, asked.To = receipt.Action{Kind: "mcp.tools/call", Server: "payments", Name: "charge_card"}, server.ID
	question = c.Sign(c.SVID, asked)
	answer = c.Sign(server, AnswerTo(question, server.ID))
	c.CompleteStep(id, "answered", question, answer)
	c.Heads = []receipt.Digest{answer.PayloadDigest()}
	return question, answer
}

// AnswerTo gives what a server answers to a question, not yet signed.
func AnswerTo(question *receipt.Envelope, door spiffeid.ID) *receipt.Receipt {
	r, err := question.UnsafeReceipt()
	if err != nil {
		panic(err)
	}
	r.ID = "answer-" + r.ID
	r.Door, r.To = receipt.Door{SPIFFEID: door, Name: "mcpguard"}, spiffeid.ID{}
	r.Caller.Proof = "x509-svid"
	r.Prev = []receipt.Digest{question.PayloadDigest()}
	r.Outcome = receipt.Outcome{Status: receipt.StatusOK, HTTPStatus: 200}
	return r
}

// Approve has what was asked for last approved: an event brings the approval, and an activity takes it. The workflow takes
// it from those in by alone, if there are any.
func (c *Chained) Approve(name string, approver *x509svid.SVID, by ...string) *receipt.Envelope {
	c.tb.Helper()
	e := c.Approval(name, approver)
	c.Verify(name, e, "answered", by...)
	return e
}

// Approval is an approval of what was asked for last, which nobody has raised.
func (c *Chained) Approval(name string, approver *x509svid.SVID, change ...func(*receipt.Receipt)) *receipt.Envelope {
	c.tb.Helper()
	r := c.Receipt("custody.approval", name, c.asked, receipt.StatusApproved)
	r.RequestDigest = receipt.Sum([]byte("custody.ask." + name))
	return c.Sign(approver, r, change...)
}

// Verify has an event bring an approval of what was asked for last, and an activity verify it, to that end.
func (c *Chained) Verify(name string, e *receipt.Envelope, state string, by ...string) {
	c.tb.Helper()
	asked := map[string]any{"workflow": map[string]any{"instance": c.Instance, "task": c.asked, "step": name}}
	in, err := json.Marshal(map[string]any{"ask": asked, "by": by, "envelope": json.RawMessage(e.AppendJSON(nil))})
	require.NoError(c.tb, err)
	c.Turn()
	c.Raise("custody.approval."+name, string(e.AppendJSON(nil)))
	id := c.nextTask()
	c.Schedule(id, "custody.verify", string(in), "")
	c.Save()
	if state != "answered" {
		c.CompleteStep(id, state)
		return
	}
	c.CompleteStep(id, state, e)
	c.Heads = []receipt.Digest{e.PayloadDigest()}
}

// ContinueAsNew ends the generation, whose history is dropped, and begins the next with that input, which the generation
// states: changes are made to what it states.
func (c *Chained) ContinueAsNew(input string, change ...func(*receipt.Receipt)) {
	c.tb.Helper()
	r := c.Receipt("custody.continue", "custody.continue", math.MaxUint32, receipt.StatusStated)
	statement, err := chain.Continued(c.Generation+1, []byte(input))
	require.NoError(c.tb, err)
	r.RequestDigest = receipt.Sum(statement)
	e := c.Sign(c.SVID, r, change...)
	c.Links, c.Heads = append(c.Links, e), []receipt.Digest{e.PayloadDigest()}
	c.Generation++
	given, err := json.Marshal(map[string]any{
		"custody.dev/chain": map[string]any{"chain": c.Chain, "generation": c.Generation, "heads": c.Heads, "links": []kept{keptOf(e)}},
		"value":             json.RawMessage(input),
	})
	require.NoError(c.tb, err)
	c.History = NewHistory(c.tb, c.SVID, c.Instance, c.At)
	c.task, c.held, c.newest = 0, nil, nil
	c.StartWith("refund", string(given))
	c.State("custody.begin", "custody.begin")
}

// Finish ends the chain and the workflow, in the turn that has begun: the name of a timer bears the end of the chain.
func (c *Chained) Finish(change ...func(*receipt.Receipt)) {
	c.tb.Helper()
	e := c.Sign(c.SVID, c.Receipt("custody.end", "custody.end", math.MaxUint32, receipt.StatusStated), change...)
	c.FinishBy(e)
}

// FinishBy ends the workflow with that as the end of the chain.
func (c *Chained) FinishBy(e *receipt.Envelope) {
	c.tb.Helper()
	text, _, err := linkpack.After(c.newest, []*receipt.Envelope{e}, func(keyID string) bool { return c.held[keyID] })
	require.NoError(c.tb, err)
	c.Timer(c.nextTask(), "custody.end "+text)
	c.Links, c.Heads = append(c.Links, e), []receipt.Digest{e.PayloadDigest()}
	c.End(`"done"`)
	c.Save()
}

// FinishInATurn ends the chain by an activity, as a workflow does whose sidecar did not answer at once, and the workflow.
func (c *Chained) FinishInATurn() {
	c.tb.Helper()
	id := c.ScheduleStep("custody.state", "custody.end", "custody.end", math.MaxUint32)
	e := c.Sign(c.SVID, c.Receipt("custody.end", "custody.end", math.MaxUint32, receipt.StatusStated))
	c.CompleteStep(id, "answered", e)
	c.Heads = []receipt.Digest{e.PayloadDigest()}
	c.End(`"done"`)
	c.Save()
}

func (c *Chained) nextTask() int32 {
	c.task++
	return c.task - 1
}

// ScheduleStep schedules an activity of the library, and saves. As is the number of the step where it is not its own.
func (c *Chained) ScheduleStep(activity, kind, step string, as ...uint32) int32 {
	c.tb.Helper()
	id := c.nextTask()
	order := map[string]any{
		"workflow": map[string]any{"instance": c.Instance, "step": step}, "prev": c.Heads, "kind": kind,
	}
	for _, task := range as {
		order["as"] = task
	}
	input, err := json.Marshal(order)
	require.NoError(c.tb, err)
	c.Schedule(id, activity, string(input), "")
	c.Save()
	return id
}

// CompleteStep records the result of an activity of the library, with links, in a new turn; what comes next is saved with it.
func (c *Chained) CompleteStep(id int32, state string, links ...*receipt.Envelope) {
	c.tb.Helper()
	out := []kept{}
	for _, e := range links {
		out = append(out, keptOf(e))
		c.Links = append(c.Links, e)
	}
	result, err := json.Marshal(map[string]any{"custody": 1, "state": state, "links": out})
	if c.Packed {
		result, err = c.packed(state, links)
	}
	require.NoError(c.tb, err)
	c.Turn()
	c.Complete(id, string(result), c.SVID)
}

// kept is a link as it is kept whole.
type kept struct {
	Digest   string          `json:"digest"`
	Envelope json.RawMessage `json:"envelope"`
}

func keptOf(e *receipt.Envelope) kept { return kept{e.Digest(), e.AppendJSON(nil)} }

func (c *Chained) packed(state string, links []*receipt.Envelope) ([]byte, error) {
	text, made, err := linkpack.After(c.newest, links, func(keyID string) bool { return c.held[keyID] })
	if err != nil {
		return nil, err
	}
	c.newest = made
	held := maps.Clone(c.held) // A fork goes its own way.
	if held == nil {
		held = map[string]bool{}
	}
	for _, e := range links {
		held[e.Signatures[0].KeyID] = true
	}
	c.held = held
	return json.Marshal(map[string]any{"custody": 2, "state": state, "links": text})
}

// Receipt is one of the app's own, as its sidecar makes it now.
func (c *Chained) Receipt(kind, step string, task uint32, status string) *receipt.Receipt {
	id := c.Chain
	return &receipt.Receipt{
		ID: fmt.Sprintf("link-%d", task+1000*c.Generation), Action: receipt.Action{Kind: kind, Name: step},
		RequestDigest: receipt.Sum([]byte(step)), Decision: receipt.Decision{Effect: receipt.EffectAllow},
		Workflow: &receipt.Workflow{Chain: &id, Instance: c.Instance, App: c.App, Name: "refund", Generation: c.Generation, Task: task, Step: step},
		Prev:     append([]receipt.Digest(nil), c.Heads...),
		Journal:  receipt.Journal{ID: strings.Repeat("0c", 16), Chain: receipt.Sum([]byte("journal"))},
		Times:    receipt.Times{Decided: c.At.UTC(), Settled: c.At.UTC()}, Outcome: receipt.Outcome{Status: status},
	}
}

// Sign signs a receipt by the sidecar whose SVID it is. Changes come before.
func (c *Chained) Sign(svid *x509svid.SVID, r *receipt.Receipt, change ...func(*receipt.Receipt)) *receipt.Envelope {
	c.tb.Helper()
	r.Door.SPIFFEID = svid.ID
	if r.Caller.SPIFFEID.IsZero() {
		r.Caller = receipt.Caller{SPIFFEID: svid.ID, Proof: "sidecar"}
	}
	for _, change := range change {
		change(r)
	}
	return Sign(c.tb, r, svid)
}

// Anchors gives what the door of the store signs of the history: one receipt for each signature.
func (c *Chained) Anchors() []*receipt.Envelope {
	c.tb.Helper()
	var anchors []*receipt.Envelope
	for i, raw := range c.Signatures() {
		r := c.Receipt("custody.history", c.Instance, uint32(i)+1, receipt.StatusAnchored)
		r.Action.Server, r.RequestDigest, r.Prev = "statestore", receipt.Sum(raw), nil
		r.Workflow = &receipt.Workflow{Instance: c.Instance, App: c.App, Task: uint32(i) + 1}
		r.Caller.SPIFFEID = c.SVID.ID
		r.Caller.Proof = "sidecar"
		anchors = append(anchors, c.Sign(c.SVID, r))
	}
	return anchors
}
