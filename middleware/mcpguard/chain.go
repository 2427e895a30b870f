// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/toolcall"
)

// The paths under which the guard itself serves the workers of callers
// (docs/chain.md). Nothing below custodyRoot reaches the server.
const (
	custodyRoot = "/custody/v1/"
	chainPath   = custodyRoot + "chain"
	answerPath  = chainPath + "/answer"
)

const (
	// maxPresented is how many links are verified in one request.
	maxPresented = 1_000
	// maxTold bounds the faults, and the missing links, that one answer names.
	maxTold = 100
)

func (x *exchange) atCustody() bool { return strings.HasPrefix(x.r.URL.Path, custodyRoot) }

// custody serves what is asked of the guard itself.
func (x *exchange) custody() {
	switch escaped := x.r.URL.EscapedPath(); {
	case escaped == chainPath && x.r.Method == http.MethodPost && x.r.URL.RawQuery == "" && !x.asks():
		x.present()
	case escaped == answerPath && x.r.Method == http.MethodGet && !x.asks():
		x.answerTo()
	default:
		x.refuse(policy.Action{Kind: policy.KindHTTP, Name: x.line()}, nil, "the guard serves no such request", noSuchPlace())
	}
}

func noSuchPlace() *reply {
	return &reply{status: http.StatusNotFound, code: toolcall.CodeInvalidRequest, say: sayMalformed}
}

// presented is the body of a request that presents links.
type presented struct {
	Chain *receipt.Chain   `json:"chain"`
	Links []jsontext.Value `json:"links"`
}

// decodePresented is strict: what is not known is refused. Links are looked at later, each by itself.
func decodePresented(body []byte) (*presented, error) {
	var p presented
	if err := json.Unmarshal(body, &p, json.RejectUnknownMembers(true)); err != nil {
		return nil, err
	}
	switch {
	case p.Chain == nil || p.Chain.App.IsZero() || p.Chain.Instance == "" || p.Chain.Started.IsZero():
		return nil, errors.New("chain needs app, instance and started")
	case len(p.Chain.Instance) > maxID:
		return nil, fmt.Errorf("chain.instance has more than %d bytes", maxID)
	case len(p.Links) > maxPresented:
		return nil, fmt.Errorf("there are %d links, at most %d are taken at a time", len(p.Links), maxPresented)
	}
	return &p, nil
}

// linkFault is a rule that a link breaks, as a worker is told.
type linkFault struct {
	Digest receipt.Digest  `json:"digest,omitzero"`
	Kind   chain.FaultKind `json:"kind"`
	Detail string          `json:"detail"`
}

// learned is what the guard says to links that were presented.
type learned struct {
	Known   int              `json:"known"`
	Missing []receipt.Digest `json:"missing"`
	Faults  []linkFault      `json:"faults"`
}

// present takes links of a chain into memory, those that verify.
func (x *exchange) present() {
	ask := gate.Ask{Caller: x.caller, Action: policy.Action{Kind: policy.KindChain, Server: x.guard.meta.Server}, Plumbing: true, Facts: x.facts(nil)}
	var refused *reply
	body, err := x.readBody()
	ask.Request = receipt.Sum(body)
	var p *presented
	if err != nil {
		ask.Refusal, refused = err.Error(), unread(err)
	} else if p, err = decodePresented(body); err != nil {
		ask.Refusal, refused = "the links can not be read: "+err.Error(), unread(err)
	} else {
		ask.Action.Name = p.Chain.Instance
	}
	refused = x.onBehalf(&ask, refused)
	permit, err := x.guard.gate.Check(ask)
	if err != nil {
		replyTo(err, refused, nil).send(x.w, x.guard.host.Log)
		return
	}
	result, bad := x.guard.memory.chains.present(x.caller.ID(), p)
	text, err := json.Marshal(result)
	x.settleOwn(permit, http.StatusOK, text, unsound(len(p.Links), bad), err)
}

