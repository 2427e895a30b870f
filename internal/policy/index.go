// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// every is the pattern for every server, and for all that a list of a rule can
// name, and for any one path segment of a caller.
const every = "*"

// group is one of the lists by which a rule names actions.
type group int

const (
	groupTools group = iota
	groupMethods
	groupPaths
	groupPrompts
	groupResources
	// groupData is for state and sql: a kind of action, a space, and a key, table or function.
	groupData
	groupCount
	// listCount is the number of groups that are a list in the document.
	listCount = groupData
)

// question is an action as the lists of rules see it: by its own name in one of
// them, by its method in another, or by both.
type question struct {
	name     string // empty for an action that only methods matches
	group    group  // of name
	method   string // empty for an action that methods does not match
	form     form   // of name
	template string // with holes; of name, where form is for templates and ranges
}

// bare reports whether it is about a statement that touches no table.
func (q *question) bare() bool { return q.group == groupData && q.name == KindSQLSelect+" " }

// question says by which lists of a rule the action is matched. Where it is not
// ok, no rule matches the action.
func (a Action) question() (q question, ok bool) {
	switch a.Kind {
	case KindToolCall:
		return question{group: groupTools, name: a.Name}, a.Name != ""
	case KindHTTP:
		return question{group: groupPaths, name: a.Name}, a.Name != ""
	case KindChain:
		return question{method: KindChain, group: groupResources}, true
	}
	method, ok := strings.CutPrefix(a.Kind, KindMCPPrefix)
	if !ok {
		return a.ofData()
	}
	q = question{method: method, group: groupResources}
	switch a.Kind {
	case KindPromptGet:
		q.group, q.name = groupPrompts, a.Name
	case KindResourceRead, KindResourceSubscribe, KindResourceUnsubscribe:
		q.name = a.Name
	case KindComplete:
		if prompt, is := strings.CutPrefix(a.Name, RefPrompt); is {
			q.group, q.name = groupPrompts, prompt
		} else if resource, is := strings.CutPrefix(a.Name, RefResource); is {
			q.name = resource
		}
	}
	if q.group == groupResources && q.name != "" {
		q.ofResource(a.Kind == KindComplete)
	}
	return q, ok && method != ""
}

// ofData is the question for a kind of state and SQL.
func (a Action) ofData() (q question, ok bool) {
	if a.Name == "" && a.Kind != KindSQLSelect || !slices.Contains(dataKinds, a.Kind) {
		return question{}, false
	}
	q = question{group: groupData, name: a.Kind + " " + a.Name}
	if (a.Kind == KindStateQuery || a.Kind == KindStateKeys) && strings.Contains(a.Name, every) {
		q.form, q.template = asRange, ranging(q.name)
	}
	return q, true
}

// ofResource finds out how the URI is to be compared.
func (q *question) ofResource(orTemplate bool) {
	switch {
	case orTemplate && strings.Contains(q.name, "{"):
		q.form, q.template = asTemplate, holes(q.name)
		if !plainTemplate(q.template) {
			q.form = asOddURI
		}
	case !plainURI(q.name):
		q.form = asOddURI
	}
}

// hit holds the first rules of either effect that match: 1 + the rule's place in
// the Set, 0 for none.
type hit struct{ deny, allow int32 }

// add notes the rule at place. Rules are added in order, so the first stays.
func (h *hit) add(effect Effect, place int32) {
	switch {
	case effect == Deny && h.deny == 0:
		h.deny = place
	case effect == Allow && h.allow == 0:
		h.allow = place
	}
}

func (h *hit) merge(other hit) {
	h.deny = first(h.deny, other.deny)
	h.allow = first(h.allow, other.allow)
}

func first(a, b int32) int32 {
	if a == 0 || (b != 0 && b < a) {
		return b
	}
	return a
}

// node is one step of a caller pattern: a trust domain or a path segment. What
// is allowed or denied to callers that end here hangs on it.
type node struct {
	literal map[string]*node
	star    *node
	servers map[string]*target
	every   *target
}

// target is what rules say about one server.
type target struct {
	groups [groupCount]names
	// conditional is nil where no rule has a condition or an obligation.
	conditional *conditional
	// opens: some allow rule names something that is reached by MCP.
	opens bool
	// runs: some allow rule names something of a database.
	runs bool
}

// find adds the first rules without a condition that match.
func (t *target) find(q *question, found *hit) {
	if q.name != "" {
		found.merge(t.groups[q.group].ask(q))
	}
	if q.method != "" {
		found.merge(t.groups[groupMethods].find(q.method))
	}
}

// names finds rules by one of their lists.
type names struct {
	all   hit
	exact map[string]hit
	globs []globHit
	// place finds a glob while compiling, so that equal ones share an entry.
	place map[string]int
}

