// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dapr-custody/custody/internal/policy"
)

// obliging writes a rule for app a at server s with more keys behind it.
func obliging(name, effect, tools, more string) string {
	return "  - {name: " + name + ", effect: " + effect + ", from: [a], to: {server: s, tools: [" + tools + "]}" + more + "}\n"
}

func TestObligations(t *testing.T) {
	set := compile(t, doc("p",
		obliging("rated", "allow", "get, put", ", rate: 30/minute, maxResultBytes: 1000")+
			obliging("free", "allow", "get, list", "")+
			obliging("small", "allow", "put", ", maxResultBytes: 10, when: size(args) == 0")+
			obliging("unsure", "allow", "list", ", rate: 1/hour, when: args.missing == 1")+
			obliging("granted", "allow", "pay, list_all", ", requireGrant: true")+
			obliging("pay", "allow", "pay", "")+
			obliging("never", "deny", "list_all", "")))
	minute := policy.Rate{Policy: "p", Rule: "rated", Count: 30, Per: time.Minute}
	hour := policy.Rate{Policy: "p", Rule: "unsure", Count: 1, Per: time.Hour}
	tests := []struct {
		name, tool, args string
		want             string // effect, rule, reason
		oblige           *policy.Obligations
	}{
		{"a rule without obligations lifts none", "get", "{}", "allow rated rule allows it", &policy.Obligations{Rates: []policy.Rate{minute}, MaxResultBytes: 1000}},
		{"the smallest bound holds", "put", "{}", "allow rated rule allows it", &policy.Obligations{Rates: []policy.Rate{minute}, MaxResultBytes: 10}},
		{"a condition that is false obliges to nothing", "put", `{"x":1}`, "allow rated rule allows it", &policy.Obligations{Rates: []policy.Rate{minute}, MaxResultBytes: 1000}},
		{"a condition that cannot be evaluated obliges", "list", "{}", "allow free rule allows it", &policy.Obligations{Rates: []policy.Rate{hour}}},
		{"the same condition evaluated to false does not", "list", `{"missing":2}`, "allow free rule allows it", nil},
		{"a grant is required though another rule wants none", "pay", "{}", "deny granted rule allows it with a grant only, and there is none", nil},
		{"a denial is a denial first", "list_all", "{}", "deny never rule denies it", nil},
		{"what no rule allows has no obligations", "other", "{}", "deny  no rule allows it", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := tool(app("a"), "s", tt.tool)
			r.Facts = &policy.Facts{Arguments: []byte(tt.args)}
			got := set.Decide(r)
			require.Equal(t, tt.want, fmt.Sprintf("%s %s %s", got.Effect, got.Rule, got.Reason))
			require.Equal(t, tt.oblige, got.Obligations)
			require.Nil(t, got.Shadow)
		})
	}
	require.True(t, set.MayAllow(tool(app("a"), "s", "pay")), "a grant could come")
}

func TestObligationsAreTold(t *testing.T) {
	set := compile(t, doc("p", obliging("r", "allow", "get", ", maxResultBytes: 7, requireGrant: true, rate: 2/second")+obliging("q", "allow", "get", "")))
	require.Equal(t, []string{"rate: 2/second", "maxResultBytes: 7", "requireGrant: true"}, set.Rules()[0].Obligations)
	require.Empty(t, set.Rules()[1].Obligations)
}

// Every obligation is part of what the digest stands for.
func TestObligationsInDigest(t *testing.T) {
	seen := map[string]string{}
	for _, more := range []string{
		"", ", rate: 1/hour", ", rate: 2/hour", ", rate: 1/minute", ", maxResultBytes: 1", ", maxResultBytes: 2",
		", requireGrant: true", ", rate: 1/hour, requireGrant: true", ", when: \"true\"", ", when: \"true\", rate: 1/hour",
	} {
		digest := compile(t, doc("p", obliging("r", "allow", "get", more))).Digest()
		require.NotContains(t, seen, digest, "%q and %q", more, seen[digest])
		seen[digest] = more
	}
}

const rateBounds = `write a number from 1 to 1000000, a slash, and second, minute or hour, as in 30/minute`

