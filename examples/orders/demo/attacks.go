// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/dapr-custody/custody/examples/stage"
)

// target is an order that the seed leaves pending. Every attack tries to
// cancel it, which only fulfilment-agent may do, and none succeeds.
const (
	targetOrder = `{"order_id":1059}`
	cancelIt    = `{"order_id":1059,"status":"cancelled"}`
	cancelCall  = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"update_order_status","arguments":` + cancelIt + `}}`
	twoNames    = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_order","name":"update_order_status","arguments":` + cancelIt + `}}`
	oneName     = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_order","arguments":` + targetOrder + `}}`
)

// nobody is the caller of a request without an identity.
const nobody = ""

// attack is one way to try. It returns whether it was refused, and what came
// back. An error means that the way could not even be tried.
type attack struct {
	name string
	try  func(context.Context) (refused bool, back string, err error)
}

func (p *play) attacks(ctx context.Context) error {
	p.out.Title("3. Attacks: each tries to cancel order 1059")
	for _, a := range []attack{
		{"support-agent says in headers that it is fulfilment-agent", p.spoofedHeaders},
		{"analytics-agent invokes fulfilment-agent to have it done", p.deputy},
		{"client with bearer token and client_id but no SVID, at the server's daprd", p.bearerToken},
		{"gRPC to the server's daprd without TLS", p.internalPort(nil)},
		{"gRPC to the server's daprd over TLS without a certificate", p.internalPort(&tls.Config{})},
		{"the same with a home-made certificate of fulfilment-agent", p.forgedCertificate},
		{"HTTP to the MCP server's own port, past the sidecar", p.serverPort},
		{"support-agent sends a body with two members \"name\"", p.twoNames},
	} {
		refused, back, err := a.try(ctx)
		if err != nil {
			return fmt.Errorf("attack %q: %w", a.name, err)
		}
		p.Check(refused, "attack %q: want a refusal, got %s", a.name, stage.OneLine(back))
		p.out.Result(refused, a.name, "refused", back)
	}
	return p.targetUntouched(ctx)
}

func (p *play) spoofedHeaders(ctx context.Context) (bool, string, error) {
	r, err := p.call(ctx, "support-agent", "update_order_status", cancelIt, map[string]string{
		"Dapr-Caller-App-Id":    "fulfilment-agent",
		"Dapr-Caller-Namespace": "default",
		"Custody-Caller":        p.stage.App("fulfilment-agent").SPIFFEID,
	})
	return r.Refused(), r.String(), err
}

// deputy: who could make an agent act would act in its name.
func (p *play) deputy(ctx context.Context) (bool, string, error) {
	url := fmt.Sprintf("http://127.0.0.1:%d/v1.0/invoke/fulfilment-agent/method/call", p.stage.App("analytics-agent").DaprHTTPPort)
	order := `{"tool":"update_order_status","arguments":` + cancelIt + `}`
	return p.post(ctx, url, http.Header{"Content-Type": {"application/json"}}, order, nobody)
}

func (p *play) bearerToken(ctx context.Context) (bool, string, error) {
	header := mcpHeader()
	header.Set("Authorization", "Bearer eyJhbGciOiJub25lIn0.eyJjbGllbnRfaWQiOiJmdWxmaWxtZW50LWFnZW50In0.")
	header.Set("X-Client-Id", "fulfilment-agent")
	return p.post(ctx, p.throughSidecarOf(serverApp), header, cancelCall, nobody)
}

// serverPort also asks for the server's health, which needs no token: so the
// refusal is no mere silence of that port.
func (p *play) serverPort(ctx context.Context) (bool, string, error) {
	base := fmt.Sprintf("http://127.0.0.1:%d", p.stage.App(serverApp).AppPort)
	health, err := stage.Send(ctx, http.MethodGet, base+"/healthz", http.Header{}, nil)
	if err != nil {
		return false, "", err
	}
	p.Check(health.Status == http.StatusOK, "the server's own port: want it to listen, got %s", health)
	header := mcpHeader()
	header.Set("dapr-api-token", "guess")
	return p.post(ctx, base+"/mcp", header, cancelCall, nobody)
}

// twoNames also sends the same body with one name, which support-agent may:
// so it is the second name that is refused.
func (p *play) twoNames(ctx context.Context) (bool, string, error) {
	url := p.throughSidecarOf("support-agent")
	good, err := stage.Send(ctx, http.MethodPost, url, mcpHeader(), []byte(oneName))
	if err != nil {
		return false, "", err
	}
	p.answered++
	p.Check(good.Status == http.StatusOK && bytes.Contains(good.Body, []byte(`"pending"`)),
		"the body with one name: want order 1059, got %s", good)
	return p.post(ctx, url, mcpHeader(), twoNames, "support-agent")
}

// targetUntouched: that an attack got an error does not show that it had no
// effect; the order does.
func (p *play) targetUntouched(ctx context.Context) error {
	r, err := p.call(ctx, "support-agent", "get_order", targetOrder, nil)
	if err != nil {
		return err
	}
	var order struct {
		Status string `json:"status"`
	}
	if r.OK {
		if err := json.Unmarshal(r.Result, &order); err != nil {
			return fmt.Errorf("get_order: %w", err)
		}
	}
	met := order.Status == "pending"
	p.Check(met, "order 1059 after the attacks: want pending, got %s", r)
	p.out.Result(met, "order 1059 after all that", "untouched", "status "+order.Status)
	return nil
}

func (p *play) throughSidecarOf(app string) string {
	return fmt.Sprintf("http://127.0.0.1:%d/v1.0/invoke/%s/method/mcp", p.stage.App(app).DaprHTTPPort, serverApp)
}

// post sends a body without an MCP client. Only an answer that refuses counts
// as a refusal: a guard that is broken also lets nothing through, with 503.
func (p *play) post(ctx context.Context, url string, header http.Header, body, as string) (bool, string, error) {
	a, err := stage.Send(ctx, http.MethodPost, url, header, []byte(body))
	p.remember(string(a.Body), as, "")
	return a.Status >= 400 && a.Status < 500, a.String(), err
}

func mcpHeader() http.Header {
	header := http.Header{}
	header.Set("Content-Type", "application/json")
	header.Set("Accept", "application/json, text/event-stream")
	header.Set("MCP-Protocol-Version", "2025-06-18")
	return header
}
