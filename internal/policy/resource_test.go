// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy_test

import (
	"net/url"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dapr-custody/custody/internal/policy"
)

const library = `  - {name: docs, effect: allow, from: [a], to: {server: s, resources: ["file:///docs/*", "file:///odd/../one"]}}
  - {name: no-secrets, effect: deny, from: [a], to: {server: s, resources: ["file:///docs/secret/*"]}}
  - {name: sums, effect: allow, from: [a], to: {server: s, prompts: [summary, "report_*"]}}
  - {name: no-draft, effect: deny, from: [a], to: {server: s, prompts: [report_draft]}}
  - {name: wide, effect: allow, from: [b], to: {server: s, resources: ["file:///docs/*"]}}
  - {name: all, effect: allow, from: [c], to: {server: s, resources: ["*"]}}
  - {name: by-method, effect: allow, from: [d], to: {server: s, methods: [resources/read]}}
  - {name: by-method-not, effect: deny, from: [d], to: {server: s, resources: ["file:///docs/secret/*"]}}
  - {name: named, effect: allow, from: [e], to: {server: s, resources: ["file:///docs/{name}"]}}
  - {name: day, effect: allow, from: [f], to: {server: s, resources: ["file:///docs/*"]}, when: "args.x == 1"}
`

// verdict of a caller's action on server s.
func verdict(set *policy.Set, caller, kind, name string) string {
	d := set.Decide(ask(app(caller), "mcp."+kind, "s", name))
	return strings.TrimSpace(string(d.Effect) + " " + d.Rule)
}

func TestPromptsAndResources(t *testing.T) {
	set := compile(t, doc("p", library))
	for _, c := range []struct{ name, caller, kind, action, want string }{
		{"a prompt by name", "a", "prompts/get", "summary", "allow sums"},
		{"a prompt by pattern", "a", "prompts/get", "report_week", "allow sums"},
		{"another prompt", "a", "prompts/get", "summary2", "deny"},
		{"letters in their case", "a", "prompts/get", "Summary", "deny"},
		{"a prompt denied", "a", "prompts/get", "report_draft", "deny no-draft"},
		{"a prompt of another's", "b", "prompts/get", "summary", "deny"},
		{"a tool named like a prompt", "a", "tools/call", "summary", "deny"},
		{"completing a prompt", "a", "completion/complete", "ref/prompt summary", "allow sums"},
		{"completing another prompt", "a", "completion/complete", "ref/prompt other", "deny"},
		{"completing a denied prompt", "a", "completion/complete", "ref/prompt report_draft", "deny no-draft"},
		{"completing what is neither", "a", "completion/complete", "summary", "deny"},
		{"a resource", "a", "resources/read", "file:///docs/x", "allow docs"},
		{"subscribing", "a", "resources/subscribe", "file:///docs/x", "allow docs"},
		{"unsubscribing", "a", "resources/unsubscribe", "file:///docs/x", "allow docs"},
		{"a resource elsewhere", "a", "resources/read", "file:///etc/x", "deny"},
		{"a resource denied", "a", "resources/read", "file:///docs/secret/x", "deny no-secrets"},
		{"subscribing to one denied", "a", "resources/subscribe", "file:///docs/secret/x", "deny no-secrets"},
		{"listing is not reading", "a", "resources/list", "file:///docs/x", "deny"},
		{"by method", "d", "resources/read", "http://x/y", "allow by-method"},
		{"by method, denied by name", "d", "resources/read", "file:///docs/secret/x", "deny by-method-not"},
		{"by another method", "d", "resources/subscribe", "http://x/y", "deny"},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, verdict(set, c.caller, c.kind, c.action)) })
	}
}

