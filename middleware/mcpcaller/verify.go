// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpcaller

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/receipt"
)

type verifyJSON struct {
	Chain *receipt.Chain   `json:"chain"`
	Links []jsontext.Value `json:"links"`
}

// verifiedJSON is what verify answers.
type verifiedJSON struct {
	Links  []verifiedLinkJSON `json:"links"`
	Heads  []receipt.Digest   `json:"heads"`
	Ended  bool               `json:"ended"`
	Faults []faultJSON        `json:"faults"`
}

type verifiedLinkJSON struct {
	Digest   receipt.Digest   `json:"digest"`
	Step     string           `json:"step"`
	Kind     string           `json:"kind"`
	Status   string           `json:"status"`
	By       spiffeid.ID      `json:"by"`
	At       time.Time        `json:"at"`
	Instance string           `json:"instance"`
	Server   string           `json:"server,omitempty"`
	Name     string           `json:"name,omitempty"`
	Prev     []receipt.Digest `json:"prev"`
}

type faultJSON struct {
	Digest receipt.Digest  `json:"digest,omitzero"`
	Step   string          `json:"step,omitempty"`
	Kind   chain.FaultKind `json:"kind"`
	Detail string          `json:"detail"`
}

// verify holds the links of a chain to the rules, by the roots that the sidecar
// has now.
func (c *Caller) verify(w http.ResponseWriter, body []byte) {
	var in verifyJSON
	err := json.Unmarshal(body, &in, json.RejectUnknownMembers(true))
	if err == nil && (in.Chain == nil || in.Chain.Instance == "" || in.Chain.Started.IsZero()) {
		err = errors.New("chain needs instance and started")
	}
	if err != nil {
		c.sendReply(w, refused(http.StatusBadRequest, err))
		return
	}
	if in.Chain.App.IsZero() {
		in.Chain.App = c.host.ID
	}
	c.send(w, http.StatusOK, c.verified(&in))
}

func (c *Caller) verified(in *verifyJSON) verifiedJSON {
	out := verifiedJSON{Links: []verifiedLinkJSON{}, Heads: []receipt.Digest{}, Faults: []faultJSON{}}
	envelopes := make([]*receipt.Envelope, 0, len(in.Links))
	for i, text := range in.Links {
		envelope, err := receipt.DecodeEnvelope(text)
		if err != nil {
			out.Faults = append(out.Faults, faultJSON{Kind: chain.FaultEnvelope, Detail: fmt.Sprintf("links[%d]: %v", i, err)})
			continue
		}
		envelopes = append(envelopes, envelope)
	}
	// The workflow may still run, so that an end may be yet to come.
	report := chain.Verify(envelopes, chain.Options{Verifier: c.verifier, Expect: in.Chain, Running: true})
	for _, found := range report.Chains { // one, of in.Chain, or none
		out.Heads, out.Ended = found.Heads, found.Ended
		for _, link := range found.Links {
			out.Links = append(out.Links, verifiedLink(link))
		}
	}
	for _, fault := range report.All() {
		out.Faults = append(out.Faults, faultJSON{Digest: fault.Link, Step: fault.Step, Kind: fault.Kind, Detail: fault.Detail})
	}
	return out
}

func verifiedLink(link *chain.Link) verifiedLinkJSON {
	r := link.Receipt
	return verifiedLinkJSON{
		Digest: link.Digest, Step: r.Workflow.Step, Kind: r.Action.Kind, Status: r.Outcome.Status, By: link.Signer,
		At: r.Times.Settled, Instance: r.Workflow.Instance, Server: r.Action.Server, Name: r.Action.Name, Prev: r.Prev,
	}
}
