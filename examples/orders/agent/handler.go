// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
)

const (
	callTimeout  = 20 * time.Second
	maximalOrder = 1 << 20 // bytes of a POST /call
)

// order is what POST /call takes.
type order struct {
	Tool      string            `json:"tool"`
	Arguments json.RawMessage   `json:"arguments"`
	Headers   map[string]string `json:"headers"` // added to the requests of this call
}

// report is what POST /call and GET /tools answer. Code is that of the
// JSON-RPC error, when the other side answered with one.
type report struct {
	OK     bool     `json:"ok"`
	Result any      `json:"result,omitempty"`
	Tools  []string `json:"tools,omitempty"`
	Error  string   `json:"error,omitempty"`
	Code   int64    `json:"code,omitempty"`
}

// newHandler serves a person's orders to the agent. Web pages in that person's
// browser cannot give any.
func newHandler(a *agent) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /call", func(w http.ResponseWriter, r *http.Request) {
		var o order
		decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maximalOrder))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&o); err != nil || o.Tool == "" {
			write(w, http.StatusBadRequest, report{Error: `want a JSON body such as {"tool": "get_order", "arguments": {"order_id": 1001}}`})
			return
		}
		extra := http.Header{}
		for name, value := range o.Headers {
			extra.Set(name, value)
		}
		ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
		defer cancel()
		result, err := a.call(ctx, o.Tool, o.Arguments, extra)
		write(w, http.StatusOK, reportOf(report{Result: result}, err))
	})
	mux.HandleFunc("GET /tools", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
		defer cancel()
		names, err := a.tools(ctx)
		write(w, http.StatusOK, reportOf(report{Tools: names}, err))
	})
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	return http.NewCrossOriginProtection().Handler(mux)
}

func reportOf(success report, err error) report {
	if err == nil {
		success.OK = true
		return success
	}
	failure := report{Error: err.Error()}
	var answered *jsonrpc.Error
	if errors.As(err, &answered) {
		failure.Code = answered.Code
	}
	return failure
}

func write(w http.ResponseWriter, status int, r report) {
	body, err := json.Marshal(r)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"ok":false,"error":"the result is not JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(body, '\n')) //nolint:errcheck // the person has gone
}