// A server may take each of these for file:///docs/secret/x or for something
// outside of file:///docs.
func TestURIsThatCanBeReadTwoWays(t *testing.T) {
	set := compile(t, doc("p", library))
	for _, uri := range []string{
		"file:///docs/../etc/x", "file:///docs/./secret/x", "file:///docs//secret/x", "file:///docs/%73ecret/x",
		"file:///docs/%2E%2E/etc/x", "file:///docs/%2e%2e/etc/x", "file:///docs/a%2F..%2Fsecret/x", "file:///docs/a/..",
		`file:///docs/a\..\x`, "file:///docs/..;a/x", "file:///docs/%5Cx", "file:///docs/%00", "file:///docs/%zz", "file:///docs/%2",
		"file:///docs/x#y", "file:///docs/%c3%a9", "file:///docs/é", "file:///docs/a b", "FILE:///docs/x", "file://HOST/docs/x",
		"file://../docs/x", "docs/x", ":///docs/x", "file:///docs/%2525", "file:docs/..", "file:///docs//",
		// What the URL Standard takes for another one (WHATWG, URL parsing).
		"file:/docs/x", "file:docs/x", "file://localhost/docs/x", "file://c:/docs/x", "file:///docs/x?'", "file://docs",
		"http:/h/x", "http:h/x", "http:///h/x", "http://h", "http://h?x", "http://h:80/x", "https://h:443/x", "http://h:/x", "http://h:080/x",
		"http://@h/x", "http://u@h/x", "http://u:@h/x", "http://h./x", "http://2852039166/x", "http://0xa9fea9fe/x", "http://169.254.43518/x",
		"http://0251.0376.0251.0376/x", "http://169.254.169.254./x", "http://[0::1]/x", "http://[::ffff:1.2.3.4]/x", "http://%C3%A9/x",
		"db://h:/x", "db://h:080/x", "db://@h/x", "db://u:@h/x", "db://u@v@h/x", "db://[0::1]/x",
	} {
		t.Run(uri, func(t *testing.T) {
			require.NotContains(t, verdict(set, "a", "resources/read", uri), "allow")
			require.Equal(t, "deny", verdict(set, "b", "resources/read", uri), "a pattern lets it through")
			require.Equal(t, "allow all", verdict(set, "c", "resources/read", uri), "who may read all may read it")
			require.Equal(t, "deny by-method-not", verdict(set, "d", "resources/read", uri), "nobody can tell what is denied")
		})
	}
	for _, uri := range []string{
		"file:///docs/x.y", "file:///docs/...", "file:///docs/%C3%A9", "file:///docs/a%20b", "file:///docs/a/b/", "file:///docs/x?y=//../",
	} {
		require.Equal(t, "allow wide", verdict(set, "b", "resources/read", uri), uri)
	}
	addresses := compile(t, doc("p", ruleText("one", "allow", "a", `server: s, resources: ["http*", "db:*", "file://docs/*", "note:*"]`)))
	for _, uri := range []string{
		"http://h/", "http://h/x", "http://h:8080/x", "https://h:80/x", "http://169.254.169.254/x", "http://[::1]:8080/x", "http://1password/x",
		"http://0xyz/x", "db://u:p@h:5432/x", "db://h", "db:/x", "db:x", "file://docs/x", "note:/x", "note:///x",
	} {
		require.Equal(t, "allow one", verdict(addresses, "a", "resources/read", uri), uri)
	}
	alone := compile(t, doc("p", ruleText("one", "allow", "a", `server: s, resources: ["file:///odd/../one"]`)))
	require.Equal(t, "allow one", verdict(alone, "a", "resources/read", "file:///odd/../one"), "a rule may name it")
	require.Equal(t, "deny", verdict(alone, "a", "resources/read", "file:///odd/../two"))
}

func TestTemplates(t *testing.T) {
	set := compile(t, doc("p", library))
	for _, c := range []struct {
		name, caller, template, complete string
		show                             bool
	}{
		{"all of it allowed", "b", "file:///docs/{name}", "allow wide", true},
		{"some of it allowed", "b", "file:///{+path}", "deny", true},
		{"none of it allowed", "b", "file:///etc/{name}", "deny", false},
		{"some of it denied", "a", "file:///docs/{+path}", "deny no-secrets", true},
		{"all of it denied", "a", "file:///docs/secret/{name}", "deny no-secrets", false},
		{"named as it is", "e", "file:///docs/{name}", "allow named", true},
		{"not the one named", "e", "file:///docs/{other}", "deny", false},
		{"braces not closed", "b", "file:///docs/{name", "allow wide", true},
		{"everything", "c", "{+uri}", "allow all", true},
		{"another spelling", "b", "FILE:///docs/{name}", "deny", false},
		{"a way up", "b", "file:///docs/../etc/{name}", "deny", true},
		{"a way up, who may read all", "c", "file:///docs/../etc/{name}", "allow all", true},
		{"a way up, where something is denied", "d", "file:///etc/../docs/secret/{name}", "deny by-method-not", true},
		{"another spelling, where something is denied", "d", "FILE:///docs/secret/{name}", "deny by-method-not", true},
		{"by method", "d", "db://{table}/{row}", "deny", true},
		{"under a condition", "f", "file:///docs/{name}", "deny day", true},
		{"under a condition, elsewhere", "f", "file:///etc/{name}", "deny", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.complete, verdict(set, c.caller, "completion/complete", "ref/resource "+c.template))
			require.Equal(t, c.show, set.MayAllowTemplate(ask(app(c.caller), "mcp.resources/read", "s", c.template)))
		})
	}
	require.False(t, set.MayAllowTemplate(ask(app("c"), "mcp.prompts/get", "s", "{x}")), "only resources have templates")
	require.False(t, (*policy.Set)(nil).MayAllowTemplate(ask(app("c"), "mcp.resources/read", "s", "{x}")))
	who := set.WhoCan(policy.Action{Kind: policy.KindResourceRead, Server: "s", Name: "file:///docs/x"})
	require.Len(t, who, 5, "%v", who)
}

