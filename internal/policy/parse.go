// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/manifest"
	"github.com/dapr-custody/custody/internal/nearest"
)

const maxRuleName = 128

var (
	specKeys     = []string{"mode", "rules"}
	specRequired = specKeys[1:]
	ruleKeys     = []string{"name", "effect", "from", "to", "when", "rate", "maxResultBytes", "maxRows", "redact", "requireGrant"}
	ruleRequired = ruleKeys[:4]
	toKeys       = []string{"server", "tools", "methods", "paths", "prompts", "resources", "state", "sql"}
	toRequired   = toKeys[:1]
	effectWords  = []string{string(Allow), string(Deny)}
	groupKeys    = [listCount]string{
		groupTools: "tools", groupMethods: "methods", groupPaths: "paths", groupPrompts: "prompts", groupResources: "resources",
	}
	groupChecks = [listCount]func(string) error{
		groupTools: checkText, groupMethods: checkMethod, groupPaths: checkPath, groupPrompts: checkText,
		groupResources: checkResource,
	}
)

// Parse reads the AccessPolicy documents of one file; file is the name to use
// in errors. Documents that are empty or hold only comments are passed over, but
// a file must hold at least one policy. Parse is strict: whatever it does not
// understand is an error, and any error means that no document is returned. The
// error is an *ErrorList of *Error.
func Parse(file string, data []byte) ([]Document, error) {
	r := &policyReader{Reader: newReader(file), data: data, conditions: map[conditionKey]*condition{}}
	roots := r.Documents(data)
	if len(roots) == 0 && r.None() {
		r.Add(manifest.At(file, 1, 1), "", "the file holds no policy: add a document with kind: %s, or remove the file",
			KindPolicy)
	}
	documents := make([]Document, 0, len(roots))
	for _, root := range roots {
		documents = append(documents, r.document(root))
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	if len(r.conditions) > 0 {
		text := string(data)
		for i := range documents {
			documents[i].text = text
		}
	}
	return documents, nil
}

type policyReader struct {
	manifest.Reader
	data  []byte
	lines []string // of data, once they are asked for
	rules int
	// conditions are those compiled so far, so that equal ones are compiled once.
	conditions map[conditionKey]*condition
}

type conditionKey struct {
	text  string
	about about
}

func (r *policyReader) document(n *yaml.Node) Document {
	name, spec := r.Document(n, APIVersion, KindPolicy, specKeys, specRequired)
	d := Document{file: r.File, line: n.Line, column: n.Column, name: name}
	if spec != nil {
		d.mode = r.mode(spec["mode"], "spec.mode")
		d.rules = r.ruleList(spec["rules"])
	}
	return d
}

func (r *policyReader) ruleList(n *yaml.Node) []rule {
	items := r.List(n, "spec.rules")
	r.rules += len(items)
	if r.rules > MaxRules {
		r.Fail(n, "spec.rules", "more than %d rules in one file", MaxRules)
		return nil
	}
	rules := make([]rule, 0, len(items))
	lines := make(map[string]int, len(items))
	for i, item := range items {
		field := "spec.rules[" + strconv.Itoa(i) + "]"
		parsed, ok := r.rule(item, field)
		if !ok {
			continue
		}
		if line, twice := lines[parsed.name]; twice && parsed.name != "" {
			r.Fail(item, field+".name", "rule name %q is already used on line %d: choose another", parsed.name, line)
		}
		lines[parsed.name] = parsed.line
		rules = append(rules, parsed)
	}
	return rules
}

func (r *policyReader) rule(n *yaml.Node, field string) (rule, bool) {
	parsed := rule{line: n.Line, column: n.Column, field: field}
	m, ok := r.Members(n, field, ruleKeys, ruleRequired)
	if !ok {
		return parsed, false
	}
	parsed.name = r.ruleName(m["name"], field+".name")
	parsed.effect = r.effect(m["effect"], field+".effect")
	for i, item := range r.List(m["from"], field+".from") {
		parsed.from = append(parsed.from, r.subject(item, field+".from["+strconv.Itoa(i)+"]"))
	}
	if to := m["to"]; to != nil {
		r.to(to, field+".to", &parsed)
	}
	if when := m["when"]; when != nil {
		parsed.when, parsed.whenAt = r.condition(when, field+".when", parsed.about()), when
	}
	r.demands(m, field, &parsed)
	return parsed, true
}

func (r *policyReader) ruleName(n *yaml.Node, field string) string {
	name, ok := r.Text(n, field)
	if !ok {
		return ""
	}
	legal := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
	}
	if len(name) > maxRuleName || strings.ContainsFunc(name, func(c rune) bool { return !legal(c) }) {
		r.Fail(n, field, "%q is not a legal name: use letters, digits, dashes, dots and underscores, %d at most",
			name, maxRuleName)
	}
	return name
}

