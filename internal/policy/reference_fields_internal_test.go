// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/manifest"
	"github.com/dapr-custody/custody/internal/redact"
)

// Parts of patterns. They mean the same in RE2 and in ECMA 262, and are of draft 7
// as well as of 2020-12, since not every editor knows the newer one.
const (
	// inner is a character of a name, edge one that may stand at its ends.
	inner = `\x00-\x1f\x7f-\xa0\xad`
	edge  = `\x00-\x20\x7f-\xa0\xad`
	// segmentOf is a path segment of a SPIFFE ID: not . and not .. (spiffeid.ValidatePathSegment).
	segmentOf = `(?:\*|[A-Za-z0-9_-][A-Za-z0-9._-]*|\.[A-Za-z0-9_-][A-Za-z0-9._-]*|\.\.[A-Za-z0-9._-]+)`
	// memberOf is a name in a JSONPath without quotes.
	memberOf = `[^\x00-\x40\x5b-\x5e\x60\x7b-\x7f][^\x00-\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f]*`
)

const schemaText = "string"

func never() *jsonschema.Schema { return &jsonschema.Schema{Not: &jsonschema.Schema{}} }

func constant(value any) *jsonschema.Schema { return &jsonschema.Schema{Const: &value} }

func texts(most int, pattern string) *jsonschema.Schema {
	return &jsonschema.Schema{Type: schemaText, MinLength: jsonschema.Ptr(1), MaxLength: &most, Pattern: pattern}
}

// nameWithout is a text that is printable and has no space at its ends; without are
// characters that it must not hold.
func nameWithout(without string) string {
	return "[^" + edge + without + "](?:[^" + inner + without + "]*[^" + edge + without + "])?"
}

func words(list []string, standard string) *jsonschema.Schema {
	s := &jsonschema.Schema{Type: schemaText}
	for _, word := range list {
		s.Enum = append(s.Enum, word)
	}
	if standard != "" {
		s.Default = json.RawMessage(strconv.Quote(standard))
	}
	return s
}

func listOf(items *jsonschema.Schema) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "array", Items: items, MinItems: jsonschema.Ptr(1)}
}

func oneOf(keys []string) []*jsonschema.Schema {
	var each []*jsonschema.Schema
	for _, key := range keys {
		each = append(each, &jsonschema.Schema{Required: []string{key}})
	}
	return each
}

// mappings describes the document, the inner mappings after those that hold them.
func mappings(t *testing.T) []mapping {
	t.Helper()
	redaction := redactMapping()
	state, columns := stateMapping(), columnsMapping()
	sql := sqlMapping(columns.object(t))
	to := toMapping(state.object(t), sql.object(t))
	rules := ruleMapping(to.object(t), redaction.object(t))
	all := listOf(rules.object(t))
	all.MaxItems = jsonschema.Ptr(MaxRules)
	spec := mapping{path: "spec", keys: specKeys, required: specRequired, members: map[string]member{
		"mode":  {"`shadow` makes the policy one that is tried: its rules decide nothing, and each receipt says what would have been decided otherwise with them.", words(modeWords, string(Enforce))},
		"rules": {"The rules. They have no order of precedence.", all},
	}}
	metadata := mapping{path: "metadata", keys: manifest.MetadataKeys(), required: manifest.MetadataKeys(), members: map[string]member{
		"name": {"Lower case letters, digits, dashes and dots; once among all files.", texts(manifest.MaxName, `^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$`)},
	}}
	document := mapping{keys: manifest.DocumentKeys(), required: manifest.DocumentKeys(), members: map[string]member{
		"apiVersion": {"The version of this format.", constant(APIVersion)},
		"kind":       {"What the document is.", constant(KindPolicy)},
		"metadata":   {"What the policy is called.", metadata.object(t)},
		"spec":       {"What the policy says.", spec.object(t)},
	}}
	return []mapping{document, metadata, spec, rules, to, state, sql, columns, redaction}
}

