// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policy"
)

// withRule puts one rule, given in block style from line 7 on, into a policy.
func withRule(lines ...string) string {
	return doc("p", "  - "+strings.Join(lines, "\n    ")+"\n")
}

const (
	goodName   = "name: r"
	goodEffect = "effect: allow"
	goodFrom   = "from: [a]"
	goodTo     = "to: {server: s, tools: [t]}"
)

func withFrom(entry string) string {
	return withRule(goodName, goodEffect, "from: ["+entry+"]", goodTo)
}
func withTo(to string) string { return withRule(goodName, goodEffect, goodFrom, "to: {"+to+"}") }

// parseErrors are files that are refused, and what is said of them.
var parseErrors = []struct{ name, in, want string }{
	{"empty file", "", "1:1: the file holds no policy: add a document with kind: AccessPolicy, or remove the file"},
	{"only comments", "# later\n---\n# still\n", "1:1: the file holds no policy: add a document with kind: AccessPolicy, or remove the file"},
	{"not a mapping", "- a\n", "1:1: want a mapping with the keys apiVersion, kind, metadata, spec"},
	{"tab", header + "metadata:\n\tname: p\n", "4:1: a tab is used for indentation, which YAML does not allow: use spaces"},
	{"tab after spaces", withRule(goodName, " \teffect: allow"), "8:6: a tab is used for indentation, which YAML does not allow: use spaces"},
	{"not UTF-8", header + "# \xff\n", "3:1: the file is not UTF-8 text: save it as UTF-8"},
	{"UTF-16", "\xff\xfea\x00", "1:1: the file is not UTF-8 text: save it as UTF-8"},
	{"syntax", header + "metadata: [\n", "3: not valid YAML: did not find expected node content, here or in the block that begins here: check indentation, brackets and quotes"},
	{"colon in text", header + "metadata: a: b\n", "3: not valid YAML: mapping values are not allowed in this context: put text that holds a colon in quotes, and check the indentation"},
	{"wrong apiVersion", strings.Replace(doc("p", ""), "v1alpha1", "v1", 1), `1:13: apiVersion: "custody.dev/v1" is not supported: write custody.dev/v1alpha1`},
	{"wrong kind", strings.Replace(doc("p", ""), "AccessPolicy", "Configuration", 1), `2:7: kind: "Configuration" is not supported: write AccessPolicy`},
	{"no kind", "apiVersion: custody.dev/v1alpha1\nmetadata: {name: p}\nspec: {rules: [{}]}\n", "1:1: kind: is missing: add it"},
	{"no metadata", header + "spec: {rules: [{}]}\n", "1:1: metadata: is missing: add it"},
	{"no name", header + "metadata: {}\nspec: {rules: [{}]}\n", "3:11: metadata.name: is missing: add it"},
	{"empty name", strings.Replace(withTo("server: s, tools: [t]"), "name: p", "name: \"\"", 1), "4:9: metadata.name: is empty: give a value"},
	{"name is a number", strings.Replace(withTo("server: s, tools: [t]"), "name: p", "name: 12", 1), `4:9: metadata.name: want text: put it in quotes, "12"`},
	{"illegal name", strings.Replace(withTo("server: s, tools: [t]"), "name: p", "name: Orders", 1), `4:9: metadata.name: "Orders" is not a legal name: use lower case letters, digits, dashes and dots, with a letter or digit at both ends, 253 at most`},
	{"unknown field", strings.Replace(withTo("server: s, tools: [t]"), "spec:", "specs:", 1), `5:1: specs: unknown field: did you mean "spec"?`},
	{"unknown field far off", withRule(goodName, goodEffect, goodFrom, goodTo, "conditions: [x]"), "11:5: spec.rules[0].conditions: unknown field: want one of name, effect, from, to, when, rate, maxResultBytes, maxRows, redact, requireGrant"},
	{"unknown field that cannot be printed", withRule(goodName, goodEffect, goodFrom, goodTo, `"\e[2J\n": x`), "11:5: spec.rules[0].\"\\x1b[2J\\n\": unknown field: want one of name, effect, from, to, when, rate, maxResultBytes, maxRows, redact, requireGrant"},
	{"tab on a blank line", withTo("server: s, tools: [t]") + "\t\n", "11:1: a tab is used for indentation, which YAML does not allow: use spaces"},
	{"unknown field in a rule", withRule(goodName, "Effect: allow", goodFrom, goodTo), `8:5: spec.rules[0].Effect: unknown field: did you mean "effect"?`},
	{"key twice", withRule(goodName, goodEffect, "effect: deny", goodFrom, goodTo), "9:5: spec.rules[0].effect: is given twice, the first one near line 8: remove one"},
	{"anchor", withRule(goodName, goodEffect, "from: &x [a]", goodTo), "9:11: spec.rules[0].from: anchors (&x) are not supported: remove it"},
	{"alias", withRule(goodName, goodEffect, "from: [a]", "to: *x"), "10: not valid YAML: aliases (*x) are not supported: write the value out"},
	{"alias of an anchor", withRule("name: &x r", goodEffect, goodFrom, "to: *x"), "7:11: spec.rules[0].name: anchors (&x) are not supported: remove it"},
	{"tag", withRule("name: !!str 12", goodEffect, goodFrom, goodTo), "7:11: spec.rules[0].name: tags (!!str) are not supported: remove it"},
	{"complex key", withRule(goodName, "? [a, b]\n    : c", goodEffect, goodFrom, goodTo), "8:7: spec.rules[0]: a key must be plain text: want one of name, effect, from, to, when, rate, maxResultBytes, maxRows, redact, requireGrant"},
	{"rules not a list", strings.Replace(doc("p", ""), "rules:", "rules: none", 1), `6:10: spec.rules: want a list: write [none], or one "- " line for each entry`},
	{"rules empty", strings.Replace(doc("p", ""), "rules:", "rules: []", 1), "6:10: spec.rules: the list is empty: add an entry or remove the field"},
	{"rules null", doc("p", ""), `6:9: spec.rules: want a list: write [...], or one "- " line for each entry`},
	{"rule not a mapping", doc("p", "  - deny\n"), "7:5: spec.rules[0]: want a mapping with the keys name, effect, from, to, when, rate, maxResultBytes, maxRows, redact, requireGrant"},
	{"rule without effect", withRule(goodName, goodFrom, goodTo), "7:5: spec.rules[0].effect: is missing: add it"},
	{"effect misspelled", withRule(goodName, "effect: alow", goodFrom, goodTo), `8:13: spec.rules[0].effect: "alow" is no effect: did you mean "allow"?`},
	{"effect in capitals", withRule(goodName, "effect: Deny", goodFrom, goodTo), `8:13: spec.rules[0].effect: "Deny" is no effect: did you mean "deny"?`},
	{"effect unknown", withRule(goodName, "effect: permit", goodFrom, goodTo), `8:13: spec.rules[0].effect: "permit" is no effect: write allow or deny`},
	{"effect a boolean", withRule(goodName, "effect: true", goodFrom, goodTo), `8:13: spec.rules[0].effect: want text: put it in quotes, "true"`},
	{"rule name twice", doc("p", strings.Repeat(ruleText("r", "allow", "a", "server: s, tools: [t]"), 2)), `8:5: spec.rules[1].name: rule name "r" is already used on line 7: choose another`},
	{"illegal rule name", withRule("name: a b", goodEffect, goodFrom, goodTo), `7:11: spec.rules[0].name: "a b" is not a legal name: use letters, digits, dashes, dots and underscores, 128 at most`},
	{"from empty", withFrom(""), "9:11: spec.rules[0].from: the list is empty: add an entry or remove the field"},
	{"from not a list", withRule(goodName, goodEffect, "from: support", goodTo), `9:11: spec.rules[0].from: want a list: write [support], or one "- " line for each entry`},
	{"from holds a list", withFrom("[a]"), "9:12: spec.rules[0].from[0]: want one text, not a list or mapping"},
	{"from holds null", withFrom("a, ~"), "9:15: spec.rules[0].from[1]: is empty: give a value"},
	{"every caller", withFrom(`"*"`), "9:12: spec.rules[0].from[0]: `*` is no app ID: write spiffe://trust-domain/ns/*/* for every app of a trust domain"},
	{"app ID pattern", withFrom(`"agent-*"`), "9:12: spec.rules[0].from[0]: app ID \"agent-*\" holds `*`, which stands only for a whole segment of a SPIFFE ID"},
	{"app ID with a dot", withFrom("a.b"), `9:12: spec.rules[0].from[0]: app ID "a.b" holds a dot, which Dapr does not allow`},
	{"app ID with a space", withFrom("a b"), `9:12: spec.rules[0].from[0]: app ID "a b" is not legal: use letters, digits, dashes and underscores`},
	{"app ID too long", withFrom(strings.Repeat("a", 65)), "9:12: spec.rules[0].from[0]: app ID is longer than 64 characters"},
	{"path instead of an app ID", withFrom("ns/default/a"), `9:12: spec.rules[0].from[0]: "ns/default/a" is neither an app ID nor a SPIFFE ID: begin with spiffe://`},
	{"other scheme", withFrom("https://custody.local/a"), `9:12: spec.rules[0].from[0]: "https://custody.local/a" is no SPIFFE ID: begin with spiffe:// in lower case`},
	{"scheme in capitals", withFrom("SPIFFE://custody.local/a"), `9:12: spec.rules[0].from[0]: "SPIFFE://custody.local/a" is no SPIFFE ID: begin with spiffe:// in lower case`},
	{"segment part pattern", withFrom("spiffe://td/ns/default/agent-*"), "9:12: spec.rules[0].from[0]: segment \"agent-*\" is part pattern, part text: `*` stands only for a whole segment"},
	{"double star", withFrom("spiffe://td/ns/**"), "9:12: spec.rules[0].from[0]: `**` is not supported: write one `*` for each path segment"},
	{"empty segment", withFrom("spiffe://td/ns//a"), "9:12: spec.rules[0].from[0]: has an empty path segment: remove the extra slash"},
	{"trailing slash", withFrom("spiffe://td/ns/a/"), "9:12: spec.rules[0].from[0]: has an empty path segment: remove the extra slash"},
	{"dot segment", withFrom("spiffe://td/ns/../a"), `9:12: spec.rules[0].from[0]: segment ".." is not legal in a SPIFFE ID: use letters, digits, dots, dashes and underscores`},
	{"percent encoding", withFrom("spiffe://td/ns/%61"), `9:12: spec.rules[0].from[0]: segment "%61" is not legal in a SPIFFE ID: use letters, digits, dots, dashes and underscores`},
	{"wildcard trust domain", withFrom("spiffe://*/ns/a/b"), "9:12: spec.rules[0].from[0]: a trust domain cannot be a pattern: write it out, one entry for each"},
	{"no trust domain", withFrom("spiffe:///ns/a/b"), "9:12: spec.rules[0].from[0]: the trust domain is missing: write spiffe://trust-domain/ns/namespace/app"},
	{"upper case trust domain", withFrom("spiffe://Custody.local/ns/a/b"), `9:12: spec.rules[0].from[0]: trust domain "Custody.local" has upper case letters: write "custody.local"`},
	{"port", withFrom("spiffe://td:443/ns/a/b"), `9:12: spec.rules[0].from[0]: trust domain "td:443" is not legal: use lower case letters, digits, dots, dashes and underscores`},
	{"only a trust domain", withFrom("spiffe://td"), `9:12: spec.rules[0].from[0]: "spiffe://td" names a trust domain, not a workload: add a path such as /ns/*/*`},
	{"query", withFrom(`"spiffe://td/ns/a?x=1"`), `9:12: spec.rules[0].from[0]: "spiffe://td/ns/a?x=1" has a query or fragment, which no SPIFFE ID has: remove it`},
	{"pattern too long", withFrom("spiffe://td/" + strings.Repeat("a", 2048)), "9:12: spec.rules[0].from[0]: is longer than 2048 bytes, the limit for a SPIFFE ID"},
	{"to without a list", withTo("server: s"), "10:9: spec.rules[0].to: name tools, prompts, resources, methods, paths, state or sql: a rule without them matches nothing"},
	{"to without a server", withTo("tools: [t]"), "10:9: spec.rules[0].to.server: is missing: add it"},
	{"server pattern", withTo(`server: "o*", tools: [t]`), "10:18: spec.rules[0].to.server: \"o*\" is part pattern, part text: name one server, or `*` for every server"},
	{"tools empty", withTo("server: s, tools: []"), "10:28: spec.rules[0].to.tools: the list is empty: add an entry or remove the field"},
	{"tool a number", withTo("server: s, tools: [7]"), `10:29: spec.rules[0].to.tools[0]: want text: put it in quotes, "7"`},
	{"tool with a newline", withTo(`server: s, tools: ["a\nb"]`), `10:29: spec.rules[0].to.tools[0]: "a\nb" holds characters that cannot be printed`},
	{"tool with a space at the end", withTo(`server: s, tools: ["a "]`), `10:29: spec.rules[0].to.tools[0]: "a " begins or ends with a space`},
	{"tool too long", withTo("server: s, tools: [" + strings.Repeat("t", 513) + "]"), "10:29: spec.rules[0].to.tools[0]: is longer than 512 bytes"},
	{"tools/call as a method", withTo("server: s, methods: [tools/call]"), "10:31: spec.rules[0].to.methods[0]: tools/call is decided by tool: list the tools under tools"},
	{"path without a method", withTo("server: s, paths: [/healthz]"), `10:29: spec.rules[0].to.paths[0]: "/healthz": write METHOD /path, as in "GET /healthz"`},
	{"path with a small method", withTo("server: s, paths: [get /healthz]"), `10:29: spec.rules[0].to.paths[0]: "get /healthz": write METHOD /path, as in "GET /healthz"`},
	{"path pattern", withTo(`server: s, paths: ["GET /a/*"]`), "10:29: spec.rules[0].to.paths[0]: \"GET /a/*\": paths are matched exactly: write the path out, or `*` alone for all"},
	{"path with a query", withTo(`server: s, paths: ["GET /a?b"]`), `10:29: spec.rules[0].to.paths[0]: "GET /a?b": a path has no query, fragment or space: remove it`},
}