// expansions are all URIs that a template makes with
// holes of up to three letters, the third of which no pattern names.
func expansions(template string, fill []string) []string {
	before, rest, found := strings.Cut(template, "{x}")
	if !found {
		return []string{template}
	}
	var all []string
	for _, end := range expansions(rest, fill) {
		for _, f := range fill {
			all = append(all, before+f+end)
		}
	}
	return all
}

func TestTemplatesEqualTheirExpansions(t *testing.T) {
	fill := []string{""}
	for from := 0; len(fill) < 1+3+9+27; {
		fill, from = append(fill, fill[from]+"a", fill[from]+"b", fill[from]+"c"), from+1
	}
	rapid.Check(t, func(t *rapid.T) {
		pattern := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "*"}), 0, 3).Draw(t, "pattern"), "")
		template := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "{x}"}), 0, 3).Draw(t, "template"), "")
		rule := func(effect string) string {
			return ruleText(effect, effect, "a", `server: s, resources: ["s:`+pattern+`"]`)
		}
		all := ruleText("all", "allow", "a", `server: s, resources: ["*"]`)
		some, every := false, true
		like := regexp.MustCompile(`\A` + strings.ReplaceAll(pattern, "*", ".*") + `\z`)
		for _, text := range expansions(template, fill) {
			matches := like.MatchString(text)
			some, every = some || matches, every && matches
		}
		request := ask(app("a"), "mcp.resources/read", "s", "s:"+template)
		allow, deny := compile2(t, rule("allow")), compile2(t, all+rule("deny"))
		require.Equal(t, some, allow.MayAllowTemplate(request), "%s shows %s", pattern, template)
		require.Equal(t, !every, deny.MayAllowTemplate(request), "%s hides %s", pattern, template)
		request.Action = policy.Action{Kind: policy.KindComplete, Server: "s", Name: policy.RefResource + "s:" + template}
		require.Equal(t, every, allow.Decide(request).Effect == policy.Allow, "%s completes %s", pattern, template)
		require.Equal(t, !some, deny.Decide(request).Effect == policy.Allow, "%s stops %s", pattern, template)
	})
}

func compile2(t *rapid.T, rules string) *policy.Set {
	docs, err := policy.Parse("f.yaml", []byte(doc("p", rules)))
	require.NoError(t, err)
	set, _, err := policy.Compile(docs, local())
	require.NoError(t, err)
	return set
}

func TestDefaults(t *testing.T) {
	set := compile(t, doc("p", ruleText("prompts", "allow", "a", "server: s, prompts: [x]")+
		ruleText("resources", "allow", "b", `server: s, resources: ["x:*"]`)+
		ruleText("no-ping", "deny", "b", "server: s, methods: [ping, notifications/*]")+
		ruleText("paths", "allow", "c", `server: s, paths: ["*"]`)+
		ruleText("tools", "allow", "d, e, f", "server: s, tools: [x]")+
		ruleText("no-tools", "deny", "d", `server: s, tools: ["*"]`)+
		ruleText("bare", "deny", "e", "server: s, tools: [y], resources: [\"*\"], prompts: [\"*\"]")+
		`  - {name: unsure, effect: deny, from: [f], to: {server: s, methods: [ping]}, when: "args.x == 1"}
  - {name: slowly, effect: allow, from: [f], to: {server: s, methods: [tools/list]}, rate: 3/minute}
  - {name: granted, effect: allow, from: [f], to: {server: s, methods: [prompts/list]}, requireGrant: true}
  - {name: useless, effect: allow, from: [f], to: {server: s, methods: [resources/list]}, when: "args.x == 1"}
`))
	for _, c := range []struct{ caller, method, want, rule string }{
		{"a", "ping", policy.ReasonReaches, ""},
		{"b", "tools/list", policy.ReasonReaches, ""},
		{"b", "ping", policy.ReasonDenied, "no-ping"},
		{"b", "notifications/cancelled", policy.ReasonDenied, "no-ping"},
		{"c", "ping", policy.ReasonUnreached, ""},
		{"d", "ping", policy.ReasonUnreached, ""},
		{"e", "ping", policy.ReasonReaches, ""},
		{"e", "resources/list", policy.ReasonReaches, ""},
		{"f", "ping", "the condition of rule unsure could not be evaluated: no such key: x", "unsure"},
		{"f", "initialize", policy.ReasonReaches, ""},
		{"f", "tools/list", policy.ReasonAllowed, "slowly"},
		{"f", "prompts/list", policy.ReasonNoGrant, "granted"},
		{"f", "resources/list", policy.ReasonReaches, ""},
		{"g", "ping", policy.ReasonUnreached, ""},
	} {
		t.Run(c.caller+" "+c.method, func(t *testing.T) {
			d := set.DecideDefault(ask(app(c.caller), "mcp."+c.method, "s", ""))
			require.Equal(t, c.want, d.Reason)
			require.Equal(t, c.rule, d.Rule)
			require.Equal(t, c.want == policy.ReasonReaches || c.want == policy.ReasonAllowed, d.Effect == policy.Allow)
			require.Equal(t, c.rule == "slowly", d.Obligations != nil)
			require.Equal(t, set.Digest(), d.Set)
		})
	}
	require.Equal(t, policy.Deny, set.DecideDefault(ask(app("a"), "ping", "s", "")).Effect, "no kind of action")
	require.Equal(t, policy.Decision{Effect: policy.Deny, Reason: policy.ReasonNoSet},
		(*policy.Set)(nil).DecideDefault(ask(app("a"), "mcp.ping", "s", "")))
}

