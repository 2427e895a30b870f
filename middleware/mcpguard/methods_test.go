// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/internal/toolcall"
)

const manyRules = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: test}
spec:
  rules:
  - {name: alice, effect: allow, from: [alice], to: {server: server, prompts: [summary], resources: ["file:///docs/*"]}}
  - {name: not-alice, effect: deny, from: [alice], to: {server: server, resources: ["file:///docs/secret/*"]}}
  - {name: bob, effect: allow, from: [bob], to: {server: server, tools: [echo]}}
  - {name: carol, effect: allow, from: [carol], to: {server: server, methods: ["*"]}}
`

func manyThings(json, stateful bool) testkit.MCPOptions {
	return testkit.MCPOptions{
		JSON: json, Stateful: stateful, Prompts: []string{"summary", "payroll"},
		Resources: []string{"file:///docs/a", "file:///docs/secret/b", "file:///etc/c"},
		Templates: []string{"file:///docs/{name}", "file:///docs/secret/{name}", "file:///etc/{name}", "file:///{+path}"},
	}
}

// A real client sees and uses what it may, whatever the form of the answers.
func TestPromptsAndResourcesOfARealServer(t *testing.T) {
	for name, options := range map[string]testkit.MCPOptions{
		"json": manyThings(true, false), "events": manyThings(false, false), "sessions": manyThings(false, true), "sessions json": manyThings(true, true),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, options, func(r *rig) { r.setPolicy(manyRules) })
			ctx := t.Context()
			for caller, want := range map[string][3]string{
				"alice": {"summary", "file:///docs/a", "file:///docs/{name} file:///{+path}"},
				"bob":   {"", "", ""},
				"carol": {
					"payroll summary", "file:///docs/a file:///docs/secret/b file:///etc/c",
					"file:///docs/secret/{name} file:///docs/{name} file:///etc/{name} file:///{+path}",
				},
			} {
				session, err := r.connect(caller)
				require.NoError(t, err)
				prompts, resources, templates := []string{}, []string{}, []string{}
				for p, err := range session.Prompts(ctx, nil) {
					require.NoError(t, err)
					prompts = append(prompts, p.Name)
				}
				for p, err := range session.Resources(ctx, nil) {
					require.NoError(t, err)
					resources = append(resources, p.URI)
				}
				for p, err := range session.ResourceTemplates(ctx, nil) {
					require.NoError(t, err)
					templates = append(templates, p.URITemplate)
				}
				require.Equal(t, want, [3]string{strings.Join(prompts, " "), strings.Join(resources, " "), strings.Join(templates, " ")}, caller)
				require.NoError(t, session.Close())
			}
			session, err := r.connect("alice")
			require.NoError(t, err)
			r.useAsAlice(session)
			require.NoError(t, session.Close())
			_, err = r.connect("mallory")
			require.Error(t, err)
		})
	}
}

func (r *rig) useAsAlice(session *mcp.ClientSession) {
	r.t.Helper()
	ctx := r.t.Context()
	complete := func(kind, name, uri string) error {
		_, err := session.Complete(ctx, &mcp.CompleteParams{
			Ref: &mcp.CompleteReference{Type: kind, Name: name, URI: uri}, Argument: mcp.CompleteParamsArgument{Name: "name"},
		})
		return err
	}
	get := func(name string) error {
		_, err := session.GetPrompt(ctx, &mcp.GetPromptParams{Name: name})
		return err
	}
	read := func(uri string) error {
		_, err := session.ReadResource(ctx, &mcp.ReadResourceParams{URI: uri})
		return err
	}
	for _, use := range []struct {
		what    string
		err     error
		allowed bool
	}{
		{"its prompt", get("summary"), true},
		{"another prompt", get("payroll"), false},
		{"its resource", read("file:///docs/a"), true},
		{"what a template makes", read("file:///docs/made"), true},
		{"a secret", read("file:///docs/secret/b"), false},
		{"a way to a secret", read("file:///docs/x/../secret/b"), false},
		{"another way to a secret", read("file:///docs/%73ecret/b"), false},
		{"a resource elsewhere", read("file:///etc/c"), false},
		{"completing its prompt", complete("ref/prompt", "summary", ""), true},
		{"completing another prompt", complete("ref/prompt", "payroll", ""), false},
		{"completing a template of secrets", complete("ref/resource", "", "file:///docs/secret/{name}"), false},
		{"completing a template that makes secrets", complete("ref/resource", "", "file:///docs/{name}"), false},
		{"completing what is no template", complete("ref/resource", "", "file:///docs/a"), true},
	} {
		if use.allowed {
			require.NoError(r.t, use.err, use.what)
		} else {
			require.ErrorContains(r.t, use.err, "Denied by policy", use.what)
		}
	}
}

// backend is a server that answers every request of every revision in JSON.
func backend(t *testing.T, result func(method string) string) *httptest.Server {
	t.Helper()
	return serving(t, func(w http.ResponseWriter, r *http.Request) {
		var message struct {
			ID     json.RawMessage
			Method string
		}
		if err := json.NewDecoder(r.Body).Decode(&message); err != nil {
			t.Error(err)
		}
		if message.ID == nil {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if _, err := fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{%s}}`, message.ID, result(message.Method)); err != nil {
			t.Error(err)
		}
	})
}

