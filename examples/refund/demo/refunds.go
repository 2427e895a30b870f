// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/dapr-custody/custody/examples/stage"
)

const (
	patience = 20 * time.Second

	// denied is what a refusal by policy begins with.
	denied = "Denied by policy"
)

// payment is what is paid back, as the apps write it.
type payment struct {
	Order  int    `json:"order"`
	Amount int    `json:"amount"`
	Reason string `json:"reason"`
}

// order is what intake is told to do. Skip and Grow have it act as if it had
// been taken over.
type order struct {
	payment

	Skip []string `json:"skip,omitempty"`
	Grow int      `json:"grow,omitempty"`
}

var (
	broken = payment{Order: 7, Amount: 1999, Reason: "broken"}
	late   = payment{Order: 8, Amount: 1500, Reason: "late"}
)

// state is how a refund stands, as intake tells it.
type state struct {
	Status string `json:"status"`
	Output struct {
		Paid    bool   `json:"paid"`
		Receipt string `json:"receipt"`
		Refused string `json:"refused"`
	} `json:"output"`
	Error string `json:"error"`
}

func (s state) String() string {
	switch {
	case s.Output.Paid:
		return "paid, receipt " + s.Output.Receipt
	case s.Output.Refused != "":
		return s.Output.Refused
	}
	return strings.TrimSpace(s.Status + " " + s.Error)
}

// denied says that the policy of payments denied, and not that something broke.
func (s state) denied() bool {
	return !s.Output.Paid && strings.HasPrefix(s.Output.Refused, denied)
}

// ask is what of an approval that is waited for is used here.
type ask struct {
	Event     string          `json:"event"`
	Workflow  json.RawMessage `json:"workflow"`
	Prev      []string        `json:"prev"`
	Statement json.RawMessage `json:"statement"`
	Refused   int             `json:"refused"`
	Detail    string          `json:"detail"`
}

// refund has intake do a refund, the person approve it unless that is skipped,
// and gives how it ended.
func (p *play) refund(ctx context.Context, id string, o order) (state, error) {
	if err := p.begin(ctx, id, o); err != nil {
		return state{}, err
	}
	for _, step := range o.Skip {
		if step == "approval" {
			return p.ended(ctx, id)
		}
	}
	if _, err := p.waiting(ctx, id, 0); err != nil {
		return state{}, err
	}
	if _, err := p.ask(ctx, "approver", http.MethodPost, "/approve/"+id, o.payment, nil); err != nil {
		return state{}, err
	}
	return p.ended(ctx, id)
}

func (p *play) begin(ctx context.Context, id string, o order) error {
	_, err := p.ask(ctx, "intake", http.MethodPost, "/refunds/"+id, o, nil)
	return err
}

// waiting waits until a refund waits for an approval, and that many were passed over.
func (p *play) waiting(ctx context.Context, id string, refused int) (ask, error) {
	var asks []ask
	err := stage.Await(ctx, patience, func(ctx context.Context) (bool, error) {
		_, err := p.ask(ctx, "intake", http.MethodGet, "/approvals/"+id, nil, &asks)
		return len(asks) == 1 && asks[0].Refused >= refused, err
	})
	if err != nil {
		return ask{}, fmt.Errorf("wait for an approval of %s: %w", id, err)
	}
	return asks[0], nil
}

// ended waits until a refund runs no more.
func (p *play) ended(ctx context.Context, id string) (state, error) {
	var s state
	err := stage.Await(ctx, patience, func(ctx context.Context) (bool, error) {
		s = state{}
		_, err := p.ask(ctx, "intake", http.MethodGet, "/refunds/"+id, nil, &s)
		return s.Status != "RUNNING" && s.Status != "PENDING", err
	})
	if err != nil {
		return state{}, fmt.Errorf("end of %s: %w", id, err)
	}
	return s, nil
}

// ask calls the little API of an app, at its own port. Any other answer than
// 200 is an error, and comes back too.
func (p *play) ask(ctx context.Context, app, method, path string, in, out any) (stage.Answer, error) {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return stage.Answer{}, err
		}
	}
	url := fmt.Sprintf("http://127.0.0.1:%d%s", p.stage.App(app).AppPort, path)
	a, err := stage.Send(ctx, method, url, http.Header{"Content-Type": {"application/json"}}, body)
	if err != nil {
		return a, fmt.Errorf("%s: %w", app, err)
	}
	if a.Status != http.StatusOK {
		return a, fmt.Errorf("%s %s at %s: %s", method, path, app, a)
	}
	if out == nil {
		return a, nil
	}
	if err := json.Unmarshal(a.Body, out); err != nil {
		return a, fmt.Errorf("%s answered %s: %w", app, a, err)
	}
	return a, nil
}
