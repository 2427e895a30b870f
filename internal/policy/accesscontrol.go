// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/manifest"
)

// AccessControl is spec.accessControl of a Dapr Configuration.
type AccessControl struct {
	DefaultAction string      `yaml:"defaultAction"`
	TrustDomain   string      `yaml:"trustDomain"`
	Policies      []AppPolicy `yaml:"policies"`
}

// AppPolicy is one entry of spec.accessControl.policies.
type AppPolicy struct {
	AppID         string      `yaml:"appId"`
	DefaultAction string      `yaml:"defaultAction"`
	TrustDomain   string      `yaml:"trustDomain"`
	Namespace     string      `yaml:"namespace"`
	Operations    []Operation `yaml:"operations"`

	line, column int
}

// Operation is one operation of an AppPolicy.
type Operation struct {
	Name     string   `yaml:"name"`
	HTTPVerb []string `yaml:"httpVerb"`
	Action   string   `yaml:"action"`

	line, column int
}

// UnmarshalYAML keeps the position for warnings.
func (p *AppPolicy) UnmarshalYAML(n *yaml.Node) error {
	type plain AppPolicy
	p.line, p.column = n.Line, n.Column
	return n.Decode((*plain)(p))
}

// UnmarshalYAML keeps the position for warnings.
func (o *Operation) UnmarshalYAML(n *yaml.Node) error {
	type plain Operation
	o.line, o.column = n.Line, n.Column
	return n.Decode((*plain)(o))
}

const kindConfiguration = "Configuration"

// IsConfiguration reports whether the first document of a YAML file says that
// it is a Dapr Configuration.
func IsConfiguration(data []byte) bool {
	var head struct {
		Kind string `yaml:"kind"`
	}
	return len(data) <= MaxFileBytes && yaml.Unmarshal(data, &head) == nil && head.Kind == kindConfiguration
}

// ParseConfiguration reads spec.accessControl of a Dapr Configuration, as Dapr
// does: the first document only, and unknown fields are passed over, since the
// file is Dapr's. A file without the section gives the zero AccessControl. Dapr
// expands $VAR in the file beforehand (os.ExpandEnv); that is left to the caller.
// The error is an *ErrorList of *Error.
func ParseConfiguration(file string, data []byte) (AccessControl, error) {
	r := newReader(file)
	if !r.Readable(data) {
		return AccessControl{}, r.Err()
	}
	var doc struct {
		Kind string `yaml:"kind"`
		Spec struct {
			AccessControl AccessControl `yaml:"accessControl"`
		} `yaml:"spec"`
	}
	if err := yaml.Unmarshal(data, &doc); err != nil {
		r.Syntax(err, data)
		return AccessControl{}, r.Err()
	}
	if doc.Kind != "" && doc.Kind != kindConfiguration {
		r.Add(manifest.At(file, 1, 1), "kind", "%q is no Dapr Configuration: want kind: %s", doc.Kind, kindConfiguration)
		return AccessControl{}, r.Err()
	}
	return doc.Spec.AccessControl, nil
}

// FromAccessControl makes rules for the MCP server of the operations that stand
// below mcpPath, so that the simple case needs no policy file:
//
//	operations:
//	- name: /mcp/tools/call/get_order   # or get_*, or * for every tool
//	  httpVerb: [POST]
//	  action: allow
//
// allows that tool for the appId in its namespace and trust domain. source is the
// name to use in warnings.
//
// What counts is written out: defaultAction never allows a tool. The HTTP verbs
// must include POST or "*"; otherwise the operation is left out with a warning,
// save a deny without any verb, which denies. An allow that is not understood is
// left out with a warning; a deny below mcpPath/tools/ that is not understood
// denies every tool, with a warning. If an app is listed twice, Dapr uses the last
// entry: allows of the earlier ones are left out, denies are kept.
//
// Dapr compares HTTP paths in lower case. The part up to the tool is compared so
// here too, but the tool itself exactly, since names of MCP tools are
// case-sensitive.
//
// Dapr applies the same section to the request path itself, before any
// middleware: where its default is deny, an operation for mcpPath must let POST
// through as well.
func FromAccessControl(source string, ac AccessControl, mcpPath, server string) ([]Document, []Warning) {
	c := &aclReader{
		source: source,
		prefix: "/" + strings.Trim(mcpPath, "/"),
		doc:    Document{name: "accessControl/" + server, file: source, line: 1, column: 1, mode: Enforce},
		server: server,
	}
	c.prefix = strings.TrimSuffix(c.prefix, "/") + "/tools/"
	last := map[string]int{}
	for i, p := range ac.Policies {
		last[p.key()] = i
	}
	for i, p := range ac.Policies {
		c.policy(p, fmt.Sprintf("policies[%d]", i), last[p.key()] == i)
	}
	if len(c.doc.rules) == 0 {
		return nil, c.warnings
	}
	return []Document{c.doc}, c.warnings
}

