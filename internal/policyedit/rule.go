// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policyedit

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/policy"
)

// maxDescription bounds generated names; policy.Parse takes 128 characters.
const maxDescription = 100

// Rule is a rule to write. What is in it is checked by policy.Parse.
type Rule struct {
	// Name may be empty: Add then makes one of Hint or, if that is empty too, of what
	// the rule says.
	Name   string
	Hint   string
	Effect policy.Effect
	// From holds app IDs and patterns of SPIFFE IDs.
	From      []string
	Server    string
	Tools     []string
	Prompts   []string
	Resources []string
	Methods   []string
	Paths     []string
	// State and SQL are nil for a rule that is not about them. Of SQL the operations, tables and functions are written.
	State *policy.StateRule
	SQL   *policy.SQLRule
	// When is a condition, written as it is; empty for none.
	When string
}

// said is a rule as it stands in a file.
type said struct {
	Name   string   `yaml:"name"`
	Effect string   `yaml:"effect"`
	From   []string `yaml:"from"`
	To     struct {
		Server    string            `yaml:"server"`
		Tools     []string          `yaml:"tools"`
		Prompts   []string          `yaml:"prompts"`
		Resources []string          `yaml:"resources"`
		Methods   []string          `yaml:"methods"`
		Paths     []string          `yaml:"paths"`
		State     *policy.StateRule `yaml:"state"`
		SQL       *saidSQL          `yaml:"sql"`
	} `yaml:"to"`
	When string `yaml:"when"`
}

// saidSQL has no members for what narrows a rule further, so that such a rule says something else.
type saidSQL struct {
	Operations []string `yaml:"operations"`
	Tables     []string `yaml:"tables"`
	Functions  []string `yaml:"functions"`
}

// saidBy reports whether a rule of a file says the same. A rule with members that
// are not known here says something else.
func (r Rule) saidBy(node *yaml.Node) bool {
	text, err := yaml.Marshal(node)
	if err != nil {
		return false
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	var s said
	if decoder.Decode(&s) != nil {
		return false
	}
	return s.Effect == string(r.Effect) && s.To.Server == r.Server && s.When == r.When && equalSets(s.From, r.From) &&
		equalSets(s.To.Tools, r.Tools) && equalSets(s.To.Prompts, r.Prompts) && equalSets(s.To.Resources, r.Resources) &&
		equalSets(s.To.Methods, r.Methods) && equalSets(s.To.Paths, r.Paths) && r.sameData(s.To.State, s.To.SQL)
}

// sameData reports whether a rule says the same of state and SQL.
func (r Rule) sameData(state *policy.StateRule, sql *saidSQL) bool {
	if (state == nil) != (r.State == nil) || (sql == nil) != (r.SQL == nil) {
		return false
	}
	return (state == nil || equalSets(state.Operations, r.State.Operations) && equalSets(state.Keys, r.State.Keys)) &&
		(sql == nil || equalSets(sql.Operations, r.SQL.Operations) && equalSets(sql.Tables, r.SQL.Tables) &&
			equalSets(sql.Functions, r.SQL.Functions))
}

func equalSets(a, b []string) bool {
	sorted := func(list []string) []string {
		list = slices.Clone(list)
		slices.Sort(list)
		return slices.Compact(list)
	}
	return slices.Equal(sorted(a), sorted(b))
}

// node returns the rule as a person would write it.
func (r Rule) node() *yaml.Node {
	to := mapping("server", text(r.Server))
	addLists(to, []list{
		{"tools", r.Tools}, {"prompts", r.Prompts}, {"resources", r.Resources}, {"methods", r.Methods}, {"paths", r.Paths},
	})
	if s := r.State; s != nil {
		to.Content = append(to.Content, text("state"), addLists(inBraces(), []list{{"operations", s.Operations}, {"keys", s.Keys}}))
	}
	if s := r.SQL; s != nil {
		to.Content = append(to.Content, text("sql"), addLists(inBraces(), []list{
			{"operations", s.Operations}, {"tables", s.Tables}, {"functions", s.Functions},
		}))
	}
	rule := mapping("name", text(r.Name), "effect", text(string(r.Effect)), "from", texts(r.From), "to", to)
	if r.When != "" {
		rule.Content = append(rule.Content, text("when"), text(r.When))
	}
	return rule
}

type list struct {
	key   string
	names []string
}

// addLists adds those that are not empty to a mapping.
func addLists(to *yaml.Node, lists []list) *yaml.Node {
	for _, list := range lists {
		if len(list.names) > 0 {
			to.Content = append(to.Content, text(list.key), texts(list.names))
		}
	}
	return to
}

func inBraces() *yaml.Node {
	n := mapping()
	n.Style = yaml.FlowStyle
	return n
}

func mapping(pairs ...any) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for i := 0; i < len(pairs); i += 2 {
		n.Content = append(n.Content, text(pairs[i].(string)), pairs[i+1].(*yaml.Node))
	}
	return n
}