func serving(t *testing.T, serve http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(serve)
	t.Cleanup(server.Close)
	return server
}

// message is a message of a client in that revision, about what the named method needs.
func message(method, version string) (body string, header []string) {
	params, name := "", ""
	switch method {
	case "tools/call", "prompts/get":
		params, name = `"name":"x"`, "x"
	case "resources/read", "resources/subscribe", "resources/unsubscribe":
		params, name = `"uri":"x:y"`, "x:y"
	case "completion/complete":
		params = `"ref":{"type":"ref/prompt","name":"x"}`
	case "tasks/get", "tasks/result", "tasks/cancel", "tasks/update":
		params, name = `"taskId":"t1"`, "t1"
	case "initialize":
		params = `"protocolVersion":"` + version + `"`
	}
	return messageOf(method, version, params, name)
}

func messageOf(method, version, params, name string) (body string, header []string) {
	header = []string{"Mcp-Protocol-Version", version}
	if version == toolcall.Version20260728 {
		header = append(header, "Mcp-Method", method)
		if name != "" {
			header = append(header, "Mcp-Name", name)
		}
		if params != "" {
			params += ","
		}
		params += `"_meta":{"io.modelcontextprotocol/protocolVersion":"` + version + `"}`
	}
	id := `"id":7,`
	if strings.HasPrefix(method, "notifications/") {
		id = ""
	}
	return fmt.Sprintf(`{"jsonrpc":"2.0",%s"method":%q,"params":{%s}}`, id, method, params), header
}

const everyList = `"tools":[],"prompts":[],"resources":[],"resourceTemplates":[],"tasks":[]`

// named are the lists of a rule, each with an entry that matches what message asks.
func named(list, method string) string {
	entry := map[string]string{"tools": "x", "prompts": "x", "resources": `"x:*"`, "methods": method}[list]
	return "{server: server, " + list + ": [" + entry + "]}"
}

// Each method of each revision does what the table of defaults says: for nobody,
// for who reaches the server, for who is named by each list, and under a deny.
func TestEveryMethodOfEveryRevision(t *testing.T) {
	for _, m := range toolcall.Methods() {
		if m.FromServer {
			continue
		}
		var rules strings.Builder
		rule := func(name, effect, from, to string) {
			fmt.Fprintf(&rules, "  - {name: %s, effect: %s, from: [%s], to: %s}\n", name, effect, from, to)
		}
		rule("reach", "allow", "reacher, denied", "{server: server, tools: [other]}")
		lists := m.Lists
		if m.Name == "completion/complete" {
			lists = []string{"prompts", "methods"} // The message is about a prompt.
		}
		for _, list := range lists {
			rule("by-"+list, "allow", "by-"+list+", denied", named(list, m.Name))
		}
		if m.Name != "tools/call" {
			rule("deny", "deny", "denied", named("methods", m.Name))
		} else {
			rule("deny", "deny", "denied", named("tools", m.Name))
		}
		t.Run(m.Name, func(t *testing.T) {
			r := newRig(t, testkit.MCPOptions{}, func(r *rig) {
				r.useBackend(backend(t, func(string) string { return everyList }))
				r.setPolicy(strings.ReplaceAll(allowAlice[:strings.Index(allowAlice, "  - ")], "test", "m") + rules.String())
			})
			for _, version := range []string{toolcall.Version20250326, toolcall.Version20250618, toolcall.Version20251125, toolcall.Version20260728} {
				known := toolcall.Known(m.Name, version)
				send := func(caller string) int {
					body, header := message(m.Name, version)
					return r.post(r.as(caller), body, header...).status
				}
				want := map[string]bool{"nobody": false, "reacher": m.Default == toolcall.Reach, "denied": false}
				for _, list := range lists {
					want["by-"+list] = m.Default != toolcall.Owner
				}
				for caller, allowed := range want {
					status := send(caller)
					switch {
					case !known && m.Name == "initialize":
						// The answer settles the revision.
					case !known:
						require.Equal(t, 404, status, "%s in %s", caller, version)
					case allowed:
						require.Contains(t, []int{200, 202}, status, "%s in %s", caller, version)
					case m.Default == toolcall.Owner:
						require.Equal(t, 400, status, "nobody made a task: %s in %s", caller, version)
					default:
						require.Equal(t, 403, status, "%s in %s", caller, version)
					}
				}
			}
		})
	}
}

