// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dapr-custody/custody/internal/policy"
)

// model is a rule as the reference sees it.
type model struct {
	effect                string
	from                  []string
	server                string
	tools, methods, paths []string
	prompts, resources    []string
	// when is "true", "false" or an error, empty for none.
	when string
}

// erring is a condition that cannot be evaluated without arguments.
const erring = "args.missing == 1"

func quoted(list []string) string { return `"` + strings.Join(list, `", "`) + `"` }

func (m model) yaml(name string) string {
	to := `server: "` + m.server + `"`
	for key, list := range map[string][]string{
		"tools": m.tools, "methods": m.methods, "paths": m.paths, "prompts": m.prompts, "resources": m.resources,
	} {
		if len(list) > 0 {
			to += ", " + key + ": [" + quoted(list) + "]"
		}
	}
	text := ruleText(name, m.effect, quoted(m.from), to)
	if m.when == "" {
		return text
	}
	return strings.TrimSuffix(text, "}\n") + `, when: "` + m.when + `"}` + "\n"
}

// wild matches text with pattern by way of a regular expression in which `*`
// stands for star.
func wild(pattern, star, text string) bool {
	quoted := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, star)
	return regexp.MustCompile(`\A(?s:` + quoted + `)\z`).MatchString(text)
}

func (m model) names(caller spiffeid.ID, server string) bool {
	return (m.server == "*" || m.server == server) && slices.ContainsFunc(m.from, func(f string) bool {
		if !strings.Contains(f, ":") {
			f = "spiffe://custody.local/ns/default/" + f
		}
		return wild(f, `[^/]+`, caller.String())
	})
}

func (m model) matches(r policy.Request) bool {
	some := func(list []string, name string) bool {
		return slices.ContainsFunc(list, func(p string) bool { return wild(p, `.*`, name) })
	}
	if !m.names(r.Caller, r.Action.Server) {
		return false
	}
	name := r.Action.Name
	switch r.Action.Kind {
	case policy.KindHTTP:
		return some(m.paths, name)
	case policy.KindToolCall:
		return some(m.tools, name)
	case "mcp.prompts/get":
		if some(m.prompts, name) {
			return true
		}
	case "mcp.resources/read", "mcp.resources/subscribe", "mcp.resources/unsubscribe":
		if some(m.resources, name) {
			return true
		}
	case "mcp.completion/complete":
		prompt, ofPrompt := strings.CutPrefix(name, "ref/prompt ")
		uri, ofResource := strings.CutPrefix(name, "ref/resource ")
		if ofPrompt && some(m.prompts, prompt) || ofResource && some(m.resources, uri) {
			return true
		}
	}
	return some(m.methods, strings.TrimPrefix(r.Action.Kind, "mcp."))
}

// reference decides by reading every rule.
func reference(rules []model, r policy.Request) (effect policy.Effect, rule string) {
	effect = policy.Deny
	failed := ""
	for i, m := range rules {
		name := fmt.Sprintf("r%d", i)
		switch {
		case !m.matches(r) || m.when == "false":
		case m.effect == "deny":
			return policy.Deny, name
		case m.when == erring && failed == "":
			failed = name
		case m.when != erring && effect == policy.Deny:
			effect, rule = policy.Allow, name
		}
	}
	if effect == policy.Deny {
		return policy.Deny, failed
	}
	return effect, rule
}

func referenceMayAllow(rules []model, r policy.Request) bool {
	may := false
	for _, m := range rules {
		if m.matches(r) {
			if m.effect == "deny" && m.when == "" {
				return false
			}
			may = may || m.effect == "allow"
		}
	}
	return may
}

func referenceDefault(rules []model, r policy.Request) policy.Effect {
	if !referenceReaches(rules, r.Caller, r.Action.Server) {
		return policy.Deny
	}
	for _, m := range rules {
		if m.effect == "deny" && m.matches(r) && m.when != "false" {
			return policy.Deny
		}
	}
	return policy.Allow
}

func referenceReaches(rules []model, caller spiffeid.ID, server string) bool {
	opened := false
	for _, m := range rules {
		if !m.names(caller, server) {
			continue
		}
		if m.effect == "deny" && m.when == "" && slices.Contains(m.tools, "*") {
			return false
		}
		opened = opened || m.effect == "allow" && len(m.tools)+len(m.methods)+len(m.prompts)+len(m.resources) > 0
	}
	return opened
}