func (r *policyReader) effect(n *yaml.Node, field string) Effect {
	word, ok := r.Text(n, field)
	if !ok {
		return Deny
	}
	switch effect := Effect(word); effect {
	case Allow, Deny:
		return effect
	}
	if near := nearest.Word(word, effectWords); near != "" {
		r.Fail(n, field, "%q is no effect: did you mean %q?", word, near)
	} else {
		r.Fail(n, field, "%q is no effect: write allow or deny", word)
	}
	return Deny
}

func (r *policyReader) subject(n *yaml.Node, field string) subject {
	s := subject{line: n.Line, column: n.Column, field: field}
	word, ok := r.Text(n, field)
	if !ok {
		return s
	}
	var err error
	if strings.Contains(word, ":") {
		s.pattern, err = parseCaller(word)
	} else {
		s.appID = word
		err = checkAppID(word)
	}
	if err != nil {
		r.Fail(n, field, "%v", err)
	}
	return s
}

func (r *policyReader) to(n *yaml.Node, field string, into *rule) {
	m, ok := r.Members(n, field, toKeys, toRequired)
	if !ok {
		return
	}
	if name, ok := r.Text(m["server"], field+".server"); ok {
		into.server = name
		if err := checkServer(name); err != nil {
			r.Fail(m["server"], field+".server", "%v", err)
		}
	}
	if !slices.ContainsFunc(toKeys[len(toRequired):], func(key string) bool { return m[key] != nil }) {
		r.Fail(n, field, "name tools, prompts, resources, methods, paths, state or sql: a rule without them matches nothing")
	}
	for g, key := range groupKeys {
		at := field + "." + key
		for i, item := range r.List(m[key], at) {
			at := at + "[" + strconv.Itoa(i) + "]"
			name, ok := r.Text(item, at)
			if !ok {
				continue
			}
			if err := groupChecks[g](name); err != nil {
				r.Fail(item, at, "%v", err)
			}
			into.names[g] = append(into.names[g], name)
		}
	}
	if n := m["state"]; n != nil {
		r.state(n, field+".state", into)
	}
	if n := m["sql"]; n != nil {
		r.sql(n, field+".sql", into)
	}
}

// condition compiles the text of n. What is wrong with it is noted where it
// stands in the file.
func (r *policyReader) condition(n *yaml.Node, field string, about about) *condition {
	text, ok := r.Text(n, field)
	if !ok {
		return nil
	}
	key := conditionKey{text, about}
	if known := r.conditions[key]; known != nil {
		return known
	}
	compiled, wrong := compileCondition(text, about)
	for _, w := range wrong {
		at := r.Place(n)
		if w.line > 0 {
			if r.lines == nil {
				r.lines = strings.Split(string(r.data), "\n")
			}
			at.Line, at.Column = placeInScalar(r.lines, n, w.line, w.column)
		}
		r.Add(at, field, "%s", w.message)
	}
	r.conditions[key] = compiled
	return compiled
}