// present verifies the links and keeps those that hold. It says what is wrong in
// the chain now, and which of the links do not hold by themselves.
func (c *chains) present(caller spiffeid.ID, p *presented) (result learned, bad []linkFault) {
	known := c.open(caller, p.Chain)
	for _, text := range p.Links {
		link, err := receipt.DecodeEnvelope(text)
		if err == nil {
			err = c.keep(known, link)
		}
		if err != nil {
			bad = append(bad, faultOf(err))
		}
	}
	result = learned{Known: known.Len(), Missing: known.Missing(), Faults: bad}
	for _, f := range known.SomeFaults(maxTold) {
		result.Faults = append(result.Faults, faultOf(f))
	}
	result.Missing = result.Missing[:min(len(result.Missing), maxTold)]
	result.Faults = result.Faults[:min(len(result.Faults), maxTold)]
	return result, bad
}

func faultOf(err error) linkFault {
	var f *chain.Fault
	if errors.As(err, &f) {
		return linkFault{Digest: f.Link, Kind: f.Kind, Detail: f.Detail}
	}
	return linkFault{Kind: chain.FaultEnvelope, Detail: err.Error()}
}

// answerTo gives the answer to a question of the caller's own.
func (x *exchange) answerTo() {
	ask := gate.Ask{
		Caller: x.caller, Action: policy.Action{Kind: policy.KindChain, Server: x.guard.meta.Server},
		Request: receipt.Sum([]byte(x.r.URL.RawQuery)), Plumbing: true, Facts: x.facts(nil),
	}
	question, err := questionOf(x.r.URL.RawQuery)
	var refused *reply
	if err != nil {
		ask.Refusal, refused = err.Error(), unread(err)
	} else {
		ask.Action.Name = question.String()
	}
	refused = x.onBehalf(&ask, refused)
	permit, err := x.guard.gate.Check(ask)
	if err != nil {
		replyTo(err, refused, nil).send(x.w, x.guard.host.Log)
		return
	}
	passed, err := x.guard.steps.Passed(x.caller.ID(), question)
	if err == nil && passed == nil {
		body, err := toolcall.ErrorBody(nil, toolcall.CodeInvalidParams, sayNoQuestion+permit.Reference(), nil)
		x.settleOwn(permit, http.StatusNotFound, body, "", err)
		return
	}
	var text []byte
	if err == nil {
		text, err = passedJSON(passed)
	}
	x.settleOwn(permit, http.StatusOK, text, "", err)
}

// questionOf reads the one query that there is.
func questionOf(query string) (receipt.Digest, error) {
	values, err := url.ParseQuery(query)
	if err != nil || len(values) != 1 || len(values["question"]) != 1 {
		return receipt.Digest{}, errors.New("the query is not question=sha256:... alone")
	}
	var digest receipt.Digest
	if err := digest.UnmarshalText([]byte(values["question"][0])); err != nil {
		return receipt.Digest{}, err
	}
	return digest, nil
}

func passedJSON(p *gate.Passed) ([]byte, error) {
	state := "unknown"
	if p.Answer != nil {
		state = "settled"
	}
	return json.Marshal(struct {
		State    string            `json:"state"`
		Question *receipt.Envelope `json:"question"`
		Answer   *receipt.Envelope `json:"answer,omitzero"`
	}{state, p.Question, p.Answer})
}

// settleOwn settles what the guard itself serves and sends it. Where err is not
// nil there is nothing to send.
func (x *exchange) settleOwn(permit *gate.Permit, status int, body []byte, reason string, err error) {
	outcome := receipt.Outcome{Status: statusOf(status), HTTPStatus: status, Reason: reason}
	if err != nil {
		outcome = receipt.Outcome{Status: receipt.StatusIncomplete, Reason: err.Error()}
	} else {
		outcome.ResponseDigest = receipt.Sum(body)
	}
	digest, failed := permit.Settle(outcome)
	if err := errors.Join(err, failed); err != nil {
		x.guard.host.Log("mcpguard: what was asked under reference %s of the guard can not be told: %v", permit.Reference(), err)
		replyTo(err, nil, nil).send(x.w, x.guard.host.Log)
		return
	}
	header := x.w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store")
	header.Set(HeaderReceipt, digest)
	x.w.WriteHeader(status)
	if _, err := x.w.Write(body); err != nil {
		x.guard.host.Log("mcpguard: answering about a chain: %v", err)
	}
}
