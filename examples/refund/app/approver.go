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
	"os"
	"strings"

	"github.com/dapr-custody/custody/workflows/custody"
)

// approver is where the person sits:
//
//	GET  /waiting/{id}   what a refund waits for
//	POST /approve/{id}   approve it: the sidecar signs, intake gets the approval
//
// Who can reach its port is the person. So it is bound to loopback, and its Dapr
// configuration lets no other app invoke it.
func approver(_ context.Context, log *slog.Logger) (http.Handler, error) {
	d := &desk{log: log}
	m := mux()
	m.HandleFunc("GET /waiting/{id}", d.answer(func(r *http.Request) (any, error) {
		return waiting(r.Context(), r.PathValue("id"))
	}))
	m.HandleFunc("POST /approve/{id}", d.answer(func(r *http.Request) (any, error) {
		return approve(r.Context(), r.PathValue("id"))
	}))
	return m, nil
}

// approve signs what the refund waits for, and hands it in.
func approve(ctx context.Context, id string) (any, error) {
	asks, err := waiting(ctx, id)
	if err != nil {
		return nil, err
	}
	if len(asks) == 0 {
		return nil, errNothingWaits
	}
	approval, err := custody.Approve(ctx, custody.Options{}, asks[0])
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(handIn{Event: asks[0].Event, Approval: approval})
	if err != nil {
		return nil, err
	}
	var raised any
	return raised, atIntake(ctx, http.MethodPost, id, body, &raised)
}

func waiting(ctx context.Context, id string) ([]custody.Ask, error) {
	var asks []custody.Ask
	return asks, atIntake(ctx, http.MethodGet, id, nil, &asks)
}

// atIntake calls intake through the sidecars.
func atIntake(ctx context.Context, method, id string, body []byte, into any) error {
	url := fmt.Sprintf("http://127.0.0.1:%s/v1.0/invoke/intake/method/approvals/%s", cmp.Or(os.Getenv("DAPR_HTTP_PORT"), "3500"), id)
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if token := os.Getenv("DAPR_API_TOKEN"); token != "" {
		request.Header.Set("dapr-api-token", token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := readAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("intake: %s: %s", response.Status, strings.TrimSpace(string(text)))
	}
	return json.Unmarshal(text, into)
}
