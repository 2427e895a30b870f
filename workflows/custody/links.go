// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/dapr-custody/custody/internal/linkpack"
	"github.com/dapr-custody/custody/internal/receipt"
)

// Of how many keys an order says that their certificates are held, and by how much of their IDs. An attacker who finds
// another certificate with so much of the ID in common gets links that do not verify.
const (
	maxHeld   = 16
	heldChars = 16
)

// linkOf leaves the JSON form to those who want it.
func linkOf(e *receipt.Envelope) Link { return Link{Digest: e.Digest(), decoded: e} }

func (l Link) envelope() json.RawMessage {
	if l.decoded == nil || l.Envelope != nil {
		return l.Envelope
	}
	return l.decoded.AppendJSON(nil)
}

func envelopes(links []Link) []json.RawMessage {
	all := make([]json.RawMessage, len(links))
	for i, link := range links {
		all[i] = link.envelope()
	}
	return all
}

// whole gives links as others get them.
func whole(links []Link) []Link {
	all := slices.Clone(links)
	for i := range all {
		all[i].Envelope = all[i].envelope()
	}
	return all
}

// size is the length of the envelope as JSON.
func (l Link) size() int {
	if l.decoded == nil || l.Envelope != nil {
		return len(l.Envelope)
	}
	e, encoded := l.decoded, base64.StdEncoding.EncodedLen
	size := len(`{"payload":"","payloadType":"","signatures":[]}`) + encoded(len(e.Payload)) + len(e.PayloadType)
	for i, s := range e.Signatures {
		size += min(i, 1) + len(`{"keyid":"","sig":""}`) + len(s.KeyID) + encoded(len(s.Sig))
		if len(s.Certificate) > 0 {
			size += len(`,"certificate":""`) + encoded(len(s.Certificate))
		}
		for j, der := range s.Intermediates {
			size += len(`,""`) + encoded(len(der))
			if j == 0 {
				size += len(`"intermediates":[]`)
			}
		}
	}
	return size
}

// writeLinks gives links as they are kept: in the compact form, after other links if there are some, without the
// certificates of the keys that are held. Links that have no such form are kept whole, and the text is then nil.
func writeLinks(before *linkpack.Text, links []Link, held []string) (json.RawMessage, *linkpack.Text, error) {
	if len(links) == 0 {
		return nil, nil, nil
	}
	packed, text, err := pack(before, links, held)
	if err != nil {
		kept, err := json.Marshal(whole(links))
		return kept, nil, err
	}
	return appendText(make([]byte, 0, len(packed)+len(`""`)), packed), text, nil
}

func pack(before *linkpack.Text, links []Link, held []string) (string, *linkpack.Text, error) {
	envelopes := make([]*receipt.Envelope, len(links))
	for i, link := range links {
		envelopes[i] = link.decoded
		if link.decoded != nil {
			continue
		}
		var err error
		if envelopes[i], err = receipt.DecodeEnvelope(link.Envelope); err != nil {
			return "", nil, err
		}
	}
	return linkpack.After(before, envelopes, func(keyID string) bool { return slices.Contains(held, heldName(keyID)) })
}

func heldName(keyID string) string { return keyID[:min(len(keyID), heldChars)] }

// held are the keys that a step to be scheduled now need give no certificates of.
func (c *Context) held() []string {
	return slices.Clone(c.keys[max(0, len(c.keys)-maxHeld):])
}

// hold takes the links of the result of a step of this generation, with their certificates.
func (c *Context) hold(text *linkpack.Text) {
	if text == nil {
		return
	}
	if len(text.Borne) > 0 { // mostly there are none
		for _, keyID := range slices.Sorted(maps.Keys(text.Borne)) {
			if !c.memory.Knows(keyID) {
				c.keys = append(c.keys, heldName(keyID))
			}
		}
	}
	c.memory.Learn(text)
	c.newest = text
}

// readLinks undoes writeLinks, with what is remembered of the links before. The text is nil where it is not in the compact
// form.
func readLinks(raw json.RawMessage, memory *linkpack.Memory) ([]Link, *linkpack.Text, error) {
	var links []Link
	if len(raw) == 0 {
		return nil, nil, nil
	}
	if raw[0] != '"' {
		err := json.Unmarshal(raw, &links)
		return links, nil, err
	}
	var packed string
	if err := json.Unmarshal(raw, &packed); err != nil {
		return nil, nil, err
	}
	text, err := memory.Read(packed)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range text.Links {
		links = append(links, linkOf(e))
	}
	return links, text, nil
}

// packed are links that bear all of their certificates.
type packed []Link

func (p packed) MarshalJSON() ([]byte, error) {
	kept, _, err := writeLinks(nil, p, nil)
	return kept, err
}

func (p *packed) UnmarshalJSON(raw []byte) error {
	links, _, err := readLinks(raw, &linkpack.Memory{})
	*p = links
	return err
}

// text is the outcome as JSON. The links, which are most of it, are not read through once more.
func (o *outcome) text() ([]byte, error) {
	without := *o
	without.Kept = nil
	raw, err := json.Marshal(&without)
	if err != nil || len(o.Kept) == 0 {
		return raw, err
	}
	return append(appendRaw(raw[:len(raw)-1], `,"links":`, o.Kept), '}'), nil
}

// give makes the outcome of an order the result of its activity. Replays need not decode it again.
func (w *Worker) give(out *outcome, held []string, after string) (any, error) {
	k := &known{outcome: *out}
	var err error
	if k.outcome.Kept, k.links, err = writeLinks(w.past.links(after), out.Links, held); err != nil {
		return nil, fmt.Errorf("custody: keeping what was signed: %w", err)
	}
	if k.text, err = k.outcome.text(); err != nil {
		return nil, fmt.Errorf("custody: the result: %w", err)
	}
	w.past.learn(k)
	return json.RawMessage(k.text), nil
}
