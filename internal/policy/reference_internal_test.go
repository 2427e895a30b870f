// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the JSON Schema and the reference in docs/policy.md anew")

// The JSON Schema for editors is made of the lists of keys that the parser takes.
func TestSchemaFileIsOfTheTypes(t *testing.T) {
	head, err := json.Marshal(struct {
		Schema      string `json:"$schema"`
		Title       string `json:"title"`
		Description string `json:"description"`
	}{
		"https://json-schema.org/draft/2020-12/schema", KindPolicy + " of Custody",
		"One document of a policy file. What an editor accepts by this schema can still be refused: custody policy lint " +
			"has the last word, on conditions, names that are used twice, and limits of a whole file.",
	})
	require.NoError(t, err)
	body, err := json.Marshal(mappings(t)[0].object(t))
	require.NoError(t, err)
	var text bytes.Buffer
	require.NoError(t, json.Indent(&text, slices.Concat(head[:len(head)-1], []byte(","), body[1:]), "", "  "))
	text.WriteByte('\n')
	generated(t, filepath.Join("..", "..", "resources", "policies", "accesspolicy.schema.json"), []byte(readable.Replace(text.String())))
}

// readable takes back what encoding/json escapes for HTML.
var readable = strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&")

// The reference in the documentation is made of the same.
func TestReferenceIsOfTheTypes(t *testing.T) {
	file := filepath.Join("..", "..", "docs", "policy.md")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	for name, table := range map[string]string{"fields": fieldTable(t), "names": nameTable(t)} {
		begin, end := "<!-- generated: "+name+" -->\n", "<!-- end: "+name+" -->\n"
		before, rest, found := bytes.Cut(text, []byte(begin))
		require.True(t, found, begin)
		_, after, found := bytes.Cut(rest, []byte(end))
		require.True(t, found, end)
		text = slices.Concat(before, []byte(begin+"\n"+table+"\n"+end), after)
	}
	generated(t, file, text)
}

// generated holds a file to what it has to be, or writes it.
func generated(t *testing.T, file string, want []byte) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(file, want, 0o644)) //nolint:gosec // a file of the repository
		return
	}
	got, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), "%s is not of these types: run make generate", filepath.Base(file))
}

// mapping is one mapping of the document: what the parser takes, and what we say of it.
type mapping struct {
	path           string
	keys, required []string
	members        map[string]member
	// more is what holds for the members together.
	more func(*jsonschema.Schema)
}

type member struct {
	says string
	is   *jsonschema.Schema
}

// object is the schema of a mapping. It fails if a key that the parser takes is not described.
func (m mapping) object(t *testing.T) *jsonschema.Schema {
	t.Helper()
	require.ElementsMatch(t, m.keys, slices.Collect(maps.Keys(m.members)), "the keys of %q", m.path)
	s := &jsonschema.Schema{
		Type: "object", Required: m.required, PropertyOrder: m.keys,
		Properties: map[string]*jsonschema.Schema{}, AdditionalProperties: never(),
	}
	for key, each := range m.members {
		described := *each.is
		described.Description = each.says
		s.Properties[key] = &described
	}
	if m.more != nil {
		m.more(s)
	}
	return s
}

// fieldTable is the reference of all fields.
func fieldTable(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("| field | takes | says |\n|---|---|---|\n")
	for _, m := range mappings(t) {
		for _, key := range m.keys {
			each := m.members[key]
			name := strings.TrimPrefix(m.path+"."+key, ".")
			if slices.Contains(m.required, key) {
				name = "**`" + name + "`**"
			} else {
				name = "`" + name + "`"
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", name, takes(each.is), each.says)
		}
	}
	fmt.Fprintf(&b, "\nFields in bold are required. A file has at most %d MiB, %s policies and %s rules, and all files of a folder together no more policies and rules than that.\n",
		MaxFileBytes>>20, thousands(MaxDocuments), thousands(MaxRules))
	return b.String()
}

// takes says in words what a schema lets pass.
func takes(s *jsonschema.Schema) string {
	switch {
	case s.Const != nil:
		return fmt.Sprintf("`%v`", *s.Const)
	case len(s.Enum) > 0:
		words := make([]string, len(s.Enum))
		for i, word := range s.Enum {
			words[i] = fmt.Sprintf("`%v`", word)
			if quoted, err := json.Marshal(word); err == nil && bytes.Equal(quoted, s.Default) {
				words[i] += " (if absent)"
			}
		}
		return strings.Join(words, ", ")
	case s.Type == "integer":
		return fmt.Sprintf("%s to %s", thousands(int(*s.Minimum)), thousands(int(*s.Maximum)))
	case len(s.AnyOf) > 0 && s.Type == "":
		return takes(s.AnyOf[0]) + "; or " + takes(s.AnyOf[1])
	case s.PropertyNames != nil:
		return "mapping of texts to lists"
	case s.Type == "array" && s.Items.Type == "object":
		return "list of mappings"
	case s.Type == "array":
		return "list: " + takes(s.Items)
	case s.Type == "string" && s.MaxLength != nil:
		return fmt.Sprintf("text, up to %s bytes", thousands(*s.MaxLength))
	case s.Type == "string":
		return "text"
	}
	return "mapping"
}

func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}

