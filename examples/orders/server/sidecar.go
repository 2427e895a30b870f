// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	// txnToken says on whose behalf a call is made. It comes with calls, and is passed on with what they lead to.
	txnToken = "Txn-Token"
	// maxAnswer is the largest answer of the sidecar that is read, in bytes.
	maxAnswer = 16 << 20
)

// sidecar is the way through a binding of our own sidecar
// (https://docs.dapr.io/reference/api/bindings_api/). There is no credential:
// the sidecar is known by what it is.
type sidecar struct {
	base, token, binding string
}

func newSidecar(port, token, binding string) (*sidecar, error) {
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return nil, fmt.Errorf("no sidecar: DAPR_HTTP_PORT is %q", port)
	}
	if binding == "" {
		return nil, errors.New("--database dapr: names no binding")
	}
	return &sidecar{base: "http://127.0.0.1:" + port + "/v1.0", token: token, binding: binding}, nil
}

// invocation is what Dapr's API takes.
type invocation struct {
	Operation string            `json:"operation"`
	Metadata  map[string]string `json:"metadata"`
}

func (s *sidecar) query(ctx context.Context, sql string, arguments []any, row func() []any) error {
	params, err := json.Marshal(arguments)
	if err != nil {
		return err
	}
	metadata := map[string]string{"sql": sql, "params": string(params)}
	if token := tokenOf(ctx); token != "" {
		metadata[txnToken] = token
	}
	body, err := json.Marshal(invocation{Operation: "query", Metadata: metadata})
	if err != nil {
		return err
	}
	answer, err := s.send(ctx, http.MethodPost, "/bindings/"+url.PathEscape(s.binding), body)
	if err != nil {
		return err
	}
	return scan(answer, row)
}

// scan reads rows as the binding gives them: an array of arrays.
func scan(answer []byte, row func() []any) error {
	var rows [][]json.RawMessage
	if err := json.Unmarshal(answer, &rows); err != nil {
		return fmt.Errorf("the binding's answer: %w", err)
	}
	for _, values := range rows {
		columns := row()
		if len(values) != len(columns) {
			return fmt.Errorf("the binding's answer has %d columns, and not %d", len(values), len(columns))
		}
		for i, value := range values {
			if err := json.Unmarshal(value, columns[i]); err != nil {
				return fmt.Errorf("column %d of the binding's answer: %w", i+1, err)
			}
		}
	}
	return nil
}

// ping asks the sidecar alone: each statement, also one that only asks for health, would be decided and recorded.
func (s *sidecar) ping(ctx context.Context) error {
	_, err := s.send(ctx, http.MethodGet, "/healthz/outbound", nil)
	return err
}

func (s *sidecar) send(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, s.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	if s.token != "" {
		request.Header.Set("dapr-api-token", s.token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxAnswer:
		return nil, fmt.Errorf("the sidecar's answer has more than %d bytes", maxAnswer)
	case response.StatusCode >= http.StatusMultipleChoices:
		return nil, fmt.Errorf("the sidecar answered %s: %.300s", response.Status, text)
	}
	return text, nil
}

type tokenKey struct{}

// onBehalf keeps the token that a call came with.
func onBehalf(ctx context.Context, request *mcp.CallToolRequest) context.Context {
	if request.Extra == nil {
		return ctx
	}
	return context.WithValue(ctx, tokenKey{}, request.Extra.Header.Get(txnToken))
}

func tokenOf(ctx context.Context) string {
	token, _ := ctx.Value(tokenKey{}).(string)
	return token
}
