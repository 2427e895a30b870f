// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody

import (
	"encoding/json"
	"errors"
	"io"

	"github.com/dapr/durabletask-go/workflow"

	"github.com/dapr-custody/custody/internal/linkpack"
	"github.com/dapr-custody/custody/internal/receipt"
)

// Unpropagated lets children start on a backend that passes no history on, and gives them the links in their input. Off, it demands the history as beside Dapr.
func (w *Worker) Unpropagated(on bool) { w.unpropagated = on }

// Forget makes the worker forget all links, as one that has just started.
func (w *Worker) Forget() {
	w.past.mu.Lock()
	defer w.past.mu.Unlock()
	for w.past.recent.Len() > 0 {
		w.past.drop(w.past.recent.Back())
	}
	for w.past.recentKnown.Len() > 0 {
		w.past.dropOutcome(w.past.recentKnown.Back())
	}
}

// ReadEvents reads server-sent events up to the response, and gives the answer that stands in a comment.
func ReadEvents(body io.Reader) (response []byte, answer string, err error) {
	var t told
	response, err = t.events(body)
	return response, t.answer, err
}

// Unwrap gives the heads of the chain in a value, and what is wrapped.
func Unwrap(raw []byte) (heads []string, value []byte, err error) {
	c, value, err := unwrap(raw)
	if c != nil {
		heads = c.Heads
	}
	return heads, value, err
}

// CarriedLinks gives the links in a value, or in the text of a failure.
func CarriedLinks(raw []byte) []Link {
	c, _, err := unwrap(raw)
	if err == nil && c == nil {
		_, c = splitFailure(string(raw))
	}
	if c == nil {
		return nil
	}
	return c.Links
}

// Carrying wraps links, and Failing puts them into the text of a failure.
func Carrying(links []Link) ([]byte, error) {
	return json.Marshal((&carry{Chain: chainName{Instance: "i"}, Links: links}).wrap(nil))
}

func Failing(links []Link) string {
	return joinFailure(errors.New("failed"), &carry{Chain: chainName{Instance: "i"}, Links: links}).Error()
}

// Propagated gives the links in a history that was passed on.
func Propagated(history *workflow.PropagatedHistory) []Link { return propagated(history) }

// LinkOf is a link as it was decoded, and MaxPast how many bytes of links a worker keeps.
func LinkOf(e *receipt.Envelope) Link { return linkOf(e) }

const MaxPast = maxPast

// JoinFailure puts heads into the text of a failure, and SplitFailure takes them out.
func JoinFailure(failure error, heads []string) error {
	return joinFailure(failure, &carry{Heads: heads})
}

func SplitFailure(text string) (message string, heads []string) {
	message, c := splitFailure(text)
	if c != nil {
		heads = c.Heads
	}
	return message, heads
}

// ReadLink reads a link as it stands in a header.
func ReadLink(text string) (Link, error) {
	link, _, err := new(signers).read(text, nil)
	link.Envelope = link.envelope()
	return link, err
}

// Signers are the certificates of one app.
type Signers struct{ signers }

// Read reads a link as it stands in a header, with what Held says.
func (s *Signers) Read(text string) (Link, error) {
	link, _, err := s.read(text, s.held())
	link.Envelope = link.envelope()
	return link, err
}

// Held is what the own sidecar is told.
func (s *Signers) Held() string { return heldHeader(s.held()) }

// HeaderValue is the value of Mcp-Name.
func HeaderValue(name string) string { return headerValue(name) }

// WriteLinks and ReadLinks write and read links as results keep them.
func WriteLinks(links []Link) (json.RawMessage, error) {
	kept, _, err := writeLinks(nil, links, nil)
	return kept, err
}

func ReadLinks(raw []byte) ([]Link, error) {
	links, _, err := readLinks(raw, &linkpack.Memory{})
	return whole(links), err
}