func drawModel(t *rapid.T, i int) model {
	pick := func(what string, from ...string) []string {
		return rapid.SliceOfN(rapid.SampledFrom(from), 1, 3).Draw(t, fmt.Sprintf("%s%d", what, i))
	}
	m := model{
		effect: rapid.SampledFrom([]string{"allow", "allow", "deny"}).Draw(t, "effect"),
		from: pick("from", "a", "b", "spiffe://custody.local/ns/*/a", "spiffe://custody.local/ns/*/*",
			"spiffe://custody.local/*/default/b", "spiffe://custody.local/ns/prod/a", "spiffe://other.local/ns/default/a",
			"spiffe://custody.local/*", "spiffe://custody.local/x/y/z/w"),
		server: rapid.SampledFrom([]string{"s", "t", "*"}).Draw(t, "server"),
	}
	m.when = rapid.SampledFrom([]string{"", "", "", "true", "false", erring}).Draw(t, "when")
	groups := rapid.IntRange(1, 31).Draw(t, "groups")
	if groups&1 != 0 {
		m.tools = pick("tools", "get", "get_x", "get_*", "*_x", "*", "g*t*x", "put")
	}
	if groups&2 != 0 {
		m.methods = pick("methods", "resources/read", "resources/*", "*", "ping", "prompts/get", "completion/complete")
	}
	if groups&4 != 0 {
		m.paths = pick("paths", "GET /a", "POST /a", "*")
	}
	if groups&8 != 0 {
		m.prompts = pick("prompts", "sum", "sum_*", "*")
	}
	if groups&16 != 0 {
		m.resources = pick("resources", "file:///a", "file:///*", "*", "file:///b*")
	}
	return m
}

func drawRequest(t *rapid.T) policy.Request {
	caller := rapid.SampledFrom([]string{
		"spiffe://custody.local/ns/default/a", "spiffe://custody.local/ns/default/b", "spiffe://custody.local/ns/prod/a",
		"spiffe://other.local/ns/default/a", "spiffe://custody.local/x", "spiffe://custody.local/x/y/z/w", "spiffe://custody.local",
	}).Draw(t, "caller")
	action := rapid.SampledFrom([]policy.Action{
		{Kind: "mcp.tools/call", Name: "get"},
		{Kind: "mcp.tools/call", Name: "get_x"},
		{Kind: "mcp.tools/call", Name: "put"},
		{Kind: "mcp.tools/call", Name: "other"},
		{Kind: "mcp.resources/read", Name: "file:///a"},
		{Kind: "mcp.resources/read", Name: "file:///bb"},
		{Kind: "mcp.resources/subscribe", Name: "file:///a"},
		{Kind: "mcp.resources/unsubscribe", Name: "db:c"},
		{Kind: "mcp.resources/list"},
		{Kind: "mcp.prompts/get", Name: "sum"},
		{Kind: "mcp.prompts/get", Name: "sum_x"},
		{Kind: "mcp.completion/complete", Name: "ref/prompt sum"},
		{Kind: "mcp.completion/complete", Name: "ref/resource file:///a"},
		{Kind: "mcp.completion/complete", Name: "sum"},
		{Kind: "mcp.ping"},
		{Kind: "http.request", Name: "GET /a"},
		{Kind: "http.request", Name: "GET /b"},
	}).Draw(t, "action")
	action.Server = rapid.SampledFrom([]string{"s", "t", "u"}).Draw(t, "server")
	return policy.Request{Caller: spiffeid.RequireFromString(caller), Action: action}
}

func TestDecideEqualsReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := make([]model, rapid.IntRange(1, 12).Draw(t, "rules"))
		var texts strings.Builder
		for i := range rules {
			rules[i] = drawModel(t, i)
			texts.WriteString(rules[i].yaml(fmt.Sprintf("r%d", i)))
		}
		docs, err := policy.Parse("f.yaml", []byte(doc("p", texts.String())))
		require.NoError(t, err)
		set, _, err := policy.Compile(docs, local())
		require.NoError(t, err)
		for range 20 {
			r := drawRequest(t)
			effect, rule := reference(rules, r)
			got := set.Decide(r)
			require.Equal(t, []string{string(effect), rule}, []string{string(got.Effect), got.Rule}, "%v", r)
			require.Equal(t, referenceMayAllow(rules, r), set.MayAllow(r), "%v", r)
			require.Equal(t, referenceDefault(rules, r), set.DecideDefault(r).Effect, "%v", r)
			require.Equal(t, referenceReaches(rules, r.Caller, r.Action.Server), set.Reaches(r.Caller, r.Action.Server), "%v", r)
		}
	})
}

func TestAddingADenyNeverOpens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var texts strings.Builder
		for i := range rapid.IntRange(1, 8).Draw(t, "rules") {
			m := drawModel(t, i)
			texts.WriteString(m.yaml(fmt.Sprintf("r%d", i)))
		}
		deny := drawModel(t, 99)
		deny.effect = "deny"
		sets := make([]*policy.Set, 2)
		for i, text := range []string{texts.String(), texts.String() + deny.yaml("more")} {
			docs, err := policy.Parse("f.yaml", []byte(doc("p", text)))
			require.NoError(t, err)
			sets[i], _, err = policy.Compile(docs, local())
			require.NoError(t, err)
		}
		for range 20 {
			r := drawRequest(t)
			before, after := sets[0].Decide(r).Effect, sets[1].Decide(r).Effect
			require.Equal(t, before == policy.Allow && (deny.when == "false" || !deny.matches(r)), after == policy.Allow, "%v", r)
		}
	})
}