type globHit struct {
	pattern string
	hit     hit
}

// callers appends to found the nodes whose pattern matches id. It visits only
// nodes that agree with id so far, each at most once.
func callers(roots map[string]*node, found []*node, id spiffeid.ID) []*node {
	root := roots[id.TrustDomain().Name()]
	if root == nil {
		return found
	}
	return root.match(found, strings.TrimPrefix(id.Path(), "/"))
}

func (n *node) match(found []*node, path string) []*node {
	if path == "" {
		return append(found, n)
	}
	segment, rest, _ := strings.Cut(path, "/")
	if child := n.literal[segment]; child != nil {
		found = child.match(found, rest)
	}
	if n.star != nil {
		found = n.star.match(found, rest)
	}
	return found
}

// child returns the node for one more segment, made if need be.
func (n *node) child(segment string) *node {
	if segment == every {
		if n.star == nil {
			n.star = &node{}
		}
		return n.star
	}
	c := n.literal[segment]
	if c == nil {
		if n.literal == nil {
			n.literal = map[string]*node{}
		}
		c = &node{}
		n.literal[segment] = c
	}
	return c
}

// target returns what rules say here about server, made if need be.
func (n *node) target(server string) *target {
	if server == every {
		if n.every == nil {
			n.every = &target{}
		}
		return n.every
	}
	t := n.servers[server]
	if t == nil {
		if n.servers == nil {
			n.servers = map[string]*target{}
		}
		t = &target{}
		n.servers[server] = t
	}
	return t
}

// insert adds the rule that stands at place (counted from 1) for one caller pattern.
func insert(roots map[string]*node, pattern callerPattern, r *rule, place int32) {
	n := roots[pattern.trustDomain]
	if n == nil {
		n = &node{}
		roots[pattern.trustDomain] = n
	}
	for _, segment := range pattern.segments {
		n = n.child(segment)
	}
	t := n.target(r.server)
	for g := range r.names {
		for _, name := range r.names[g] {
			if r.when == nil && r.demands == nil && (r.check == nil || group(g) != groupData) {
				t.groups[g].add(name, r.effect, place)
				continue
			}
			if t.conditional == nil {
				t.conditional = &conditional{}
			}
			t.conditional.add(group(g), name, place)
		}
	}
	for g := range r.names {
		t.opens = t.opens || r.effect == Allow && group(g) != groupPaths && group(g) != groupData && len(r.names[g]) > 0
	}
	t.runs = t.runs || r.effect == Allow && r.sql != nil
}

func (n *names) add(name string, effect Effect, place int32) {
	if strings.Trim(name, every) == "" {
		n.all.add(effect, place)
		return
	}
	if !strings.Contains(name, every) {
		if n.exact == nil {
			n.exact = map[string]hit{}
		}
		h := n.exact[name]
		h.add(effect, place)
		n.exact[name] = h
		return
	}
	i, ok := n.place[name]
	if !ok {
		if n.place == nil {
			n.place = map[string]int{}
		}
		i = len(n.globs)
		n.place[name] = i
		n.globs = append(n.globs, globHit{pattern: name})
	}
	n.globs[i].hit.add(effect, place)
}

// ask finds what matches the name of q in its form.
func (n *names) ask(q *question) hit {
	if q.form == asText {
		return n.find(q.name)
	}
	found := n.all
	for name, h := range n.exact {
		found.merge(q.part(name, h))
	}
	for i := range n.globs {
		found.merge(q.part(n.globs[i].pattern, n.globs[i].hit))
	}
	return found
}

// part is what of the hit of a pattern holds.
func (q *question) part(pattern string, h hit) hit {
	if h.allow != 0 && !q.matches(pattern, Allow) {
		h.allow = 0
	}
	if h.deny != 0 && !q.matches(pattern, Deny) {
		h.deny = 0
	}
	return h
}

func (n *names) find(name string) hit {
	found := n.all
	if h, ok := n.exact[name]; ok {
		found.merge(h)
	}
	for i := range n.globs {
		if globMatch(n.globs[i].pattern, name) {
			found.merge(n.globs[i].hit)
		}
	}
	return found
}

// globMatch reports whether name matches pattern, in which each `*` stands for
// any run of characters, the empty one too. It takes time in proportion to the
// product of the lengths at most.
func globMatch(pattern, name string) bool {
	// back is the place after the last star seen, mark where its run ends so far.
	back, mark := -1, 0
	p, n := 0, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			p++
			back, mark = p, n
		case p < len(pattern) && pattern[p] == name[n]:
			p++
			n++
		case back >= 0:
			mark++
			p, n = back, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], every) == ""
}
