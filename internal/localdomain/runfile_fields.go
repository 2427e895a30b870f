// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/nearest"
)

// fieldRule says how one field of the format is treated.
type fieldRule struct {
	// appOnly fields may not stand in the common section.
	appOnly bool
	// refuse, if set, says why the field is part of the format but not
	// supported, and what to do instead.
	refuse string
	// ignore, if set, says why the field has no effect.
	ignore string
	// flag is the flag of daprd that the value is passed to unchanged.
	flag string
	kind valueKind
}

type valueKind uint8

const (
	textValue valueKind = iota
	intValue
	boolValue
	portValue
	listValue
	envValue
)

// runFileFields is the format of Dapr's multi-app run file (the fields of the
// Dapr CLI up to 1.16), see
// https://docs.dapr.io/developing-applications/local-development/multi-app-dapr-run/multi-app-template/.
func runFileFields() map[string]fieldRule {
	const kubernetes = "belongs to Kubernetes; remove it"
	return map[string]fieldRule{
		"appID":                {appOnly: true},
		"appDirPath":           {appOnly: true},
		"command":              {appOnly: true, kind: listValue},
		"appPort":              {appOnly: true, kind: portValue},
		"daprHTTPPort":         {appOnly: true, kind: portValue},
		"daprGRPCPort":         {appOnly: true, kind: portValue},
		"daprInternalGRPCPort": {appOnly: true, kind: portValue},
		"metricsPort":          {appOnly: true, kind: portValue},
		"profilePort":          {appOnly: true, kind: portValue},
		"appChannelAddress":    {appOnly: true},

		"env":                 {kind: envValue},
		"appProtocol":         {},
		"configFilePath":      {},
		"resourcesPath":       {},
		"resourcesPaths":      {kind: listValue},
		"apiListenAddresses":  {},
		"appLogDestination":   {},
		"daprdLogDestination": {},

		"logLevel":               {flag: "--log-level"},
		"appMaxConcurrency":      {flag: "--app-max-concurrency", kind: intValue},
		"maxBodySize":            {flag: "--max-body-size"},
		"readBufferSize":         {flag: "--read-buffer-size"},
		"enableProfiling":        {flag: "--enable-profiling", kind: boolValue},
		"enableApiLogging":       {flag: "--enable-api-logging", kind: boolValue},
		"enableAppHealthCheck":   {flag: "--enable-app-health-check", kind: boolValue},
		"appHealthCheckPath":     {flag: "--app-health-check-path"},
		"appHealthProbeInterval": {flag: "--app-health-probe-interval", kind: intValue},
		"appHealthProbeTimeout":  {flag: "--app-health-probe-timeout", kind: intValue},
		"appHealthThreshold":     {flag: "--app-health-threshold", kind: intValue},

		"placementHostAddress": {ignore: "has no effect: the run starts a Placement service of its own"},
		"schedulerHostAddress": {ignore: "has no effect: the run starts a Scheduler service of its own"},

		"appSSL":                   {refuse: "is Dapr's old form; write appProtocol: https or grpcs"},
		"daprMaxBodySize":          {refuse: "is an old name; write maxBodySize, such as 8Mi"},
		"daprHTTPMaxRequestSize":   {refuse: "is an old name; write maxBodySize, such as 8Mi"},
		"daprHTTPReadBufferSize":   {refuse: "is an old name; write readBufferSize, such as 8Ki"},
		"unixDomainSocket":         {refuse: "would hide the sidecar from the health checks; remove it, the sidecar listens on loopback"},
		"runtimePath":              {refuse: "would name another daprd; use the flag --daprd"},
		"envFile":                  {refuse: "is not read; write the variables into env"},
		"envFiles":                 {refuse: "is not read; write the variables into env"},
		"containerImage":           {refuse: kubernetes},
		"containerImagePullPolicy": {refuse: kubernetes},
		"createService":            {refuse: kubernetes},
	}
}

// section is a decoded mapping: the values of the known fields by name.
type section struct {
	path   string
	line   int
	values map[string]*yaml.Node
}

func (s *section) field(name string) string {
	if s.path == "" {
		return name
	}
	return s.path + "." + name
}

func (s *section) lineOf(name string) int {
	if node := s.values[name]; node != nil {
		return node.Line
	}
	return s.line
}