// obligationErrors are obligations that are refused, and what is said of them.
var obligationErrors = []struct{ effect, in, want string }{
	{"allow", "rate: 30", `want text: put it in quotes, "30"`},
	{"allow", "rate: 0/minute", `"0/minute" is no rate: ` + rateBounds},
	{"allow", "rate: -1/minute", `"-1/minute" is no rate: ` + rateBounds},
	{"allow", "rate: +1/minute", `"+1/minute" is no rate: ` + rateBounds},
	{"allow", "rate: 01/minute", `"01/minute" is no rate: ` + rateBounds},
	{"allow", "rate: 1000001/hour", `"1000001/hour" is no rate: ` + rateBounds},
	{"allow", "rate: 1/day", `"1/day" is no rate: ` + rateBounds},
	{"allow", "rate: 1/Minute", `"1/Minute" is no rate: ` + rateBounds},
	{"allow", "rate: 1 / minute", `"1 / minute" is no rate: ` + rateBounds},
	{"allow", "rate: [1/minute]", "want one text, not a list or mapping"},
	{"allow", "maxResultBytes: 0", "want a whole number from 1 to 1073741824"},
	{"allow", "maxResultBytes: 1073741825", "want a whole number from 1 to 1073741824"},
	{"allow", "maxResultBytes: 1.5", "want a whole number from 1 to 1073741824"},
	{"allow", `maxResultBytes: "10"`, "want a whole number from 1 to 1073741824"},
	{"allow", "maxResultBytes: 99999999999999999999", "want a whole number from 1 to 1073741824"},
	{"allow", "requireGrant: false", "want true: write true, or remove the field"},
	{"allow", "requireGrant: yes", "want true: write true, or remove the field"},
	{"allow", `requireGrant: "true"`, "want true: write true, or remove the field"},
	{"allow", "rates: 1/minute", `unknown field: did you mean "rate"?`},
	{"deny", "rate: 1/minute", "a rule that denies carries no obligation: remove it"},
	{"deny", "requireGrant: true", "a rule that denies carries no obligation: remove it"},
}

func TestObligationErrors(t *testing.T) {
	for _, tt := range obligationErrors {
		t.Run(tt.effect+" "+tt.in, func(t *testing.T) {
			_, err := policy.Parse("f.yaml", []byte(doc("p", obliging("r", tt.effect, "get", ", "+tt.in))))
			field, _, _ := strings.Cut(tt.in, ":")
			require.Contains(t, problem(t, err), "spec.rules[0]."+field+": "+tt.want)
		})
	}
}

func TestShadow(t *testing.T) {
	set := compile(t,
		doc("live", obliging("get", "allow", "get, put", "")+obliging("pay", "deny", "pay", "")),
		shadow("trial", obliging("list", "allow", "list", "")+obliging("put", "deny", "put", "")+
			obliging("get", "allow", "get", ", maxResultBytes: 5")+obliging("pay", "allow", "pay", "")))
	tests := []struct{ tool, want, would string }{
		{"list", "deny ", "allow trial/list"},
		{"put", "allow live/get", "deny trial/put"},
		{"get", "allow live/get", "allow live/get max 5"},
		{"pay", "deny live/pay", ""},
		{"other", "deny ", ""},
	}
	for _, tt := range tests {
		t.Run(tt.tool, func(t *testing.T) {
			got := set.Decide(tool(app("a"), "s", tt.tool))
			require.Equal(t, tt.want, decided(got))
			require.Nil(t, got.Obligations)
			if tt.would == "" {
				require.Nil(t, got.Shadow)
				return
			}
			require.Equal(t, tt.would, decided(*got.Shadow))
			require.Equal(t, set.Digest(), got.Shadow.Set)
		})
	}
	require.False(t, set.MayAllow(tool(app("a"), "s", "list")), "shown by a rule in shadow mode")
	require.Equal(t, []policy.Mode{policy.Enforce, policy.Enforce, policy.Shadow, policy.Shadow, policy.Shadow, policy.Shadow}, modes(set))
	grants := set.WhoCan(policy.Action{Kind: policy.KindToolCall, Server: "s", Name: "put"})
	require.Len(t, grants, 1)
	require.Empty(t, grants[0].Except, "a denial in shadow mode takes nobody out")
	require.Empty(t, set.WhoCan(policy.Action{Kind: policy.KindToolCall, Server: "s", Name: "list"}))
}

func decided(d policy.Decision) string {
	text := string(d.Effect) + " "
	if d.Rule != "" {
		text += d.Policy + "/" + d.Rule
	}
	if d.Obligations != nil && d.Obligations.MaxResultBytes > 0 {
		text += fmt.Sprintf(" max %d", d.Obligations.MaxResultBytes)
	}
	return text
}

func modes(set *policy.Set) []policy.Mode {
	var found []policy.Mode
	for _, rule := range set.Rules() {
		found = append(found, rule.Mode)
	}
	return found
}

func shadow(name, rules string) string {
	return strings.Replace(doc(name, rules), "spec:\n", "spec:\n  mode: shadow\n", 1)
}

// Nobody gets to a server by a rule in shadow mode.
func TestShadowReachesNothing(t *testing.T) {
	rules := obliging("get", "allow", "get", "")
	require.False(t, compile(t, shadow("p", rules)).Reaches(app("a"), "s"))
	require.True(t, compile(t, doc("p", rules)).Reaches(app("a"), "s"))
	closed := obliging("none", "deny", `"*"`, "")
	require.True(t, compile(t, doc("p", rules), shadow("q", closed)).Reaches(app("a"), "s"))
	require.False(t, compile(t, doc("p", rules), doc("q", closed)).Reaches(app("a"), "s"))
}

