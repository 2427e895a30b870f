// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/toolcall"
)

// Headers of chains of custody (docs/chain.md). Links in them have one of the forms
// of [receipt.EncodeHeader].
const (
	// HeaderQuestion is the question that a call is asked with and, in the refusal
	// of a step that was passed on before, the one that it was passed on for.
	HeaderQuestion = "Custody-Question"
	// HeaderAnswer is the signed answer to the question.
	HeaderAnswer = "Custody-Answer"
	// HeaderChain is ChainPresented in a call, and ChainWanted or ChainUnknown in
	// the refusal of one.
	HeaderChain = "Custody-Chain"
	// HeaderHeld is whose certificates the worker has, so that links of theirs may
	// come to it without (receipt.ParseHeld).
	HeaderHeld = "Custody-Held"
	// HeaderHas tells the caller's sidecar what of a question the guard has now, so
	// that it need not be sent again.
	HeaderHas = "Custody-Has"
)

// What HeaderHas says.
const (
	// HasNothing: certificates and token have to come with the next question, and with
	// status 428 this one has to come again with them.
	HasNothing = "nothing"
	// HasQuestion: the certificates of who signed the question.
	HasQuestion = "question"
	// HasBoth: and the transaction token that came with it.
	HasBoth = "question token"
)

// What HeaderChain says.
const (
	// ChainWanted: the policy asks for the chain, and not all of it is known here.
	ChainWanted = "wanted"
	// ChainPresented: all that the worker has was presented, so that the call is to
	// be decided by what is known.
	ChainPresented = "presented"
	// ChainUnknown: the step was passed on before, and what came of it is not known.
	ChainUnknown = "unknown"
)

// commentAnswer begins the line that stands for HeaderAnswer in a stream of events.
const commentAnswer = ": custody-answer "

// maxQuestion bounds the header of a question, in bytes.
const maxQuestion = 64 << 10

// asks reports whether a question comes with the request.
func (x *exchange) asks() bool {
	_, asks := x.r.Header[HeaderQuestion]
	return asks
}

// question makes the call the step that its question asks for. One that does not
// fit makes it a refusal, told by refused; wanted is the reply where the chain, or
// what the question leaves out, has to be presented before anything is decided.
func (x *exchange) question(ask *gate.Ask, message *toolcall.Message) (refused, wanted *reply) {
	x.holds = receipt.ParseHeld(x.r.Header[HeaderHeld])
	question, err := decodeQuestion(x.r.Header[HeaderQuestion])
	if err == nil && message.Kind() != toolcall.KindRequest {
		err = errors.New("what it comes with is no request")
	}
	if err == nil {
		err = x.guard.gate.Asked(ask, question)
	}
	if errors.Is(err, gate.ErrNotHeld) || (err == nil && x.unnamed) {
		return nil, &reply{status: http.StatusPreconditionRequired, code: toolcall.CodeInvalidRequest, say: sayNotHeld, id: message.ID()}
	}
	if err == nil {
		x.has()
		wanted, err = x.past(ask, message.ID())
	}
	if err != nil {
		ask.Step, ask.Refusal = nil, "the question does not fit the call: "+err.Error()
		return notAsked(), nil
	}
	x.step = ask.Step
	return nil, wanted
}

// has tells what need not be sent again.
func (x *exchange) has() {
	has := HasQuestion
	if x.token != nil {
		has = HasBoth
	}
	x.w.Header().Set(HeaderHas, has)
}

// past gives the conditions of rules what the chain holds, where they ask for it.
func (x *exchange) past(ask *gate.Ask, id []byte) (wanted *reply, err error) {
	if x.distrust != "" || !x.guard.policies.Current().AsksChain(x.guard.meta.Server) || x.guard.gate.Repeats(ask) {
		return nil, nil
	}
	asked := &chain.Link{Digest: ask.Step.Question().PayloadDigest(), Receipt: ask.Step.Receipt(), Signer: x.caller.ID()}
	view, err := x.guard.memory.chains.view(asked)
	if err != nil {
		return nil, err
	}
	if presented := x.r.Header[HeaderChain]; !view.Complete() && (len(presented) != 1 || presented[0] != ChainPresented) {
		return &reply{status: http.StatusPreconditionRequired, code: toolcall.CodeInvalidRequest, say: sayWanted, id: id, chain: ChainWanted}, nil
	}
	ask.Facts.Past = past{View: view, instance: asked.Receipt.Workflow.Chain.Instance}
	return nil, nil
}

// learn keeps question and answer of a step, where rules ask for chains.
func (x *exchange) learn(answer *receipt.Envelope) {
	if !x.guard.policies.Current().AsksChain(x.guard.meta.Server) {
		return
	}
	for _, link := range [2]*receipt.Envelope{x.step.Question(), answer} {
		if err := x.guard.memory.chains.add(x.caller.ID(), x.step.Receipt().Workflow.Chain, link); err != nil {
			x.guard.host.Log("mcpguard: a link of this guard's own chain is not kept: %v", err)
		}
	}
}

// notAsked is how a caller is told that its question is not accepted.
func notAsked() *reply {
	return &reply{status: http.StatusForbidden, code: toolcall.CodeDenied, say: sayNotAsked}
}

// repetition tells of a step that was passed on before what came of it.
func repetition(err *gate.RepeatedError, id []byte) reply {
	answer := reply{
		status: http.StatusConflict, code: toolcall.CodeDenied, say: sayRepeated + err.Reference, id: id,
		question: err.Passed.Question, answer: err.Passed.Answer,
	}
	if answer.answer == nil {
		answer.chain = ChainUnknown
	}
	return answer
}

// decodeQuestion takes one text for each envelope.
func decodeQuestion(values []string) (*receipt.Envelope, error) {
	if len(values) != 1 {
		return nil, fmt.Errorf("there are %d of it", len(values))
	}
	if len(values[0]) > maxQuestion {
		return nil, fmt.Errorf("it has more than %d bytes", maxQuestion)
	}
	return receipt.DecodeHeader(values[0])
}