// The digest names what is in force, so rules without prompts and resources keep
// theirs, and rules with them are told apart.
func TestDigestOfPromptsAndResources(t *testing.T) {
	old := compile(t, doc("p", ruleText("r", "allow", "a", "server: s, tools: [x], methods: [ping], paths: [\"GET /\"]")))
	require.Equal(t, "931a0bb4eddb2e0ff8f7161d90415937ea75a7527b9cb94c8836a04655d19050", old.Digest())
	seen := map[string]string{}
	for _, to := range []string{
		"tools: [x]", "prompts: [x]", "prompts: [x, y]", "resources: [\"x:\"]", "prompts: [\"x:\"]", "tools: [x], prompts: [x]", "methods: [x]",
	} {
		digest := compile(t, doc("p", ruleText("r", "allow", "a", "server: s, "+to))).Digest()
		require.Empty(t, seen[digest], to)
		seen[digest] = to
	}
}

func TestResourceErrors(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"resources: [docs]", `"docs": write a URI with its scheme in lower case, as in "file:///docs/*"`},
		{`resources: ["FILE:///x"]`, `"FILE:///x": write a URI with its scheme in lower case, as in "file:///docs/*"`},
		{"prompts: []", "the list is empty: add an entry or remove the field"},
		{"promts: [x]", `spec.rules[0].to.promts: unknown field: did you mean "prompts"?`},
	} {
		_, err := policy.Parse("f.yaml", []byte(doc("p", ruleText("r", "allow", "a", "server: s, "+c.in))))
		require.ErrorContains(t, err, c.want)
	}
	for _, uri := range []string{"*", "*/x", "file:*", "f*://x"} {
		compile(t, doc("p", ruleText("r", "allow", "a", `server: s, resources: ["`+uri+`"]`)))
	}
}

// What a pattern lets through stays below its folder for a server that decodes and
// cleans the path, and is not below one that is denied.
func FuzzResourceURI(f *testing.F) {
	for _, uri := range []string{
		"file:///docs/a", "file:///docs/../a", "file:///docs/%2e%2e/a", "file:///docs/%73ecret/a", "file:///docs//secret/a",
		"file:///docs/./secret/a", "file:///docs/x?y#z", "FILE:///docs/a", "file:///docs/;/..;x/a", "file:///docs/%C3%A9",
	} {
		f.Add(uri)
	}
	set := compile(f, doc("p", library))
	f.Fuzz(func(t *testing.T, uri string) {
		if verdict(set, "a", "resources/read", uri) != "allow docs" || uri == "file:///odd/../one" {
			return
		}
		parsed, err := url.Parse(uri)
		require.NoError(t, err)
		clean := path.Clean(parsed.Path)
		require.True(t, strings.HasPrefix(clean+"/", "/docs/"), "%q is %q", uri, clean)
		require.False(t, strings.HasPrefix(clean, "/docs/secret/"), "%q is %q", uri, clean)
		require.Equal(t, "file", parsed.Scheme)
		require.Empty(t, parsed.Host)
	})
}
