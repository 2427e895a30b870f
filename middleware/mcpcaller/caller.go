// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpcaller

import (
	"bytes"
	"errors"
	"fmt"
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
	peers    peers
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
			// Here, where little of the stack is in use: what comes next needs much of it.
			if o := c.call(w, r, &own); o != nil {
				c.forward(w, r, next, o)
			}
		default:
			token, no := c.transact(r, &own, nil)
			if no != nil {
				c.sendReply(w, *no)
				return
			}
			if token.compact != "" {
				r.Header.Set(HeaderTxnToken, token.compact)
			}
			next.ServeHTTP(w, r)
		}
	})
}

// call asks for a step, and gives what is to be passed on; nil after the app was told why nothing is.
func (c *Caller) call(w http.ResponseWriter, r *http.Request, own *owned) *outgoing {
	o, no := c.outgoing(w, r, own)
	if no != nil {
		c.sendReply(w, *no)
		return nil
	}
	if own.presented {
		r.Header.Set(HeaderChain, ChainPresented)
	}
	if own.held != "" {
		r.Header.Set(HeaderHeld, string(own.held))
	}
	return o
}

func (c *Caller) outgoing(w http.ResponseWriter, r *http.Request, own *owned) (*outgoing, *reply) {
	step, err := ParseStep(own.steps)
	if err != nil {
		return nil, with(refused(http.StatusBadRequest, err))
	}
	if err := c.address(step, r); err != nil {
		return nil, with(refused(http.StatusBadRequest, err))
	}
	body, err := c.readBody(w, r)
	if err != nil {
		return nil, with(unread(err))
	}
	message, err := toolcall.Parse(toolcall.HeadersOf(r.Header), body, c.limits)
	if err != nil {
		return nil, with(c.replyTo(err))
	}
	if message.Kind() != toolcall.KindRequest {
		return nil, with(refused(http.StatusBadRequest, fmt.Errorf("a step is an MCP request, and this is a %s: send it without %s", message.Kind(), HeaderStep)))
	}
	// Before the question: what is not sent must not stand in the chain.
	token, no := c.transact(r, own, c.chainOf(step))
	if no != nil {
		return nil, no
	}
	link, err := c.ask(step, message)
	if err != nil {
		return nil, with(c.replyTo(err))
	}
	return &outgoing{to: step.to, body: message.Body(), question: link.Envelope, token: token, held: own.held}, nil
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