// A task is its maker's, as long as that may make it; to others it looks like none.
func TestTaskBelongsToItsCaller(t *testing.T) {
	rules := allowAlice + "  - {name: both, effect: allow, from: [alice, bob], to: {server: server, tools: [x]}}\n"
	for _, version := range []string{toolcall.Version20251125, toolcall.Version20260728} {
		t.Run(version, func(t *testing.T) {
			r := newRig(t, testkit.MCPOptions{}, func(r *rig) {
				r.useBackend(backend(t, func(method string) string {
					switch {
					case method == "tasks/list":
						return `"tasks":[{"taskId":"t1"},{"taskId":"t2"}],"nextCursor":"n"`
					case method != "tools/call":
						return `"content":[{"type":"text","text":"the result"}]`
					case version == toolcall.Version20251125:
						return `"task":{"taskId":"t1","status":"working"}`
					}
					return `"resultType":"task","taskId":"t1","status":"working"`
				}))
				r.setPolicy(rules)
			})
			alice, bob := r.as("alice"), r.as("bob")
			post := func(url, method string) answered {
				body, header := message(method, version)
				return r.post(url, body, header...)
			}
			unknown := post(alice, "tasks/get")
			require.Equal(t, 400, unknown.status)
			require.Contains(t, unknown.body, `"code":-32602,"message":"Task not found. Reference: `)
			require.Equal(t, "the task is not known here", r.lastRecord().Decision.Reason)

			body, header := messageOf("tools/call", version, `"name":"x","task":{"ttl":1}`, "x")
			require.Equal(t, 200, r.post(alice, body, header...).status)
			methods := []string{"tasks/get", "tasks/cancel"}
			if version == toolcall.Version20251125 {
				methods = append(methods, "tasks/result")
			} else {
				methods = append(methods, "tasks/update")
			}
			for _, method := range methods {
				require.Equal(t, 200, post(alice, method).status, method)
				last := r.lastRecord()
				require.Equal(t, []string{"mcp." + method, "t1"}, []string{last.Action.Kind, last.Action.Name})
				foreign := post(bob, method)
				require.Equal(t, 400, foreign.status)
				require.Equal(t, "the task belongs to another caller", r.lastRecord().Decision.Reason)
				require.Equal(t, withoutReference(t, unknown.body), withoutReference(t, foreign.body), "another's task looks like none")
			}
			if version == toolcall.Version20251125 {
				require.Contains(t, post(alice, "tasks/list").body, `"tasks":[{"taskId":"t1"}],"nextCursor":"n"`)
				require.Contains(t, post(bob, "tasks/list").body, `"tasks":[],"nextCursor":"n"`)
			}
			require.Equal(t, 502, r.post(bob, body, header...).status, "a server cannot give one task to two callers")
			require.Equal(t, receipt.StatusWithheld, r.lastRecord().Outcome.Status)
			require.Equal(t, 200, post(alice, methods[2]).status)

			r.setPolicy(strings.ReplaceAll(rules, "[alice, bob]", "[bob]"))
			require.Eventually(t, func() bool { return post(alice, methods[2]).status == 403 }, 10*time.Second, time.Millisecond)
			require.Equal(t, "the call that this is a part of is not allowed any more", r.lastRecord().Decision.Reason)
		})
	}
}