// nameTable is the reference of the names that a condition may use.
func nameTable(t *testing.T) string {
	t.Helper()
	names := []struct{ name, kind, says string }{
		{"args", "map", "the arguments of the call; empty where it has none"},
		{"caller.spiffeID", "string", "who calls, as verified, as in `spiffe://custody.local/ns/default/support-agent`"},
		{"caller.trustDomain", "string", "its trust domain, `custody.local`"},
		{"caller.namespace", "string", "its namespace; empty unless the path is `/ns/<namespace>/<app>`"},
		{"caller.appID", "string", "its app ID; empty unless the path is `/ns/<namespace>/<app>`"},
		{"caller.proof", "string", "how that was proven: `x509-svid`, or `unix-peer` by the kernel of the same host"},
		{"action.kind", "string", "what is asked for: `mcp.tools/call`, `mcp.` and another method, `http.request`, or `state.` and `sql.` with an operation"},
		{"action.server", "string", "the server's name"},
		{"action.tool", "string", "the tool; empty for what is no `tools/call`"},
		{"action.prompt", "string", "the prompt that is asked for, or completed for; empty for what names none"},
		{"action.resource", "string", "the URI that is read, subscribed to, unsubscribed from or completed for; empty for what names none. One that is not in plain form (see [Resources](#resources)), and a template, cannot be evaluated"},
		{"action.digest", "string", "the digest of the arguments in RFC 8785 form, `sha256:...`, as receipts have it; empty where there are none. Arguments with a number that is no double exactly have none"},
		{"now", "timestamp", "the time of the decision, in UTC"},
		{"request.ip", "string", "the address at the other end of the connection: the caller's sidecar"},
		{"request.traceID", "string", "the trace ID of `traceparent`, empty for none; the caller says it"},
		{"session.id", "string", "the MCP session, empty for none"},
		{"actor.spiffeID", "string", "the principal on whose behalf the call is made, by a verified transaction token; empty without one"},
		{"actor.txn", "string", "the transaction's ID, by the same token; empty without one"},
		{"actors", "list of strings", "the SPIFFE IDs through which the call came, from the principal to the one that called last; empty without a token"},
		{chainInstance, "string", "the workflow instance that the chain began with; empty outside a workflow. More in [The chain of a workflow](#the-chain-of-a-workflow)"},
		{chainLength, "int", "the number of steps that verify; 0 outside a workflow"},
		{chainComplete, "bool", "that no predecessor of a step is missing; `false` outside a workflow"},
		{nameKey, "string", "the key, in a rule that names `state` alone; a request for many keys cannot be evaluated"},
		{nameOperation, "string", "`get`, `set`, `delete`, `query`, `transact` or `keys`, in a rule that names `state` alone"},
		{nameParams, "list", "the parameters of the statement, `params[0]` for `$1`, in a rule that names `sql` alone"},
		{nameCommand, "string", "the outermost statement, as `select` or `create table`, in a rule that names `sql` alone"},
		{nameTables, "list of strings", "the tables of the whole statement, as `shop.orders`, in a rule that names `sql` alone"},
		{nameLimit, "int", "the outermost `LIMIT`, -1 for none that is a number, in a rule that names `sql` alone"},
	}
	known := []string{
		"args", "now", "actors", chainInstance, chainLength, chainComplete,
		nameKey, nameOperation, nameParams, nameCommand, nameTables, nameLimit,
	}
	for name, fields := range scope {
		for _, field := range fields {
			known = append(known, name+"."+field)
		}
	}
	var told []string
	b := strings.Builder{}
	b.WriteString("| name | type | is |\n|---|---|---|\n")
	for _, n := range names {
		told = append(told, n.name)
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", n.name, n.kind, n.says)
	}
	require.ElementsMatch(t, known, told, "the names that a condition may use")
	return b.String()
}