func TestModeErrors(t *testing.T) {
	for in, want := range map[string]string{
		"Shadow": `"Shadow" is no mode: did you mean "shadow"?`,
		"audit":  `"audit" is no mode: write enforce or shadow`,
		"[]":     "want one text, not a list or mapping",
		"true":   `want text: put it in quotes, "true"`,
	} {
		text := strings.Replace(shadow("p", obliging("r", "allow", "get", "")), "mode: shadow", "mode: "+in, 1)
		_, err := policy.Parse("f.yaml", []byte(text))
		require.Equal(t, "6:9: spec.mode: "+want, problem(t, err))
	}
}

func TestModeInDigest(t *testing.T) {
	rules := obliging("get", "allow", "get", "")
	enforced := compile(t, doc("p", rules))
	require.NotEqual(t, enforced.Digest(), compile(t, shadow("p", rules)).Digest())
	written := strings.Replace(shadow("p", rules), "mode: shadow", "mode: enforce", 1)
	require.Equal(t, enforced.Digest(), compile(t, written).Digest(), "enforce is what is meant where nothing is said")
}

// A rule that is tried in shadow mode is no reason to remove the one that decides.
func TestShadowRepeatsNoRule(t *testing.T) {
	rules := obliging("get", "allow", "get", "")
	_, warnings, err := policy.Compile(parse(t, shadow("a", rules), doc("b", rules)), local())
	require.NoError(t, err)
	require.Empty(t, warnings)
}

// obliged is a model of a rule with obligations, in a policy that may be in shadow mode.
type obliged struct {
	model

	duty   string // the key and value of an obligation, empty for none
	shadow bool
}

func (o obliged) yaml(name string) string {
	text := o.model.yaml(name)
	if o.duty == "" {
		return text
	}
	return strings.TrimSuffix(text, "}\n") + ", " + o.duty + "}\n"
}

// duties decides by reading every rule; with says which rules count.
func duties(rules []obliged, r policy.Request, with func(obliged) bool) string {
	plain := make([]model, len(rules))
	var asked []string
	grant := ""
	for i, o := range rules {
		plain[i] = o.model
		if !with(o) {
			plain[i].from = nil
			continue
		}
		if o.effect == "deny" || o.duty == "" || !o.matches(r) || o.when == "false" {
			continue
		}
		if o.duty == "requireGrant: true" && grant == "" {
			grant = fmt.Sprintf("r%d", i)
		}
		asked = append(asked, o.duty)
	}
	effect, rule := reference(plain, r)
	switch {
	case effect == policy.Allow && grant != "":
		return "deny " + grant
	case effect == policy.Allow:
		return "allow " + rule + " " + told(asked)
	}
	return "deny " + rule
}

// told sums up obligations as the model writes them: all rates in the order of
// the rules, and the smallest bound.
func told(asked []string) string {
	var rates []string
	smallest := ""
	for _, duty := range asked {
		if rate, ok := strings.CutPrefix(duty, "rate: "); ok {
			rates = append(rates, rate)
		}
		if bytes, ok := strings.CutPrefix(duty, "maxResultBytes: "); ok && (smallest == "" || bytes < smallest) {
			smallest = bytes
		}
	}
	return strings.Join(rates, ",") + " " + smallest
}

func decisionOf(d policy.Decision) string {
	if d.Effect != policy.Allow {
		return "deny " + d.Rule
	}
	var rates []string
	smallest := ""
	if d.Obligations != nil {
		for _, rate := range d.Obligations.Rates {
			rates = append(rates, rate.String())
		}
		if d.Obligations.MaxResultBytes > 0 {
			smallest = fmt.Sprint(d.Obligations.MaxResultBytes)
		}
	}
	return "allow " + d.Rule + " " + strings.Join(rates, ",") + " " + smallest
}

func TestObligationsAndShadowEqualReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := make([]obliged, rapid.IntRange(1, 10).Draw(t, "rules"))
		first := rapid.IntRange(0, len(rules)).Draw(t, "first in shadow mode")
		texts := make([]strings.Builder, 2)
		for i := range rules {
			o := obliged{model: drawModel(t, i), shadow: i >= first}
			if o.effect == "allow" {
				o.duty = rapid.SampledFrom([]string{
					"", "", "rate: 1/hour", "rate: 3/second", "maxResultBytes: 5",
					"maxResultBytes: 7", "requireGrant: true",
				}).Draw(t, "duty")
			}
			rules[i] = o
			texts[min(1, max(0, i-first+1))].WriteString(o.yaml(fmt.Sprintf("r%d", i)))
		}
		var docs []policy.Document
		for i, write := range []func(string, string) string{doc, shadow} {
			if texts[i].Len() > 0 {
				parsed, err := policy.Parse("f.yaml", []byte(write([]string{"p", "q"}[i], texts[i].String())))
				require.NoError(t, err)
				docs = append(docs, parsed...)
			}
		}
		set, _, err := policy.Compile(docs, local())
		require.NoError(t, err)
		all, _, err := policy.Compile(policy.Enforced(docs), local())
		require.NoError(t, err)
		for range 20 {
			r := drawRequest(t)
			is := duties(rules, r, func(o obliged) bool { return !o.shadow })
			would := duties(rules, r, func(obliged) bool { return true })
			got := set.Decide(r)
			require.Equal(t, is, decisionOf(got), "%v", r)
			require.Equal(t, would, decisionOf(all.Decide(r)), "%v", r)
			if got.Shadow == nil {
				require.Equal(t, effectAndDuties(is), effectAndDuties(would), "%v", r)
				continue
			}
			require.Equal(t, would, decisionOf(*got.Shadow), "%v", r)
			require.NotEqual(t, is, would, "%v", r)
		}
	})
}

// effectAndDuties leaves the rule out.
func effectAndDuties(text string) string {
	effect, rest, _ := strings.Cut(text, " ")
	_, asked, _ := strings.Cut(rest, " ")
	return effect + " " + asked
}

// The words are those of what holds, whichever rules ask it.
func TestObligationsInWords(t *testing.T) {
	words := func(duties ...string) []string {
		text := ""
		for i, duty := range duties {
			text += obliging(fmt.Sprintf("r%d", i), "allow", "get", ", "+duty)
		}
		return compile(t, doc("p", text)).Decide(tool(app("a"), "s", "get")).Obligations.Words()
	}
	want := []string{"rate: 5/second", "rate: 9/second", "rate: 1/hour", "maxResultBytes: 3", "redact: {detectors: [card, email]}"}
	require.Equal(t, want, words("maxResultBytes: 3", "rate: 1/hour", "rate: 9/second", "rate: 5/second", "redact: {detectors: [email, card]}"))
	require.Equal(t, want, words("redact: {detectors: [card]}", "rate: 5/second", "rate: 1/hour", "redact: {detectors: [email, card]}",
		"maxResultBytes: 4", "rate: 9/second", "maxResultBytes: 3", "rate: 5/second"))
	require.NotEqual(t, words("rate: 60/minute"), words("rate: 1/second"), "they do not count alike")
	require.NotEqual(t, words("redact: {detectors: [card]}"), words("redact: {detectors: [card], binary: pass}"))
	require.Nil(t, (*policy.Obligations)(nil).Words())
	require.Nil(t, (&policy.Obligations{}).Words())
}

func TestRedactObligation(t *testing.T) {
	set := compile(t, doc("p",
		obliging("mails", "allow", "get, list", `, redact: {detectors: [email, card]}`)+
			obliging("pins", "allow", "get", `, redact: {detectors: [card], paths: ["$..pin"], binary: pass}`)))
	for name, want := range map[string][]string{"get": {"$..pin"}, "list": nil} {
		d := set.Decide(tool(app("a"), "s", name))
		require.Equal(t, policy.Allow, d.Effect)
		spec := d.Obligations.Redact.Spec()
		require.Equal(t, []string{"card", "email"}, spec.Detectors, name)
		require.Equal(t, want, spec.Paths, name)
		require.NotEqual(t, "pass", string(spec.Binary), "binary passes only where all rules let it")
	}
	require.Equal(t, []string{`redact: {detectors: [card], paths: ["$..pin"], binary: pass}`}, set.Rules()[1].Obligations)
}

func TestRedactErrors(t *testing.T) {
	for in, want := range map[string]string{
		"redact: {}":                                  "spec.rules[0].redact: ",
		"redact: {detectors: []}":                     "so nothing would be redacted",
		"redact: {detectors: [emial]}":                `email`,
		"redact: {paths: [pin]}":                      "spec.rules[0].redact: ",
		"redact: {binary: pass}":                      "spec.rules[0].redact: ",
		"redact: {detektors: [email]}":                `did you mean "detectors"?`,
		"redact: [email]":                             "want a mapping with the keys detectors, paths, binary",
		"redact: {detectors: [email], binary: maybe}": "spec.rules[0].redact: ",
	} {
		_, err := policy.Parse("f.yaml", []byte(doc("p", obliging("r", "allow", "get", ", "+in))))
		require.Contains(t, problem(t, err), want, in)
	}
	_, err := policy.Parse("f.yaml", []byte(doc("p", "  - {name: r, effect: allow, from: [a], to: {server: s, paths: [\"GET /a\"]}, redact: {detectors: [email]}}\n")))
	require.Contains(t, problem(t, err), "nothing can be redacted in plain HTTP")
}
