// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"

	"github.com/dapr-custody/custody/examples/program"
	"github.com/dapr-custody/custody/workflows/custody"
)

// approver is where the person sits:
//
//	GET  /waiting/{id}   what a refund waits for
//	POST /approve/{id}   {"order": 7, "amount": 1999, "reason": "broken"}
//
// The person says what is approved. So what is signed is what was seen, also if
// intake shows something else by then.
//
// Who can reach its port is the person. So it is bound to loopback, and its Dapr
// configuration lets no other app invoke it.
func approver(_ context.Context, log *slog.Logger) (http.Handler, error) {
	m := mux()
	m.HandleFunc("GET /waiting/{id}", answer(log, func(r *http.Request) (any, error) {
		return waiting(r.Context(), r.PathValue("id"))
	}))
	m.HandleFunc("POST /approve/{id}", answer(log, func(r *http.Request) (any, error) {
		var seen payment
		if err := decode(r.Body, &seen); err != nil {
			return nil, fmt.Errorf("say what you approve: %w", err)
		}
		return approve(r.Context(), r.PathValue("id"), seen)
	}))
	return m, nil
}

// approve signs what the refund waits for, if it is what was seen, and hands it in.
func approve(ctx context.Context, id string, seen payment) (any, error) {
	asks, err := waiting(ctx, id)
	if err != nil {
		return nil, err
	}
	ask, err := theOneFor(asks, seen)
	if err != nil {
		return nil, err
	}
	approval, err := custody.Approve(ctx, custody.Options{}, ask)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(handIn{Event: ask.Event, Approval: approval})
	if err != nil {
		return nil, err
	}
	var raised any
	return raised, atIntake(ctx, http.MethodPost, id, body, &raised)
}

// theOneFor finds what asks for exactly this payment.
func theOneFor(asks []custody.Ask, seen payment) (custody.Ask, error) {
	for _, ask := range asks {
		var asked payment
		if err := decode(bytes.NewReader(ask.Statement), &asked); err == nil && asked == seen {
			return ask, nil
		}
	}
	return custody.Ask{}, fmt.Errorf("no approval of %d cents for order %d (%q) is waited for", seen.Amount, seen.Order, seen.Reason)
}

func waiting(ctx context.Context, id string) ([]custody.Ask, error) {
	var asks []custody.Ask
	return asks, atIntake(ctx, http.MethodGet, id, nil, &asks)
}

// atIntake calls intake through the sidecars.
func atIntake(ctx context.Context, method, id string, body []byte, into any) error {
	own := program.Sidecar{
		Base: "http://127.0.0.1:" + cmp.Or(os.Getenv("DAPR_HTTP_PORT"), "3500") + "/v1.0", Token: os.Getenv("DAPR_API_TOKEN"),
	}
	text, err := own.Send(ctx, method, "/invoke/intake/method/approvals/"+url.PathEscape(id), body)
	if err != nil {
		return fmt.Errorf("intake: %w", err)
	}
	return json.Unmarshal(text, into)
}