func TestParseErrors(t *testing.T) {
	for _, tt := range parseErrors {
		t.Run(tt.name, func(t *testing.T) {
			docs, err := policy.Parse("f.yaml", []byte(tt.in))
			require.Nil(t, docs)
			require.Equal(t, tt.want, problem(t, err))
			require.True(t, strings.HasPrefix(err.Error(), "policy: f.yaml:"), err.Error())
		})
	}
}

func TestParseReportsProblemsTogether(t *testing.T) {
	_, err := policy.Parse("f.yaml", []byte(doc("p",
		ruleText("a", "alow", "x", "server: s, tools: [t]")+ruleText("b", "deny", "y.z", "server: s"))))
	require.EqualError(t, err, `policy: f.yaml:7:23: spec.rules[0].effect: "alow" is no effect: did you mean "allow"?
f.yaml:8:36: spec.rules[1].from[0]: app ID "y.z" holds a dot, which Dapr does not allow
f.yaml:8:46: spec.rules[1].to: name tools, prompts, resources, methods, paths, state or sql: a rule without them matches nothing`)

	var rules strings.Builder
	for i := range 25 {
		rules.WriteString(ruleText(fmt.Sprintf("r%d", i), "permit", "x", "server: s, tools: [t]"))
	}
	_, err = policy.Parse("f.yaml", []byte(doc("p", rules.String())))
	var list *policy.ErrorList
	require.True(t, errors.As(err, &list))
	require.Len(t, list.Problems, 20)
	require.Equal(t, 5, list.Omitted)
	require.True(t, strings.HasSuffix(err.Error(), "\nand 5 more"))

	// A later document that is broken spoils the file, and the earlier one is checked all the same.
	_, err = policy.Parse("f.yaml", []byte(doc("p", ruleText("a", "alow", "x", "server: s, tools: [t]"))+"---\na: [\n"))
	require.True(t, errors.As(err, &list))
	require.Len(t, list.Problems, 2)
}

