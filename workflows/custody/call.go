// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/dapr/durabletask-go/workflow"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// CallOption changes how CallTool calls.
type CallOption func(*callOptions)

type callOptions struct {
	step, app, path string
	policy          *RetryPolicy
	idempotent      bool
}

// WithStep names the step, as conditions on the chain do. Without it the step has the name of the tool.
func WithStep(name string) CallOption { return func(o *callOptions) { o.step = name } }

// WithServerApp says which app the server is, and the path of its MCP endpoint. Without it the app ID is the name of the
// server and the path /mcp.
func WithServerApp(appID, path string) CallOption {
	return func(o *callOptions) { o.app, o.path = appID, path }
}

// WithRetry has the call tried again where no answer was given. Without it there is one attempt.
func WithRetry(policy *RetryPolicy) CallOption { return func(o *callOptions) { o.policy = policy } }

// Idempotent says that the tool may be called again where it is not known what came of a call, or where its result was
// lost. The call is then made once more, as a step of its own.
func Idempotent() CallOption { return func(o *callOptions) { o.idempotent = true } }

// CallTool calls a tool of an MCP server through the sidecars, as a step of the chain. The arguments must be a JSON
// object once marshalled, or nil. Await gives the structured content of the result, or where there is none the text, to a
// *string as it is and to others as JSON; a *mcp.CallToolResult or a *json.RawMessage gets the whole result. Its errors
// are *DeniedError, *ToolError, *SettledError, *UnknownError, and ErrUnreachable, ErrRefused and ErrNoCaller.
func CallTool(ctx *Context, server, tool string, args any, options ...CallOption) workflow.Task {
	o := callOptions{step: tool, app: server, path: usualPath}
	for _, option := range options {
		option(&o)
	}
	arguments, err := marshal(args)
	switch {
	case err != nil:
		return ctx.failed(fmt.Errorf("the arguments of %s: %w", tool, err))
	case server == "" || tool == "" || o.app == "" || strings.ContainsAny(o.app, "/?#%"):
		return ctx.failed(fmt.Errorf("tool %q of server %q, app %q: none may be empty, and an app ID has no slash", tool, server, o.app))
	case o.policy != nil && o.policy.InitialRetryInterval <= 0:
		return ctx.failed(errors.New("the retry policy has no InitialRetryInterval"))
	}
	if err := ctx.narrow(); err != nil {
		return ctx.failed(err)
	}
	named := ctx.step(o.step)
	if server != o.app {
		named.Server = server
	}
	called := &target{Tool: tool, App: o.app, Path: "/" + strings.TrimPrefix(o.path, "/")}
	if called.Path == usualPath {
		called.Path = ""
	}
	s := ctx.do(activityCall, order{asked: named, Arguments: arguments, Target: called}, o.policy)
	s.idempotent = o.idempotent
	return s
}

// decodeResult gives what the caller wants of a result of tools/call. In is what was read of it, where that is at hand.
func decodeResult(result json.RawMessage, in *toolResult, v any) error {
	switch to := v.(type) {
	case *json.RawMessage:
		*to = result
		return nil
	case *mcp.CallToolResult:
		return json.Unmarshal(result, to)
	}
	if in == nil {
		in = &toolResult{}
		if err := json.Unmarshal(result, in); err != nil {
			return err
		}
	}
	if len(in.Structured) > 0 && string(in.Structured) != "null" {
		return json.Unmarshal(in.Structured, v)
	}
	text := in.text()
	if to, ok := v.(*string); ok {
		*to = text
		return nil
	}
	return json.Unmarshal([]byte(text), v)
}

// toolResult is what is read of a result of tools/call.
type toolResult struct {
	IsError    bool            `json:"isError"`
	Structured json.RawMessage `json:"structuredContent"`
	Content    []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	} `json:"content"`
}

func (r *toolResult) text() string {
	var texts []string
	for _, c := range r.Content {
		if c.Type == "text" {
			texts = append(texts, c.Text)
		}
	}
	return strings.Join(texts, "\n")
}

// Attest makes a statement a step of the chain: the sidecar of this app signs its digest. The statement is anything that
// can be marshalled to JSON; Await saves nothing.
func Attest(ctx *Context, name string, statement any) workflow.Task {
	raw, err := json.Marshal(statement)
	if err != nil {
		return ctx.failed(fmt.Errorf("the statement %s: %w", name, err))
	}
	return ctx.attest(kindAttest, name, raw)
}

func (c *Context) attest(kind, name string, statement json.RawMessage) *step {
	if err := c.narrow(); err != nil {
		return c.failed(err)
	}
	return c.do(activityState, c.stated(kind, name, statement), nil)
}