// key is how Dapr tells apps apart.
func (p AppPolicy) key() string { return p.AppID + "||" + p.Namespace }

type aclReader struct {
	source   string
	prefix   string
	server   string
	doc      Document
	warnings []Warning
}

func (c *aclReader) warn(line, column int, field, format string, args ...any) {
	c.warnings = append(c.warnings, Warning{
		File: c.source, Line: line, Column: column, Field: "spec.accessControl." + field,
		Message: fmt.Sprintf(format, args...),
	})
}

func (c *aclReader) policy(p AppPolicy, field string, last bool) {
	if !slices.ContainsFunc(p.Operations, c.concerns) {
		return
	}
	pattern, err := p.caller()
	if err != nil {
		c.warn(p.line, p.column, field, "left out: %v", err)
		return
	}
	if !last {
		c.warn(p.line, p.column, field,
			"app %q is listed again below, and Dapr uses the last entry: only the denies of this one are kept", p.AppID)
	}
	for i, o := range p.Operations {
		at := fmt.Sprintf("%s.operations[%d]", field, i)
		if !c.concerns(o) {
			continue
		}
		effect := c.effect(o, at)
		if effect == Allow && !last {
			continue
		}
		tool, ok := c.tool(o, effect, at)
		if !ok {
			continue
		}
		r := rule{
			name: at + " " + c.prefix + "call/" + tool, effect: effect, server: c.server,
			from: []subject{{pattern: pattern, line: p.line, column: p.column, field: "spec.accessControl." + field}},
			line: o.line, column: o.column, field: "spec.accessControl." + at,
		}
		r.names[groupTools] = []string{tool}
		c.doc.rules = append(c.doc.rules, r)
	}
}

// caller returns the one SPIFFE ID an AppPolicy is about.
func (p AppPolicy) caller() (callerPattern, error) {
	if err := checkAppID(p.AppID); err != nil {
		return callerPattern{}, fmt.Errorf("appId: %w", err)
	}
	if err := spiffeid.ValidatePathSegment(p.Namespace); err != nil {
		return callerPattern{}, fmt.Errorf("namespace %q is not legal: %w", p.Namespace, err)
	}
	if err := checkTrustDomain(p.TrustDomain); err != nil {
		return callerPattern{}, fmt.Errorf("trustDomain: %w", err)
	}
	return callerPattern{trustDomain: p.TrustDomain, segments: []string{"ns", p.Namespace, p.AppID}}, nil
}

// below returns what follows mcpPath/tools/ in the name of the operation.
func (c *aclReader) below(o Operation) (string, bool) {
	name := "/" + strings.TrimPrefix(o.Name, "/")
	if len(name) < len(c.prefix) || !strings.EqualFold(name[:len(c.prefix)], c.prefix) {
		return "", false
	}
	return name[len(c.prefix):], true
}

func (c *aclReader) concerns(o Operation) bool {
	_, ok := c.below(o)
	return ok
}

// effect reads the action as Dapr does: what is not allow is deny.
func (c *aclReader) effect(o Operation, field string) Effect {
	if strings.EqualFold(o.Action, string(Allow)) {
		return Allow
	}
	if !strings.EqualFold(o.Action, string(Deny)) {
		c.warn(o.line, o.column, field+".action", "%q is no action and counts as deny: write allow or deny", o.Action)
	}
	return Deny
}

// tool returns the pattern of the tools that the operation is about.
func (c *aclReader) tool(o Operation, effect Effect, field string) (string, bool) {
	post := slices.ContainsFunc(o.HTTPVerb, func(v string) bool { return v == every || strings.EqualFold(v, "POST") })
	if !post && (effect == Allow || len(o.HTTPVerb) > 0) {
		c.warn(o.line, o.column, field+".httpVerb", "left out: tool calls are POST requests: add POST or \"*\"")
		return "", false
	}
	rest, _ := c.below(o)
	const call = "call/"
	if len(rest) > len(call) && strings.EqualFold(rest[:len(call)], call) {
		tool := rest[len(call):]
		if !strings.Contains(tool, "/") && !strings.Contains(tool, "**") && checkText(tool) == nil {
			return tool, true
		}
	}
	consequence := "left out"
	if effect == Deny {
		consequence = "denies every tool"
	}
	c.warn(o.line, o.column, field+".name", "%s: %q is not understood: write %scall/TOOL or %scall/*",
		consequence, o.Name, c.prefix, c.prefix)
	return every, effect == Deny
}
