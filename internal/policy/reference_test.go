// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
	"pgregory.net/rapid"

	"github.com/dapr-custody/custody/internal/policy"
)

var root = filepath.Join("..", "..")

// editorSchema is the JSON Schema as editors read it.
func editorSchema(t testing.TB) *jsonschema.Resolved {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "resources", "policies", "accesspolicy.schema.json"))
	require.NoError(t, err)
	var schema jsonschema.Schema
	require.NoError(t, json.Unmarshal(text, &schema))
	resolved, err := schema.Resolve(nil)
	require.NoError(t, err)
	return resolved
}

// inEditor is what an editor with the schema says of the documents of a file.
func inEditor(schema *jsonschema.Resolved, text string) error {
	decoder := yaml.NewDecoder(strings.NewReader(text))
	for count := 0; ; count++ {
		var value any
		err := decoder.Decode(&value)
		if errors.Is(err, io.EOF) && count > 0 {
			return nil
		}
		if err != nil {
			return err
		}
		if err := schema.Validate(value); err != nil {
			return err
		}
	}
}

// What the parser refuses is refused by the schema, save what a schema cannot know.
func TestSchemaRefusesWhatTheParserRefuses(t *testing.T) {
	schema := editorSchema(t)
	beyond := map[string]bool{
		"anchor": true, "tag": true, "rule name twice": true,
	}
	for _, tt := range parseErrors {
		require.Equal(t, beyond[tt.name], inEditor(schema, tt.in) == nil, "%s: %v", tt.name, inEditor(schema, tt.in))
		delete(beyond, tt.name)
	}
	require.Empty(t, beyond, "no such tests")
	for _, tt := range obligationErrors {
		require.Error(t, inEditor(schema, doc("p", obliging("r", tt.effect, "get", ", "+tt.in))), "%s %s", tt.effect, tt.in)
	}
}