func TestParseLimits(t *testing.T) {
	_, err := policy.Parse("f.yaml", make([]byte, policy.MaxFileBytes+1))
	require.Equal(t, "1:1: the file has 8388609 bytes, the limit is 8388608: split it", problem(t, err))

	_, err = policy.Parse("f.yaml", []byte(strings.Repeat("a\n---\n", policy.MaxDocuments+1)))
	require.Equal(t, "20001:1: more than 10000 documents in one file: split it", problem(t, err))

	_, err = policy.Parse("f.yaml", []byte(doc("p", strings.Repeat("  -\n", policy.MaxRules+1))))
	require.Equal(t, "7:3: spec.rules: more than 1000000 rules in one file", problem(t, err))
}

func TestParseTakes(t *testing.T) {
	rule := ruleText("r", "allow", "a", "server: s, tools: [t]")
	for name, text := range map[string]string{
		"leading separator and comment":          "# note\n---\n# note\n" + doc("p", rule),
		"empty documents between":                doc("p", rule) + "---\n---\n" + doc("q", rule) + "---\n",
		"carriage returns":                       strings.ReplaceAll(doc("p", rule), "\n", "\r\n"),
		"byte order mark":                        "\ufeff" + doc("p", rule),
		"tab before a comment":                   doc("p", strings.TrimSuffix(rule, "\n")+"\t# why\n"),
		"word that YAML 1.1 takes for a boolean": doc("p", ruleText("on", "allow", "yes", "server: no, tools: [off]")),
	} {
		_, err := policy.Parse("f.yaml", []byte(text))
		require.NoError(t, err, name)
	}
}