func ruleMapping(to, redaction *jsonschema.Schema) mapping {
	caller := texts(maxCaller, fmt.Sprintf(`^(?:[A-Za-z0-9_-]{1,%d}|%s[a-z0-9._-]{1,%d}(?:/%s)+)$`, maxAppID, spiffeScheme, maxTrustDomain, segmentOf))
	return mapping{path: "spec.rules[]", keys: ruleKeys, required: ruleRequired, members: map[string]member{
		"name":   {"Letters, digits, dashes, dots and underscores; once in the policy. Records name it.", texts(maxRuleName, `^[A-Za-z0-9._-]+$`)},
		"effect": {"What the rule does where it matches. A deny beats every allow.", words(effectWords, "")},
		"from":   {"Whom it is about. An app ID is the app in the local trust domain and namespace; in a SPIFFE ID `*` is one whole segment of the path.", listOf(caller)},
		"to":     {"What it is about: a server, and at least one list.", to},
		"when":   {"A condition in CEL, see Conditions. An allow rule allows only where it is true; a deny rule denies also where it cannot be evaluated.", texts(MaxConditionBytes, "")},
		"rate": {"Of an allow: how often each caller may do each action that the rule allows, as `30/minute`: so many at once, then one each minute/30; `/second`, `/minute` or `/hour`, the number up to " + thousands(MaxRateCount) +
			". What is over it is denied, over HTTP with status 429. Each tool and prompt counts by itself; resources, completions and paths each count together, whichever they are. Of state stores and databases a request counts once against each rule that allows a part of it, whichever operations, keys and tables it names. It is counted until the guard's process ends, or in the component's `rateFile`, which outlives it.", &jsonschema.Schema{Type: schemaText, Pattern: ratePattern()}},
		"maxResultBytes": {"Of an allow: the size of the largest result that may pass. A larger one is withheld, though the call was made.", &jsonschema.Schema{Type: "integer", Minimum: jsonschema.Ptr(1.0), Maximum: jsonschema.Ptr(float64(MaxResultBytes))}},
		"maxRows":        {"Of an allow of `sql` alone: how many rows a statement may return or change. One with more is refused and has changed nothing.", &jsonschema.Schema{Type: "integer", Minimum: jsonschema.Ptr(1.0), Maximum: jsonschema.Ptr(float64(MaxRows))}},
		"redact":         {"Of an allow of tools, prompts, resources and methods: what is taken out of the answer before it passes. An answer that cannot be looked into is withheld. The receipt counts what was taken out.", redaction},
		"requireGrant":   {"Of an allow: the action is denied until there are grants.", constant(true)},
	}, more: func(s *jsonschema.Schema) {
		denied := &jsonschema.Schema{Properties: map[string]*jsonschema.Schema{}, PropertyOrder: obligationKeys}
		for _, key := range obligationKeys {
			denied.Properties[key] = never()
		}
		denied.Properties["to"] = of(map[string]*jsonschema.Schema{"sql": of(map[string]*jsonschema.Schema{"mustFilterBy": never(), "where": never()})})
		denied.PropertyOrder = append(slices.Clone(obligationKeys), "to")
		others := map[string]*jsonschema.Schema{}
		for _, key := range toKeys[len(toRequired):] {
			if key != "sql" {
				others[key] = never()
			}
		}
		statements := of(others)
		statements.Required = []string{"sql"}
		s.AllOf = []*jsonschema.Schema{
			{
				Comment: "A rule that denies carries no obligation and makes no demands.",
				If:      &jsonschema.Schema{Properties: map[string]*jsonschema.Schema{"effect": constant(string(Deny))}, Required: []string{"effect"}},
				Then:    denied,
			},
			{
				Comment: "Only statements have rows.",
				If:      &jsonschema.Schema{Required: []string{"maxRows"}},
				Then:    of(map[string]*jsonschema.Schema{"to": statements}),
			},
			{
				Comment: "Nothing can be redacted in plain HTTP, state and SQL.",
				If:      &jsonschema.Schema{Required: []string{"redact"}},
				Then:    of(map[string]*jsonschema.Schema{"to": of(map[string]*jsonschema.Schema{"paths": never(), "state": never(), "sql": never()})}),
			},
		}
	}}
}