// section reads a mapping whose keys are those of rules. Whatever is not in
// rules, refused, doubled or an alias is a problem.
func (p *runFileParser) section(path string, node *yaml.Node, rules map[string]fieldRule, common bool) *section {
	s := &section{path: path, line: node.Line, values: map[string]*yaml.Node{}}
	if node.Kind != yaml.MappingNode {
		p.fail(node.Line, path, "must be a mapping of fields")
		return s
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		field := s.field(key.Value)
		rule, known := rules[key.Value]
		switch {
		case !known:
			p.fail(key.Line, field, "unknown field%s", suggestion(key.Value, rules))
		case s.values[key.Value] != nil:
			p.fail(key.Line, field, "given twice; keep one (the other is in line %d)", s.values[key.Value].Line)
		case rule.refuse != "":
			p.fail(key.Line, field, "not supported: %s", rule.refuse)
		case common && rule.appOnly:
			p.fail(key.Line, field, "belongs to one app; move it below apps")
		case value.Kind == yaml.AliasNode:
			p.fail(key.Line, field, "YAML aliases are not supported; write the value out")
		case isNull(value):
			// As in Dapr an empty value is the same as no value.
		default:
			if rule.ignore != "" {
				p.notice(key.Line, field, rule.ignore)
			}
			s.values[key.Value] = value
		}
	}
	return s
}

func isNull(node *yaml.Node) bool { return node.Kind == yaml.ScalarNode && node.Tag == "!!null" }

func (p *runFileParser) text(s *section, name string) string {
	node := s.values[name]
	if node == nil {
		return ""
	}
	if node.Kind != yaml.ScalarNode {
		p.fail(node.Line, s.field(name), "must be a text, not a list or mapping")
		return ""
	}
	return node.Value
}

func (p *runFileParser) integer(s *section, name string) int {
	node := s.values[name]
	if node == nil {
		return 0
	}
	n, err := strconv.Atoi(node.Value)
	if node.Kind != yaml.ScalarNode || err != nil {
		p.fail(node.Line, s.field(name), "must be a whole number, not %q", node.Value)
		return 0
	}
	return n
}

func (p *runFileParser) port(s *section, name string) Port {
	n := p.integer(s, name)
	if n < 0 || n > 65535 {
		p.fail(s.lineOf(name), s.field(name), "%d is no port; take one from 1 to 65535, or leave the field out and a free port is chosen", n)
		n = 0
	}
	return Port{Number: n, Line: s.lineOf(name)}
}

func (p *runFileParser) boolean(s *section, name string) bool {
	node := s.values[name]
	if node == nil {
		return false
	}
	var b bool
	if err := node.Decode(&b); err != nil {
		p.fail(node.Line, s.field(name), "must be true or false, not %q", node.Value)
	}
	return b
}

func (p *runFileParser) list(s *section, name string) []string {
	node := s.values[name]
	if node == nil {
		return nil
	}
	if node.Kind != yaml.SequenceNode {
		p.fail(node.Line, s.field(name), "must be a list, such as [\"./server\", \"--fast\"]")
		return nil
	}
	items := make([]string, 0, len(node.Content))
	for i, item := range node.Content {
		if item.Kind != yaml.ScalarNode || isNull(item) {
			p.fail(item.Line, fmt.Sprintf("%s[%d]", s.field(name), i), "must be a text")
			continue
		}
		items = append(items, item.Value)
	}
	return items
}

func (p *runFileParser) env(s *section) map[string]string {
	node := s.values["env"]
	env := map[string]string{}
	if node == nil {
		return env
	}
	if node.Kind != yaml.MappingNode {
		p.fail(node.Line, s.field("env"), "must be a mapping of variables, such as LOG: debug")
		return env
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		field := s.field("env") + "." + key.Value
		_, double := env[key.Value]
		switch {
		case key.Value == "" || strings.ContainsAny(key.Value, "=\x00"):
			p.fail(key.Line, field, "is no name of an environment variable")
		case double:
			p.fail(key.Line, field, "given twice; keep one")
		case value.Kind != yaml.ScalarNode:
			p.fail(value.Line, field, "must be a text")
		case strings.Contains(value.Value, "\x00"):
			p.fail(value.Line, field, "must not contain a NUL")
		case isNull(value):
			env[key.Value] = ""
		default:
			env[key.Value] = value.Value
		}
	}
	return env
}

// suggestion names the known field that is nearest to what was written.
func suggestion(wrote string, rules map[string]fieldRule) string {
	const longest = 40 // no field is longer
	if len(wrote) > longest {
		return "; remove it"
	}
	known := make([]string, 0, len(rules))
	for name, rule := range rules {
		if rule.refuse == "" {
			known = append(known, name)
		}
	}
	slices.Sort(known)
	best := nearest.Word(wrote, known)
	if best == "" {
		return "; remove it"
	}
	return fmt.Sprintf("; did you mean %s?", best)
}