func TestCompileErrors(t *testing.T) {
	rule := ruleText("r", "allow", "a", "server: s, tools: [t]")
	docs := parse(t, doc("p", rule), doc("q", rule), "# note\n"+doc("p", rule))
	set, _, err := policy.Compile(docs, local())
	require.Nil(t, set)
	require.EqualError(t, err, `policy: 2.yaml:2:1: metadata.name: policy name "p" is already used at 0.yaml:1: choose another`)

	_, _, err = policy.Compile(docs[:1], policy.CompileOptions{Namespace: "default"})
	require.EqualError(t, err, "policy: the local trust domain is not set")
	opts := local()
	opts.Namespace = ""
	_, _, err = policy.Compile(docs[:1], opts)
	require.ErrorContains(t, err, `policy: namespace "" is not legal`)

	many := make([]policy.Document, policy.MaxDocuments+1)
	_, _, err = policy.Compile(many, local())
	require.Error(t, err)
}

func TestCompileWarnings(t *testing.T) {
	_, warnings, err := policy.Compile(parse(t,
		doc("a", ruleText("r1", "allow", "x, y", "server: s, tools: [t, u]")+
			ruleText("r2", "deny", "x, y", "server: s, tools: [t, u]")+
			ruleText("r3", "allow", "x, spiffe://other.local/ns/*/x", "server: s, tools: [v]")),
		doc("b", ruleText("r1", "allow", "spiffe://custody.local/ns/default/y, x", "server: s, tools: [u, t]"))), local())
	require.NoError(t, err)
	var texts []string
	for _, w := range warnings {
		texts = append(texts, w.String())
	}
	require.Equal(t, []string{
		"0.yaml:9:41: spec.rules[2].from[1]: no caller of the local trust domain custody.local matches spiffe://other.local/ns/*/x",
		`1.yaml:7:5: spec.rules[0]: says the same as rule "r1" of policy "a" (0.yaml:7) and has no effect: remove it`,
	}, texts)
}
