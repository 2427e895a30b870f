// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpcaller

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"sync"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/receipt"
)

// outgoing is a call that goes to the app that it is for.
type outgoing struct {
	to       spiffeid.ID
	body     []byte
	question *receipt.Envelope
	token    made
	held     receipt.Held // by the worker
}

func (o *outgoing) keyID() string { return o.question.Signatures[0].KeyID }

// forward sends exactly what the question is about. A guard that has said that it has the certificates and the token is
// sent neither; where another one gets that, it is sent once more, with all of it.
func (c *Caller) forward(w http.ResponseWriter, r *http.Request, next http.Handler, o *outgoing) {
	withoutHops(r.Header)
	r.Header.Set("Content-Type", "application/json")
	answer := &response{ResponseWriter: w, caller: c, out: o}
	if has := c.peers.of(o.to); has.keyID == o.keyID() {
		token := o.token.compact
		if has.token == o.token.name {
			token = o.token.name
		}
		before := maps.Clone(w.Header())
		answer.short = true
		o.send(answer, r, next, o.question.Short(), token)
		if !answer.again {
			c.peers.learn(o, answer.has)
			return
		}
		c.peers.learn(o, HasNothing)
		clear(w.Header())
		maps.Copy(w.Header(), before)
		answer = &response{ResponseWriter: w, caller: c, out: o}
	}
	o.send(answer, r, next, receipt.EncodeHeader(o.question, ""), o.token.compact)
	c.peers.learn(o, answer.has)
}

func (o *outgoing) send(w *response, r *http.Request, next http.Handler, question, token string) {
	r.Header.Set(HeaderQuestion, question)
	r.Header.Set(HeaderTxnToken, token)
	r.Body = io.NopCloser(bytes.NewReader(o.body))
	r.ContentLength = int64(len(o.body))
	r.TransferEncoding = nil
	next.ServeHTTP(w, r)
	w.end()
}

// maxPeers bounds what is remembered of others. When it is reached everything is forgotten.
const maxPeers = 512

// peers is what the guards of other apps have of this sidecar. It is what they said last, and another instance of the same
// app may have less.
type peers struct {
	mu  sync.Mutex
	has map[spiffeid.ID]peer
}

// peer is the signer whose certificates a guard has, and the name of a token that it has.
type peer struct{ keyID, token string }

func (p *peers) of(app spiffeid.ID) peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.has[app]
}

// learn notes what the guard said to have of what went out. A guard that says nothing is one of before.
func (p *peers) learn(o *outgoing, said string) {
	var now peer
	switch said {
	case HasBoth:
		now.token = o.token.name
		fallthrough
	case HasQuestion:
		now.keyID = o.keyID()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.has[o.to] == now {
		return
	}
	if p.has == nil || len(p.has) >= maxPeers {
		p.has = map[spiffeid.ID]peer{}
	}
	p.has[o.to] = now
}
