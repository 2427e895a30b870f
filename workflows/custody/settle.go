// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/dapr-custody/custody/internal/receipt"
)

// settleState is what the guard of a server says of a question.
type settleState int

const (
	settleFailed  settleState = iota // the guard could not be asked
	settleAbsent                     // the call has not come, or was not passed on
	settleUnknown                    // it was passed on, and there is no receipt
	settleSettled                    // there is an answer
)

// Between two times that a guard is asked about a call that it has passed on.
const (
	settleFirst = 50 * time.Millisecond
	settleMost  = 2 * time.Second
)

// settle asks the guard of the server what came of a question, and takes the answer if there is one. It waits for a call
// that may still be running.
func (a *attempt) settle(ctx context.Context, question string) (settleState, error) {
	until := time.Now().Add(a.settleWait)
	for wait := settleFirst; ; wait = min(wait*2, settleMost) {
		state, err := a.settleOnce(ctx, question)
		if state != settleUnknown || time.Now().Add(wait).After(until) || !pause(ctx, wait) {
			return state, err
		}
	}
}

func (a *attempt) settleOnce(ctx context.Context, question string) (settleState, error) {
	// A digest has no character that a query would have to escape.
	r, err := a.sidecar.request(ctx, http.MethodGet, a.sidecar.invoke(a.order.Target.App, "custody/v1/chain/answer?question="+question), nil)
	if err != nil {
		return settleFailed, err
	}
	got, err := a.sidecar.do(r, maxOwnAnswer)
	if err != nil {
		return settleFailed, err
	}
	switch got.status {
	case http.StatusNotFound:
		return settleAbsent, nil
	case http.StatusOK:
	default:
		return settleFailed, fmt.Errorf("asking what came of it: status %d: %s", got.status, got.text())
	}
	var in struct {
		State  string          `json:"state"`
		Answer json.RawMessage `json:"answer"`
	}
	if err := json.Unmarshal(got.body, &in); err != nil {
		return settleFailed, err
	}
	switch in.State {
	case "unknown":
		return settleUnknown, nil
	case "settled":
		link, answer, err := signed{Envelope: in.Answer}.link()
		if err == nil {
			err = link.decoded.CheckSignature()
		}
		if err == nil {
			err = a.take(link, answer, question)
		}
		if err != nil {
			return settleFailed, err
		}
		return settleSettled, nil
	}
	return settleFailed, fmt.Errorf("asking what came of it: state %.40q", in.State)
}

// present makes sure that the own sidecar signs before the first call: one that does not would let the call pass.
func (s *sidecar) present(ctx context.Context) error {
	if s.signs.Load() {
		return nil
	}
	var out struct{}
	err := s.own(ctx, "/custody/v1/verify", struct {
		Chain json.RawMessage `json:"chain"`
		Links []Link          `json:"links"`
	}{json.RawMessage(`{}`), []Link{}}, &out)
	// What it thinks of a chain without a name is all one.
	if err != nil && !errors.Is(err, ErrRefused) {
		return err
	}
	s.signs.Store(true)
	return nil
}

// The chunks that links are shown in: few at first, because mostly few are not known.
const (
	showFirst = 64
	showMost  = 1000
	// showBytes keeps a chunk within what a guard reads of a request by default.
	showBytes = 900 << 10
)

// known are the links that the attempt can show, oldest first.
func (a *attempt) known() []Link {
	if a.order.All {
		return a.order.Links
	}
	return a.past.of(a.order.Workflow.Chain)
}

// showAhead shows a server that has asked for this chain or another what is new, so that it need not ask. Where it fails
// the server asks.
func (a *attempt) showAhead(ctx context.Context) {
	a.server.mu.Lock()
	wants := a.server.wants
	a.server.mu.Unlock()
	if !wants || len(a.unshown()) == 0 {
		return
	}
	if _, err := a.show(ctx); err != nil {
		return // It was forgotten what was shown, and the server will ask.
	}
}

func (a *attempt) unshown() []Link {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	shown := a.server.shown[a.order.Workflow.Chain.key()]
	var links []Link
	for _, link := range a.known() {
		if !shown[link.Digest] {
			links = append(links, link)
		}
	}
	return links
}

// show gives the guard of the server the links that it does not know, newest first, until it misses none. It reports
// whether it still misses some.
func (a *attempt) show(ctx context.Context) (missing bool, err error) {
	a.server.mu.Lock()
	a.server.wants = true
	a.server.mu.Unlock()
	left := a.unshown()
	if len(left) == 0 {
		// Everything was shown, and the guard asks again: it has forgotten.
		a.forgetShown()
		left = a.known()
	}
	missing = true
	for most := showFirst; missing && len(left) > 0; most = showMost {
		first := chunk(left, most)
		if missing, err = a.showChunk(ctx, left[first:]); err != nil {
			a.forgetShown()
			return false, err
		}
		left = left[:first]
	}
	return missing, nil
}

// chunk gives where the newest links begin that go into one request.
func chunk(links []Link, most int) int {
	size, first := 0, len(links)
	for first > 0 && len(links)-first < most {
		if size += links[first-1].size(); size > showBytes && first < len(links) {
			break
		}
		first--
	}
	return first
}

func (a *attempt) showChunk(ctx context.Context, links []Link) (missing bool, err error) {
	chain := a.order.Workflow.Chain
	shown := envelopes(links)
	if chain.App == "" {
		// Every link names the whole chain; the first will do.
		_, r, err := signed{Envelope: shown[0]}.link()
		if err != nil {
			return false, err
		}
		chain.App = r.Workflow.Chain.App.String()
	}
	body, err := json.Marshal(struct {
		Chain chainName         `json:"chain"`
		Links []json.RawMessage `json:"links"`
	}{chain, shown})
	if err != nil {
		return false, err
	}
	r, err := a.sidecar.request(ctx, http.MethodPost, a.sidecar.invoke(a.order.Target.App, "custody/v1/chain"), body)
	if err != nil {
		return false, err
	}
	got, err := a.sidecar.do(r, maxOwnAnswer)
	if err != nil {
		return false, err
	}
	if got.status != http.StatusOK {
		return false, fmt.Errorf("showing links: status %d: %s", got.status, got.text())
	}
	var in struct {
		Missing []receipt.Digest `json:"missing"`
	}
	if err := json.Unmarshal(got.body, &in); err != nil {
		return false, err
	}
	a.remember(links)
	return len(in.Missing) > 0, nil
}

// maxShown is of how many chains a worker remembers what it has shown a server.
const maxShown = 1024

func (a *attempt) remember(links []Link) {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	key := a.order.Workflow.Chain.key()
	if a.server.shown[key] == nil {
		if len(a.server.shown) >= maxShown {
			clear(a.server.shown) // They are shown again, to no harm.
		}
		a.server.shown[key] = map[string]bool{}
	}
	for _, link := range links {
		a.server.shown[key][link.Digest] = true
	}
}

func (a *attempt) forgetShown() {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	delete(a.server.shown, a.order.Workflow.Chain.key())
}
