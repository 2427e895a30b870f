// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpcaller

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/toolcall"
	"github.com/dapr-custody/custody/internal/txn"
)

// Caller is the door of one app to the servers that it calls.
type Caller struct {
	meta     Metadata
	host     Host
	scribe   *gate.Scribe
	verifier *receipt.Verifier
	tokens   *txn.Verifier
	minted   minted
	limits   toolcall.Limits
}

func newCaller(meta Metadata, host Host, scribe *gate.Scribe) *Caller {
	return &Caller{
		meta: meta, host: host, scribe: scribe, verifier: receipt.NewVerifier(host.Bundles), tokens: txn.NewVerifier(host.Bundles),
		limits: toolcall.Limits{BodyBytes: meta.MaxRequestBytes},
	}
}

// Handler stands before next, which is the rest of the sidecar's HTTP API.
func (c *Caller) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		own := takeOurs(r.Header)
		switch {
		case c.ownPath(r):
			c.serve(w, r)
		case len(own.steps) > 0:
			c.call(w, r, next, &own)
		default:
			if no := c.transact(r, &own, nil); no != nil {
				c.sendReply(w, *no)
				return
			}
			next.ServeHTTP(w, r)
		}
	})
}

// call asks for a step, and passes the call on with the question.
func (c *Caller) call(w http.ResponseWriter, r *http.Request, next http.Handler, own *owned) {
	step, err := ParseStep(own.steps)
	if err != nil {
		c.sendReply(w, refused(http.StatusBadRequest, err))
		return
	}
	if err := c.address(step, r); err != nil {
		c.sendReply(w, refused(http.StatusBadRequest, err))
		return
	}
	body, err := c.readBody(w, r)
	if err != nil {
		c.sendReply(w, unread(err))
		return
	}
	message, err := toolcall.Parse(toolcall.HeadersOf(r.Header), body, c.limits)
	if err != nil {
		c.sendReply(w, c.replyTo(err))
		return
	}
	if message.Kind() != toolcall.KindRequest {
		c.sendReply(w, refused(http.StatusBadRequest, fmt.Errorf("a step is an MCP request, and this is a %s: send it without %s", message.Kind(), HeaderStep)))
		return
	}
	// Before the question: what is not sent must not stand in the chain.
	if no := c.transact(r, own, c.chainOf(step)); no != nil {
		c.sendReply(w, *no)
		return
	}
	link, err := c.ask(step, message)
	if err != nil {
		c.sendReply(w, c.replyTo(err))
		return
	}
	if own.presented {
		r.Header.Set(HeaderChain, ChainPresented)
	}
	c.forward(w, r, next, message.Body(), encode(link.Envelope))
}

// chainOf is the chain of a step, with the app that it may leave out.
func (c *Caller) chainOf(step *Step) *receipt.Chain {
	chain := step.Workflow.Chain
	if chain == nil || !chain.App.IsZero() {
		return chain
	}
	full := *chain
	full.App = c.host.ID
	return &full
}

// ask signs the question for the bytes that the guard will see.
func (c *Caller) ask(step *Step, message *toolcall.Message) (*gate.Link, error) {
	arguments, err := message.ArgumentsDigest()
	if err != nil {
		return nil, &gate.SayingError{Reason: err.Error()}
	}
	saying := gate.Saying{
		Status:   receipt.StatusAsked,
		Action:   receipt.Action{Kind: policy.KindMCPPrefix + message.Method(), Server: step.Server, Name: message.Name()},
		Request:  receipt.Sum(message.Body()),
		To:       step.to,
		Workflow: step.Workflow,
		Prev:     step.Prev,
	}
	if saying.Arguments, err = receipt.ParseDigest(arguments); err != nil {
		return nil, err
	}
	return c.scribe.Write(saying)
}

// forward sends exactly what the question is about.
func (c *Caller) forward(w http.ResponseWriter, r *http.Request, next http.Handler, body []byte, question string) {
	withoutHops(r.Header)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(HeaderQuestion, question)
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	r.TransferEncoding = nil
	answer := &response{ResponseWriter: w, question: question}
	next.ServeHTTP(answer, r)
	answer.end()
}

// encode is an envelope as it stands in a header.
func encode(envelope *receipt.Envelope) string {
	return base64.RawURLEncoding.EncodeToString(envelope.AppendJSON(nil))
}

var errTooLarge = errors.New("the body is larger than maxRequestBytes")

// readBody reads what the app sent, up to the limit.
func (c *Caller) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	limit := c.meta.MaxRequestBytes
	var buffer bytes.Buffer
	if r.ContentLength > 0 && r.ContentLength <= int64(limit) {
		buffer.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	_, err := buffer.ReadFrom(http.MaxBytesReader(w, r.Body, int64(limit)))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, errTooLarge
	case err != nil:
		return nil, fmt.Errorf("the body broke off: %w", err)
	}
	return buffer.Bytes(), nil
}

func unread(err error) reply {
	if errors.Is(err, errTooLarge) {
		return refused(http.StatusRequestEntityTooLarge, err)
	}
	return refused(http.StatusBadRequest, err)
}
