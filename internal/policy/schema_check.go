// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dapr-custody/custody/internal/manifest"
)

// Limits of one Check. What lies beyond is not checked, which a finding says.
const (
	maxFindings   = 100
	maxChecked    = 10_000  // conditions
	maxCheckSteps = 200_000 // about one for 64 bytes of a condition, for each tool
	maxLookedAt   = 10_000_000
	maxToolsNamed = 3 // in one message
)

// Finding is something in a condition that is not right for a tool that its rule
// names, going by the schema that the tool's server publishes.
type Finding struct {
	Warning
	// Hint says that it may be meant as it is: a text that the schema does not list,
	// or a schema that cannot be used, for which there is no place in a file.
	Hint bool
}

// Error returns the finding as an error in a file.
func (f Finding) Error() *Error {
	return &Error{Room: room, File: f.File, Line: f.Line, Column: f.Column, Field: f.Field, Message: f.Message}
}

// Check looks at every rule with a condition, for each tool of the catalogue that
// the rule names by server and tools: whether the tool has the arguments that the
// condition names, and whether they are of types that it can use them as. It
// returns what is not right in the order of the files, 100 at most.
//
// Where the schema leaves a part open nothing is found there, and dyn(...) takes
// a part out of the check. A condition that asks whether a tool has an argument,
// with has or in, is right if one tool of the rule has it. Rules about servers and
// tools that the catalogue does not hold are passed over; see Unchecked.
func Check(documents []Document, c Catalogue) []Finding {
	ch := checker{catalogue: c, schemas: map[toolID]*shape{}}
	for i := range documents {
		for j := range documents[i].rules {
			ch.rule(&documents[i], &documents[i].rules[j])
		}
	}
	slices.SortStableFunc(ch.findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	findings := ch.findings
	if n := len(findings) - maxFindings; n > 0 {
		findings = append(findings[:maxFindings:maxFindings], hint(fmt.Sprintf("and %d more findings in conditions", n)))
	}
	if ch.over {
		findings = append(findings, hint(fmt.Sprintf(
			"not every condition was checked against the schemas of tools: the limits are %d conditions and %d steps",
			maxChecked, maxCheckSteps)))
	}
	return findings
}

func hint(message string) Finding { return Finding{Warning: Warning{Message: message}, Hint: true} }

// Unchecked returns the servers of which rules with a condition name tools, while
// the catalogue holds none that they name.
func Unchecked(documents []Document, c Catalogue) []string {
	ch := checker{catalogue: c}
	servers := map[string]bool{}
	for i := range documents {
		for j := range documents[i].rules {
			r := &documents[i].rules[j]
			if r.when != nil && len(r.names[groupTools]) > 0 && len(ch.tools(r)) == 0 {
				servers[r.server] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(servers))
}

type toolID struct{ server, tool string }

func (id toolID) String() string {
	return manifest.Shorten(id.server) + "/" + manifest.Shorten(id.tool)
}

type checker struct {
	catalogue Catalogue
	// schemas are those read so far, nil for one that cannot be used.
	schemas  map[toolID]*shape
	findings []Finding
	// names are the tools of each server in order.
	names map[string][]string
	// conditions, steps and looked count what was done.
	conditions, steps, looked int
	over                      bool
	// text is the condition last read, since rules often repeat one.
	text string
	last *typed
	// source is the text last taken apart into lines.
	source string
	lines  []string
}

// tools returns those that a rule names.
func (ch *checker) tools(r *rule) []toolID {
	servers := []string{r.server}
	if r.server == every {
		servers = slices.Sorted(maps.Keys(ch.catalogue))
	}
	var found []toolID
	for _, server := range servers {
		for _, name := range r.names[groupTools] {
			if !strings.Contains(name, every) {
				if _, ok := ch.catalogue[server][name]; ok {
					found = append(found, toolID{server, name})
				}
				continue
			}
			for _, tool := range ch.sorted(server) {
				if globMatch(name, tool) {
					found = append(found, toolID{server, tool})
				}
			}
			ch.looked += len(ch.names[server])
		}
	}
	slices.SortFunc(found, func(a, b toolID) int { return cmp.Or(cmp.Compare(a.server, b.server), cmp.Compare(a.tool, b.tool)) })
	return slices.Compact(found)
}

func (ch *checker) sorted(server string) []string {
	if ch.names == nil {
		ch.names = map[string][]string{}
	}
	names, ok := ch.names[server]
	if !ok {
		names = slices.Sorted(maps.Keys(ch.catalogue[server]))
		ch.names[server] = names
	}
	return names
}

func (ch *checker) rule(d *Document, r *rule) {
	if r.when == nil || len(r.names[groupTools]) == 0 || r.whenAt == nil || ch.over {
		return
	}
	tools := ch.tools(r)
	if len(tools) == 0 {
		return
	}
	if ch.last == nil || ch.text != r.whenAt.Value {
		ch.conditions++
		read, err := readTyped(r.whenAt.Value)
		if err != nil {
			// Parse took it, so that it is not for us to say.
			return
		}
		ch.text, ch.last = r.whenAt.Value, read
	}
	ch.steps += len(tools) * (1 + len(ch.text)/64)
	if ch.over = ch.conditions > maxChecked || ch.steps > maxCheckSteps || ch.looked > maxLookedAt; ch.over {
		return
	}
	for _, g := range ch.faults(tools) {
		ch.report(d, r, g)
	}
}

// fault is one thing that is wrong for some tools.
type fault struct {
	wrong
	tools []toolID
}

// faults checks the condition at hand for each tool.
func (ch *checker) faults(tools []toolID) []*fault {
	var all []*fault
	met := map[int]bool{}
	known := map[wrong]*fault{}
	for _, id := range tools {
		args := ch.schema(id)
		if args == nil {
			continue
		}
		t := typing{condition: ch.last, server: id.server, tool: id.tool, args: args}
		t.infer(ch.last.tree.Expr())
		for _, at := range t.met {
			met[at] = true
		}
		for _, w := range t.found {
			key := w
			key.help = ""
			if g := known[key]; g == nil {
				known[key] = &fault{wrong: w, tools: []toolID{id}}
				all = append(all, known[key])
			} else if g.tools[len(g.tools)-1] != id {
				g.tools = append(g.tools, id)
				if g.help != w.help {
					g.help = ""
				}
			}
		}
	}
	return slices.DeleteFunc(all, func(g *fault) bool { return g.asked && met[g.offset] })
}

// schema reads the schema of a tool once, and says once that it cannot be used.
func (ch *checker) schema(id toolID) *shape {
	if known, ok := ch.schemas[id]; ok {
		return known
	}
	read, err := readSchema(ch.catalogue[id.server][id.tool])
	if err != nil {
		read = nil
		ch.findings = append(ch.findings, hint(fmt.Sprintf(
			"the input schema of tool %s cannot be used, so that conditions are not checked against it: %v", id, err)))
	}
	ch.schemas[id] = read
	return read
}

// report notes a finding at its place in the file.
func (ch *checker) report(d *Document, r *rule, g *fault) {
	if ch.lines == nil || ch.source != d.text {
		ch.source, ch.lines = d.text, strings.Split(d.text, "\n")
	}
	at := ch.last.tree.SourceInfo().GetLocationByOffset(int32(g.offset)) //nolint:gosec // MaxConditionBytes fits
	line, column := placeInScalar(ch.lines, r.whenAt, at.Line(), at.Column())
	ch.findings = append(ch.findings, Finding{
		Warning: Warning{
			File: d.file, Line: line, Column: column, Field: r.field + ".when",
			Message: g.before + named(g.tools) + g.after + g.help,
		},
		Hint: g.hint,
	})
}

// named lists tools, the first few by their names.
func named(tools []toolID) string {
	names := make([]string, 0, maxToolsNamed)
	for _, id := range tools[:min(len(tools), maxToolsNamed)] {
		names = append(names, id.String())
	}
	text := strings.Join(names, ", ")
	switch more := len(tools) - maxToolsNamed; {
	case len(tools) == 1:
		return "tool " + text
	case more > 0:
		return fmt.Sprintf("tools %s and %d more", text, more)
	}
	return "tools " + text
}

// quoted makes a name fit for a message.
func quoted(name string) string {
	if len(name) > maxAppID {
		name = string([]rune(name[:maxAppID])) + "..."
	}
	return fmt.Sprintf("%q", name)
}
