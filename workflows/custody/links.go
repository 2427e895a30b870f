// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody

import (
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

// writeLinks gives links as they are kept: in the compact form, without the certificates of the keys that are held. Links
// that have none are kept whole.
func writeLinks(links []Link, held []string) (json.RawMessage, error) {
	if len(links) == 0 {
		return nil, nil
	}
	text, err := pack(links, func(keyID string) bool { return slices.Contains(held, heldName(keyID)) })
	if err != nil {
		return json.Marshal(links)
	}
	return json.Marshal(text)
}

func pack(links []Link, held func(keyID string) bool) (string, error) {
	envelopes := make([]*receipt.Envelope, len(links))
	for i, link := range links {
		var err error
		if envelopes[i], err = receipt.DecodeEnvelope(link.Envelope); err != nil {
			return "", err
		}
	}
	return linkpack.Pack(envelopes, held)
}

func heldName(keyID string) string { return keyID[:min(len(keyID), heldChars)] }

// held are the keys that a step to be scheduled now need give no certificates of.
func (c *Context) held() []string {
	return slices.Clone(c.keys[max(0, len(c.keys)-maxHeld):])
}

// hold takes the certificates of the result of a step of this generation.
func (c *Context) hold(of linkpack.Certificates) {
	for _, keyID := range slices.Sorted(maps.Keys(of)) {
		if _, known := c.certificates[keyID]; !known {
			c.certificates[keyID] = of[keyID]
			c.keys = append(c.keys, heldName(keyID))
		}
	}
}

// readLinks undoes writeLinks. It takes certificates that the links do not bear from those that are known, and gives those
// that they bear in the compact form.
func readLinks(raw json.RawMessage, known linkpack.Certificates) ([]Link, linkpack.Certificates, error) {
	var links []Link
	if len(raw) == 0 {
		return nil, nil, nil
	}
	if raw[0] != '"' {
		err := json.Unmarshal(raw, &links)
		return links, nil, err
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return nil, nil, err
	}
	envelopes, err := linkpack.Unpack(text)
	if err != nil {
		return nil, nil, err
	}
	borne := linkpack.Certificates{}
	for _, e := range envelopes {
		borne.Learn(e)
		known.Complete(e)
		links = append(links, Link{Digest: e.Digest(), Envelope: e.AppendJSON(nil)})
	}
	return links, borne, nil
}

// packed are links that bear all of their certificates.
type packed []Link

func (p packed) MarshalJSON() ([]byte, error) { return writeLinks(p, nil) }

func (p *packed) UnmarshalJSON(raw []byte) error {
	links, _, err := readLinks(raw, nil)
	*p = links
	return err
}

// pack makes the outcome what is kept. The links in it go without the certificates that the order says are held.
func (o outcome) pack(held []string) (outcome, error) {
	var err error
	if o.Kept, err = writeLinks(o.Links, held); err != nil {
		return o, fmt.Errorf("custody: keeping what was signed: %w", err)
	}
	return o, nil
}