// of is what holds for members that are there.
func of(properties map[string]*jsonschema.Schema) *jsonschema.Schema {
	return &jsonschema.Schema{Properties: properties, PropertyOrder: slices.Sorted(maps.Keys(properties))}
}

func stateMapping() mapping {
	return mapping{path: "spec.rules[].to.state", keys: stateKeys, required: stateKeys, members: map[string]member{
		"operations": {"What may be done; `\"*\"` is all.", listOf(words(append(slices.Clone(stateOperations), every), ""))},
		"keys":       {"Keys as the app names them, without what Dapr puts before them, exactly; `*` is any run of characters.", listOf(texts(maxName, "^"+nameWithout("")+"$"))},
	}}
}

func sqlMapping(columns *jsonschema.Schema) mapping {
	table := texts(maxName, "^"+nameWithout("")+"$")
	table.AllOf = []*jsonschema.Schema{{Comment: "A schema is named.", Pattern: `[.*]`}}
	filters := &jsonschema.Schema{
		Type: "object", MinProperties: jsonschema.Ptr(1), PropertyNames: table,
		AdditionalProperties: listOf(texts(maxName, "^"+nameWithout(`*`)+"$")),
	}
	either := &jsonschema.Schema{AnyOf: []*jsonschema.Schema{columnList(), columns}}
	return mapping{path: "spec.rules[].to.sql", keys: sqlKeys, required: sqlRequired, members: map[string]member{
		"operations":   {"What may be done with the tables; `\"*\"` is all. `ddl` is what defines data: `CREATE`, `ALTER`, `DROP`, `TRUNCATE`. Goes with `tables`.", listOf(words(append(slices.Clone(sqlOperations), every), ""))},
		"tables":       {"Tables and views as `schema.table`, as PostgreSQL folds the names, exactly; `*` is any run of characters. Goes with `operations`.", listOf(table)},
		"columns":      {"Of an allow: the only columns that may be touched. Of a deny: those of which touching one is denied. One list for reading and writing, or one for each. All columns if absent.", either},
		"functions":    {"Functions that may be called as `schema.function`, beyond the harmless ones of PostgreSQL that every statement may call and that no deny forbids; `*` as for tables.", listOf(table)},
		"mustFilterBy": {"Of an allow: columns by table, as `{shop.orders: [customer_id]}`, that each use of the table has to compare by `=` with one value; `*` as for tables.", filters},
		"where":        {"Of an allow: whether an update and a delete have to choose their rows by a column of the table.", words(whereWords, whereRequired)},
	}, more: func(s *jsonschema.Schema) {
		s.AnyOf = oneOf([]string{"tables", "functions"})
		for _, goes := range [][2]string{{"operations", "tables"}, {"tables", "operations"}, {"columns", "tables"}, {"mustFilterBy", "tables"}, {"where", "tables"}} {
			s.AllOf = append(s.AllOf, &jsonschema.Schema{
				If: &jsonschema.Schema{Required: goes[:1]}, Then: &jsonschema.Schema{Required: goes[1:]},
			})
		}
	}}
}

func columnList() *jsonschema.Schema { return listOf(texts(maxName, "^"+nameWithout("")+"$")) }

func columnsMapping() mapping {
	return mapping{path: "spec.rules[].to.sql.columns", keys: columnsKeys, required: columnsRequired, members: map[string]member{
		"read":  {"Columns that are read, in conditions too. None if only the other list is there.", columnList()},
		"write": {"Columns that are written. None if only the other list is there.", columnList()},
	}, more: func(s *jsonschema.Schema) { s.AnyOf = oneOf(columnsKeys) }}
}

