// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/dapr-custody/custody/examples/stage"
)

// worker is one that was taken over: it does not use the library, and does with
// its own sidecar whatever that lets it do. It has the identity of its app, and
// no key.
type worker struct {
	app stage.App
}

func (p *play) takenOver() worker { return worker{app: p.stage.App("intake")} }

// step names a step, as in a receipt.
type step struct {
	Chain struct {
		App      string `json:"app"`
		Instance string `json:"instance"`
		Started  string `json:"started"`
	} `json:"chain"`
	Instance string `json:"instance"`
	App      string `json:"app"`
	Name     string `json:"name,omitempty"`
	Task     int    `json:"task"`
	Step     string `json:"step"`
}

// link is a signed receipt of a chain.
type link struct {
	digest, kind string
	step         step
	payload      []byte
	envelope     json.RawMessage
}

func parseLink(envelope json.RawMessage) (link, error) {
	var e struct {
		Payload []byte `json:"payload"`
	}
	if err := json.Unmarshal(envelope, &e); err != nil {
		return link{}, err
	}
	var statement struct {
		Predicate struct {
			Action   struct{ Kind string }
			Workflow step
		}
	}
	if err := json.Unmarshal(e.Payload, &statement); err != nil {
		return link{}, err
	}
	sum := sha256.Sum256(e.Payload)
	return link{
		digest: "sha256:" + hex.EncodeToString(sum[:]), kind: statement.Predicate.Action.Kind,
		step: statement.Predicate.Workflow, payload: e.Payload, envelope: envelope,
	}, nil
}

// links are those of a chain, which the worker has in the history of its workflow.
func (p *play) links(ctx context.Context, instance string) ([]link, error) {
	text, err := p.stage.Command(ctx, "chain", "export", instance, "--app", "intake", "--file", "-")
	if err != nil {
		return nil, err
	}
	var file struct {
		Links []json.RawMessage `json:"links"`
	}
	if err := json.Unmarshal([]byte(text), &file); err != nil {
		return nil, fmt.Errorf("custody chain export: %w", err)
	}
	all := make([]link, len(file.Links))
	for i, envelope := range file.Links {
		if all[i], err = parseLink(envelope); err != nil {
			return nil, fmt.Errorf("custody chain export: link %d: %w", i, err)
		}
	}
	return all, nil
}

// approve has the worker's own sidecar sign an approval.
func (w worker) approve(ctx context.Context, a ask) (link, error) {
	body, err := json.Marshal(map[string]any{"workflow": a.Workflow, "prev": a.Prev, "kind": "custody.approval", "statement": a.Statement})
	if err != nil {
		return link{}, err
	}
	url := fmt.Sprintf("http://127.0.0.1:%d/custody/v1/approve", w.app.DaprHTTPPort)
	got, err := stage.Send(ctx, http.MethodPost, url, http.Header{"Content-Type": {"application/json"}}, body)
	if err != nil {
		return link{}, err
	}
	var signed struct {
		Envelope json.RawMessage `json:"envelope"`
	}
	if err := json.Unmarshal(got.Body, &signed); err != nil || got.Status != http.StatusOK {
		return link{}, errors.Join(fmt.Errorf("the sidecar answered %s", got), err)
	}
	return parseLink(signed.Envelope)
}

// shown is what the guard says of links that it is shown.
type shown struct {
	Known   int      `json:"known"`
	Missing []string `json:"missing"`
	Faults  []fault  `json:"faults"`
}

// fault is one that the guard or custody found.
type fault struct {
	Kind   string `json:"kind"`
	Detail string `json:"detail"`
}

func (s shown) String() string {
	text := fmt.Sprintf("%d links known, %d faults", s.Known, len(s.Faults))
	if len(s.Faults) > 0 {
		text += "; " + s.Faults[0].Kind + ": " + s.Faults[0].Detail
	}
	return text
}

// show shows links to the guard of payments, as if they were of that chain.
func (w worker) show(ctx context.Context, as step, links []link) (shown, error) {
	envelopes := make([]json.RawMessage, len(links))
	for i, l := range links {
		envelopes[i] = l.envelope
	}
	body, err := json.Marshal(map[string]any{"chain": as.Chain, "links": envelopes})
	if err != nil {
		return shown{}, err
	}
	got, err := stage.Send(ctx, http.MethodPost, w.atPayments("custody/v1/chain"), http.Header{"Content-Type": {"application/json"}}, body)
	if err != nil {
		return shown{}, err
	}
	var s shown
	if err := json.Unmarshal(got.Body, &s); err != nil || got.Status != http.StatusOK {
		return shown{}, errors.Join(fmt.Errorf("the guard answered %s", got), err)
	}
	return s, nil
}

// pay asks payments for money as a step that continues prev. Presented says
// that there is no more to show, so that the guard decides with what it has.
func (w worker) pay(ctx context.Context, as step, prev []string, what payment, presented bool) (stage.Answer, error) {
	named, err := json.Marshal(map[string]any{"workflow": as, "prev": prev})
	if err != nil {
		return stage.Answer{}, err
	}
	body, err := json.Marshal(map[string]any{
		"jsonrpc": "2.0", "id": 1, "method": "tools/call",
		"params": map[string]any{"name": "refund_payment", "arguments": what},
	})
	if err != nil {
		return stage.Answer{}, err
	}
	header := http.Header{}
	header.Set("Content-Type", "application/json")
	header.Set("Accept", "application/json, text/event-stream")
	header.Set("MCP-Protocol-Version", "2025-06-18")
	header.Set("Custody-Step", base64.RawURLEncoding.EncodeToString(named))
	if presented {
		header.Set("Custody-Chain", "presented")
	}
	return stage.Send(ctx, http.MethodPost, w.atPayments("mcp"), header, body)
}

func (w worker) atPayments(path string) string {
	return fmt.Sprintf("http://127.0.0.1:%d/v1.0/invoke/payments/method/%s", w.app.DaprHTTPPort, path)
}

// denial is what the guard says where its policy refused a call, and empty where it did not.
func denial(a stage.Answer) string {
	var in struct{ Error struct{ Message string } }
	if err := json.Unmarshal(a.Body, &in); err != nil || a.Status != http.StatusForbidden || !strings.HasPrefix(in.Error.Message, denied) {
		return ""
	}
	return in.Error.Message
}