// What a call may not bring back, the task that it became does not bring back.
func TestTaskIsBoundLikeItsCall(t *testing.T) {
	for size, status := range map[int]int{10: 200, 300: 403} {
		r := newRig(t, testkit.MCPOptions{}, func(r *rig) {
			r.useBackend(backend(t, func(method string) string {
				if method == "tools/call" {
					return `"task":{"taskId":"t1"}`
				}
				return `"text":"` + strings.Repeat("y", size) + `"`
			}))
			r.setPolicy(strings.ReplaceAll(allowing("    maxResultBytes: 100\n"), "[echo, progress]", "[x]"))
		})
		body, header := message("tools/call", toolcall.Version20251125)
		require.Equal(t, 200, r.post(r.as("alice"), body, header...).status)
		body, header = message("tasks/result", toolcall.Version20251125)
		got := r.post(r.as("alice"), body, header...)
		require.Equal(t, status, got.status, got.body)
		require.Equal(t, status == 200, strings.Contains(got.body, "yyy"))
	}
}

// A request to the client within a result is decided like one on a stream.
func TestInputRequests(t *testing.T) {
	const asks = `"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"},"b":{"method":"sampling/createMessage","params":{}}}`
	answer := func(result string) string { return `{"jsonrpc":"2.0","id":7,"result":{` + result + `}}` }
	large := answer(`"x":"` + strings.Repeat("y", 5000) + `"`)
	tests := []struct {
		name, allowed, contentType, answer string
		status                             int
	}{
		{"nothing is asked", "ping", "application/json", answer(`"resultType":"complete"`), 200},
		{"not allowed", "ping", "application/json", answer(asks), 502},
		{"one of two allowed", "roots/list", "application/json", answer(asks), 502},
		{"both allowed", "roots/list, sampling/createMessage", "application/json", answer(asks), 200},
		{"nothing is asked in an event", "ping", "text/event-stream", event(answer(`"resultType":"complete"`)), 200},
		{"not allowed in an event", "ping", "text/event-stream", event(answer(asks)), 502},
		{"one of two allowed in an event", "sampling/*", "text/event-stream", event(answer(asks)), 502},
		{"both allowed in an event", "\"*\"", "text/event-stream", event(answer(asks)), 200},
		{"without the type", "ping", "application/json", answer(`"inputRequests":{"a":{"method":"roots/list"}}`), 502},
		{"what nobody can read", "\"*\"", "application/json", answer(`"inputRequests":[]`), 502},
		{"a member in capitals", "\"*\"", "application/json", answer(`"InputRequests":{"a":{"method":"roots/list"}}`), 502},
		{"as text", "\"*\"", "text/plain", answer(asks), 502},
		{"no JSON", "\"*\"", "application/json", "oops", 502},
		{"more than can be held", "\"*\"", "application/json", large, 502},
		{"a request in place of the answer", "\"*\"", "application/json", `{"jsonrpc":"2.0","id":7,"method":"roots/list"}`, 502},
		{"the answer to another request", "\"*\"", "application/json", `{"jsonrpc":"2.0","id":8,"result":{}}`, 502},
		{"an error without an id", "\"*\"", "application/json", `{"jsonrpc":"2.0","error":{"code":1,"message":"m"}}`, 200},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, testkit.MCPOptions{}, func(r *rig) {
				r.useBackend(answering(t, test.contentType, test.answer))
				r.meta["maxAnswerBytes"] = "1000"
				r.setPolicy(allowAlice + "  - {name: asks, effect: allow, from: [alice], to: {server: server, tools: [x], methods: [" + test.allowed + "]}}\n")
			})
			body, header := message("tools/call", toolcall.Version20260728)
			got := r.post(r.as("alice"), body, header...)
			require.Equal(t, test.status, got.status, got.body)
			last := r.lastRecord()
			require.Equal(t, test.status != 200, last.Outcome.Status == receipt.StatusWithheld, last.Outcome.Status)
			if test.status != 200 {
				require.NotContains(t, got.body, "roots/list")
				require.Contains(t, got.body, last.ID)
				require.NotEmpty(t, last.Outcome.Reason)
			}
		})
	}
}