// From good and bad values of every field, the schema takes the documents that the parser takes.
func TestSchemaAgreesWithTheParser(t *testing.T) {
	schema := editorSchema(t)
	long := func(n int) string { return strings.Repeat("a", n) }
	pools := map[string][]string{
		"name":   {"a", "a.b_C-9", `"a b"`, long(128), long(129), "''"},
		"effect": {"allow", "deny", "Allow"},
		"from": {
			"[a]", "[a, b_2]", "[]", "a", "['spiffe://td/ns/*/b']", "['spiffe://td/a/..b/.c/...']", "['spiffe://td/a/../c']", "['spiffe://td/a/./c']",
			"['spiffe://td/a*']", "['spiffe://td']", "['spiffe://Td/a']", "['*']", "[a.b]", "[" + long(64) + "]", "[" + long(65) + "]", "[" + long(3000) + "]",
		},
		"server":    {"s", "'*'", "'s*'", "a b", "' a'", `"a\x07b"`, "ünï", long(512), long(513)},
		"tools":     {"[t]", "", "['*', 'get_*']", "[]", "['a ']", "[a b]", "[9]", `["\u00a0"]`},
		"methods":   {"", "", "[ping]", "[tools/call]", "['tools/*']"},
		"prompts":   {"", "", "[p, q]", "p"},
		"resources": {"", "", "['file:///a/*']", "['*']", "['*le:///a']", "[a]", "['File:///a']", "['a*b']"},
		"paths":     {"", "", "['GET /']", "['*']", "[/a]", "['GET /a?b']", "['get /a']", "['GET /a b']", "['GET /*']", "['GET  /a']"},
		"state": {
			"", "", "{operations: [get, '*'], keys: ['a-*', 'b']}", "{operations: [put], keys: [a]}", "{operations: [get]}", "{keys: [a]}", "{operations: [], keys: [a]}", "{operations: [get], keys: ['']}",
		},
		"sql": {
			"", "", "{operations: [select, ddl, '*'], tables: [shop.orders, 'a*']}", "{operations: [select], tables: [orders]}", "{operations: [call], tables: [a.b]}", "{tables: [a.b]}", "{operations: [insert]}",
			"{functions: [a.f]}", "{functions: [f]}", "{}", "{functions: [a.f], where: any}", "{operations: [update], tables: [a.b], where: any}", "{operations: [update], tables: [a.b], where: none}",
			"{operations: [update], tables: [a.b], columns: [x, 'y_*']}", "{operations: [update], tables: [a.b], columns: {read: [x]}}", "{operations: [update], tables: [a.b], columns: {}}", "{operations: [update], tables: [a.b], columns: x}",
			"{operations: [select], tables: ['a.*'], mustFilterBy: {a.b: [x], 'a.c*': [y]}}", "{operations: [select], tables: [a.b], mustFilterBy: {}}", "{operations: [select], tables: [a.b], mustFilterBy: {a.b: ['*']}}", "{operations: [select], tables: ['*'], mustFilterBy: {b: [x]}}",
			"{functions: [a.f], columns: [x]}", "{functions: [a.f], mustFilterBy: {a.b: [x]}}",
		},
		"when":           {"", "", "'true'", "'args.x == 1'", "[]", "''"},
		"rate":           {"", "", "1/hour", "1000000/second", "1000001/second", "01/minute", "999999/minute", "9999999/minute", "1/day"},
		"maxRows":        {"", "", "1", "0", "1000000001"},
		"maxResultBytes": {"", "", "1", "1073741824", "1073741825", "0", "'1'"},
		"requireGrant":   {"", "", "true", "false"},
		"redact": {
			"", "", "{detectors: [email, card, iban, phone, us-ssn, secret]}", "{detectors: [mail]}", "{binary: pass}", "{}", "{paths: []}",
			"{paths: ['$.a.b', '$..c', '$.*', '$[*]', '$[0].x', '$..[12]'], binary: remove}", `{paths: ["$['a b'].c", "$..[\"x\"]", "$.é1"], binary: pass}`,
			"{paths: ['$']}", "{paths: [a]}", "{paths: ['$.']}", "{paths: ['$.1a']}", "{paths: ['$[01]']}", "{paths: ['$.a[1:2]']}", "{paths: ['$.a'], binary: keep}",
		},
	}
	tried := map[bool]int{}
	rapid.Check(t, func(t *rapid.T) {
		often := rapid.IntRange(1, 6).Draw(t, "one value in so many is of the whole pool")
		pick := func(key string) string {
			if rapid.IntRange(0, often).Draw(t, key+" is plain") > 0 {
				return pools[key][0]
			}
			return rapid.SampledFrom(pools[key]).Draw(t, key)
		}
		to := "server: " + pick("server")
		for _, key := range []string{"tools", "methods", "prompts", "resources", "paths", "state", "sql"} {
			if list := pick(key); list != "" {
				to += ", " + key + ": " + list
			}
		}
		text := fmt.Sprintf("  - {name: %s, effect: %s, from: %s, to: {%s}", pick("name"), pick("effect"), pick("from"), to)
		for _, key := range []string{"when", "rate", "maxResultBytes", "maxRows", "requireGrant", "redact"} {
			if value := pick(key); value != "" {
				text += ", " + key + ": " + value
			}
		}
		text = doc("p", text+"}\n")
		_, err := policy.Parse("f.yaml", []byte(text))
		tried[err == nil]++
		require.Equal(t, err == nil, inEditor(schema, text) == nil, "%s\nparser: %v\nschema: %v", text, err, inEditor(schema, text))
	})
	require.Len(t, tried, 2, "some are taken and some refused")
}

var yamlBlock = regexp.MustCompile("(?s)( *)```yaml\n(.*?)\n *```")

// Every policy in the repository, in files and in documentation, is right in an editor.
func TestPoliciesOfTheRepositoryFitTheSchema(t *testing.T) {
	schema := editorSchema(t)
	count := map[string]int{}
	check := func(path, text string) {
		require.NoError(t, inEditor(schema, text), "%s:\n%s", path, text)
		_, err := policy.Parse(path, []byte(text))
		require.NoError(t, err)
		count[filepath.Ext(path)]++
	}
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if name == "node_modules" || name == "bin" || (strings.HasPrefix(name, ".") && path != root) {
				return filepath.SkipDir
			}
			return nil
		}
		if ext := filepath.Ext(name); ext != ".yaml" && ext != ".md" {
			return nil
		}
		data, err := os.ReadFile(path)
		switch text := string(data); {
		case err != nil:
			return err
		case strings.HasSuffix(name, ".md"):
			for _, block := range yamlBlock.FindAllStringSubmatch(text, -1) {
				if inner := strings.ReplaceAll("\n"+block[2], "\n"+block[1], "\n"); strings.Contains(inner, "\nkind: AccessPolicy") {
					check(path, inner)
				}
			}
		case strings.Contains(text, "\nkind: AccessPolicy"):
			check(path, text)
			line, _, _ := strings.Cut(text, "\n")
			written, found := strings.CutPrefix(line, "# yaml-language-server: $schema=")
			require.True(t, found, "%s does not name its schema in its first line", path)
			_, err := os.Stat(filepath.Join(filepath.Dir(path), written))
			require.NoError(t, err)
		}
		return nil
	}))
	require.GreaterOrEqual(t, count[".yaml"], 4)
	require.GreaterOrEqual(t, count[".md"], 14)
}
