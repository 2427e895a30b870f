// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/dapr-custody/custody/examples/program"
)

// txnToken says on whose behalf a call is made. It comes with calls, and is passed on with what they lead to.
const txnToken = "Txn-Token"

// sidecar is the way through a binding of our own sidecar
// (https://docs.dapr.io/reference/api/bindings_api/). There is no credential:
// the sidecar is known by what it is.
type sidecar struct {
	program.Sidecar

	binding string
}

func newSidecar(port, token, binding string) (*sidecar, error) {
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return nil, fmt.Errorf("no sidecar: DAPR_HTTP_PORT is %q", port)
	}
	if binding == "" {
		return nil, errors.New("--database dapr: names no binding")
	}
	return &sidecar{Sidecar: program.Sidecar{Base: "http://127.0.0.1:" + port + "/v1.0", Token: token}, binding: binding}, nil
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
	answer, err := s.Send(ctx, http.MethodPost, "/bindings/"+url.PathEscape(s.binding), body)
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
	_, err := s.Send(ctx, http.MethodGet, "/healthz/outbound", nil)
	return err
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