// A stream tells a caller of what it may read, and of its own tasks.
func TestNotifications(t *testing.T) {
	t.Run("free", func(t *testing.T) { testNotifications(t, "", 3) })
	t.Run("bounded", func(t *testing.T) { testNotifications(t, ", maxResultBytes: 100000", 2) })
}

func testNotifications(t *testing.T, obligations string, events int) {
	t.Helper()
	notice := func(method, params string) string {
		return event(`{"jsonrpc":"2.0","method":"notifications/` + method + `","params":{` + params + `}}`)
	}
	stream := notice("resources/updated", `"uri":"file:///docs/a"`) + notice("resources/updated", `"uri":"file:///docs/secret/b"`) +
		notice("resources/updated", `"uri":"file:///etc/c"`) + notice("resources/updated", `"uri":1`) + notice("tools/list_changed", "") +
		notice("tasks", `"taskId":"own","status":"completed","result":{"a":"mine"}`) +
		notice("tasks", `"taskId":"own","inputRequests":{"a":{"method":"roots/list"}}`) +
		notice("tasks", `"taskId":"other","status":"completed","result":{"a":"theirs"}`) + notice("tasks/status", `"status":"theirs too"`)
	r := newRig(t, testkit.MCPOptions{}, func(r *rig) {
		r.useBackend(serving(t, func(w http.ResponseWriter, r *http.Request) {
			text, kind := `{"jsonrpc":"2.0","id":7,"result":{"resultType":"task","taskId":"own"}}`, "application/json"
			if r.Header.Get("Mcp-Method") == "subscriptions/listen" {
				text, kind = stream, "text/event-stream"
			}
			w.Header().Set("Content-Type", kind)
			if _, err := w.Write([]byte(text)); err != nil {
				t.Error(err)
			}
		}))
		r.setPolicy(manyRules + "  - {name: more, effect: allow, from: [alice], to: {server: server, tools: [x], methods: [subscriptions/listen]}" + obligations + "}\n")
	})
	body, header := message("tools/call", toolcall.Version20260728)
	require.Equal(t, 200, r.post(r.as("alice"), body, header...).status)
	body, header = message("subscriptions/listen", toolcall.Version20260728)
	got := r.post(r.as("alice"), body, header...)
	require.Equal(t, 200, got.status)
	require.Contains(t, got.body, "file:///docs/a")
	require.Contains(t, got.body, "tools/list_changed")
	require.Equal(t, obligations == "", strings.Contains(got.body, "mine"), "what a rule obliges to is not done to notifications")
	require.Equal(t, events, strings.Count(got.body, "data: "), got.body)
	require.Equal(t, 403, r.post(r.as("bob"), body, header...).status)
}

// Who may listen no more hears no more, although the stream goes on.
func TestListeningEndsWithTheRule(t *testing.T) {
	next := make(chan string)
	ended := make(chan struct{})
	rules := allowAlice + "  - {name: listen, effect: allow, from: [alice], to: {server: server, methods: [subscriptions/listen]}}\n"
	r := newRig(t, testkit.MCPOptions{}, func(r *rig) {
		r.setPolicy(rules)
		r.useBackend(serving(t, func(w http.ResponseWriter, r *http.Request) {
			defer close(ended)
			w.Header().Set("Content-Type", "text/event-stream")
			for {
				select {
				case text := <-next:
					if _, err := w.Write([]byte(event(`{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"` + text + `"}}`))); err != nil {
						return
					}
					w.(http.Flusher).Flush()
				case <-r.Context().Done():
					return
				}
			}
		}))
	})
	body, header := message("subscriptions/listen", toolcall.Version20260728)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.as("alice")+"/mcp", strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, text/event-stream")
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	go func() { next <- "first" }()
	resp, err := http.DefaultClient.Do(request) // the header comes with the first event
	require.NoError(t, err)
	defer resp.Body.Close()
	r.setPolicy(strings.ReplaceAll(rules, "listen, effect: allow", "listen, effect: deny"))
	for open := true; open; {
		select {
		case next <- "later":
		case <-ended:
			open = false
		}
	}
	heard, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Contains(t, string(heard), "first")
	require.Equal(t, "the rules do not allow to listen any more", r.lastRecord().Outcome.Reason)
}