func text(value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}
}

func texts(values []string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Style: yaml.FlowStyle}
	for _, value := range values {
		n.Content = append(n.Content, text(value))
	}
	return n
}

// SchemaFile is the name of the JSON Schema that a new file names to editors: a
// file beside it, which "custody policy schema" prints. It need not be there.
const SchemaFile = "accesspolicy.schema.json"

// modeline is how a YAML file names its schema (yaml-language-server, "Using inlined schema").
var modeline = regexp.MustCompile(`(?m)^#[ \t]+yaml-language-server[ \t]*:[ \t]*\$schema=([!-~]+)[ \t]*\r?$`)

// heading is the first line of a new file: it names the schema as another file of
// the folder does, else SchemaFile.
func (f *folder) heading() string {
	schema := SchemaFile
	for _, file := range f.files {
		if m := modeline.FindSubmatch(file.data); m != nil {
			schema = string(m[1])
			break
		}
	}
	return "# yaml-language-server: $schema=" + schema + "\n"
}

// newFile returns the text of a file with one policy of one rule.
func newFile(name string, rule *yaml.Node) ([]byte, error) {
	rules := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: []*yaml.Node{rule}}
	return encode([]*yaml.Node{mapping(
		"apiVersion", text(policy.APIVersion), "kind", text(policy.KindPolicy),
		"metadata", mapping("name", text(name)), "spec", mapping("rules", rules))})
}

func encode(documents []*yaml.Node) ([]byte, error) {
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	for _, document := range documents {
		if err := encoder.Encode(document); err != nil {
			return nil, fmt.Errorf("policyedit: %w", err)
		}
	}
	if err := encoder.Close(); err != nil {
		return nil, fmt.Errorf("policyedit: %w", err)
	}
	return out.Bytes(), nil
}

// describe makes a name such as allow-analytics-agent-orders-run_report.
func (r Rule) describe() string {
	parts := []string{string(r.Effect)}
	for _, from := range r.From {
		parts = append(parts, strings.TrimPrefix(from, "spiffe://"))
	}
	parts = append(parts, r.Server)
	parts = slices.Concat(parts, r.Tools, r.Prompts, r.Resources, r.Methods, r.Paths)
	if s := r.State; s != nil {
		parts = slices.Concat(parts, s.Operations, s.Keys)
	}
	if s := r.SQL; s != nil {
		parts = slices.Concat(parts, s.Operations, s.Tables, s.Functions)
	}
	if r.Hint != "" {
		parts = []string{strings.ReplaceAll(r.Hint, "spiffe://", "")}
	}
	name := strings.ReplaceAll(strings.Join(parts, "-"), "*", "all")
	name = strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' {
			return c
		}
		return '-'
	}, name)
	for strings.Contains(name, "--") {
		name = strings.ReplaceAll(name, "--", "-")
	}
	return strings.Trim(name[:min(len(name), maxDescription)], "-")
}