func toMapping(state, sql *jsonschema.Schema) mapping {
	named := texts(maxName, "^"+nameWithout("")+"$")
	methods := texts(maxName, named.Pattern)
	methods.Not = constant(strings.TrimPrefix(KindToolCall, KindMCPPrefix))
	resources := texts(maxName, named.Pattern)
	resources.AllOf = []*jsonschema.Schema{{Comment: "The scheme is in lower case.", Pattern: `^(?:[^:*A-Z]*:|[^:]*\*)`}}
	return mapping{path: "spec.rules[].to", keys: toKeys, required: toRequired, members: map[string]member{
		"server":    {"The name of the MCP server, of the state store's Component or of the Database, exactly; `\"*\"` is every one.", texts(maxName, `^(?:\*|`+nameWithout(`*`)+`)$`)},
		"tools":     {"Tools of `tools/call`, exactly, letters in their case; `*` is any run of characters.", listOf(named)},
		"methods":   {"Other MCP methods, as `resources/list`, whatever they act on; `*` as for tools.", listOf(methods)},
		"paths":     {"Plain HTTP, as `GET /healthz`, exactly; `\"*\"` alone is all.", listOf(texts(maxName, `^(?:\*|[A-Z]+ /[^`+edge+`?#*]*)$`))},
		"prompts":   {"Prompts: `prompts/get`, and `completion/complete` of one; `*` as for tools.", listOf(named)},
		"resources": {"URIs: `resources/read`, `subscribe`, `unsubscribe`, and `completion/complete` of a template; `*` as for tools. See Resources.", listOf(resources)},
		"state":     {"Requests to a state store. See State stores and databases.", state},
		"sql":       {"Statements to a database. See State stores and databases.", sql},
	}, more: func(s *jsonschema.Schema) { s.AnyOf = oneOf(toKeys[len(toRequired):]) }}
}

func redactMapping() mapping {
	jsonPath := `^\$(?:\.\.?(?:\*|` + memberOf + `)|(?:\.\.)?\[(?:\*|0|[1-9][0-9]{0,8}|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\])+$`
	paths := listOf(texts(redact.MaxPathBytes, jsonPath))
	paths.MaxItems = jsonschema.Ptr(redact.MaxPaths)
	return mapping{path: "spec.rules[].redact", keys: redactKeys, required: redactRequired, members: map[string]member{
		"detectors": {"What is found in text wherever it stands. Detectors lower the risk and are no proof of absence. With them, images, audio and blobs are removed unless `binary: pass`.", listOf(words(redact.Names(), ""))},
		"paths": {fmt.Sprintf("Members that are taken out, %d at most: a subset of JSONPath, as `$.customers[*].phone`, that begins at `structuredContent` and at text that is JSON; `$..name` finds a member wherever it stands.",
			redact.MaxPaths), paths},
		"binary": {"What becomes of images, audio and blobs where there are detectors, which cannot look into them.", words([]string{string(redact.BinaryRemove), string(redact.BinaryPass)}, string(redact.BinaryRemove))},
	}, more: func(s *jsonschema.Schema) { s.AnyOf = oneOf([]string{"detectors", "paths"}) }}
}

// ratePattern is what parseRate reads, as long as its limit is a power of ten.
func ratePattern() string {
	most := strconv.Itoa(MaxRateCount)
	var per []string
	for _, p := range periods {
		per = append(per, p.word)
	}
	return fmt.Sprintf(`^(?:[1-9][0-9]{0,%d}|%s)/(?:%s)$`, len(most)-2, most, strings.Join(per, "|"))
}

// The patterns speak of what the parser's own constants say.
func TestRatePattern(t *testing.T) {
	require.Equal(t, `^(?:[1-9][0-9]{0,5}|1000000)/(?:second|minute|hour)$`, ratePattern())
}
