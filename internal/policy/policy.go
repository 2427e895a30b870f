// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package policy decides whether a caller may do what it asks.
//
// Documents (our own AccessPolicy YAML, and spec.accessControl of a Dapr
// Configuration) are parsed, compiled into one immutable Set, and asked with
// Decide. The package guarantees:
//
//   - nothing is allowed unless a rule allows it, and a deny rule beats every
//     allow rule;
//   - Decide is total and pure: it reads no clock, file or network, never fails
//     and is safe for concurrent use; a nil Set denies everything;
//   - conditions of rules (CEL) are compiled when the document is parsed, their
//     work is bounded, and numbers compare by their exact values; one that cannot
//     be evaluated never opens;
//   - a document is taken whole or not at all: an unknown field, a misspelled
//     effect or a pattern that is not understood is an error and never ignored;
//   - the decision depends on nothing but the request and the Set, and the Set
//     is named by its Digest.
//
// The time of a decision does not grow with rules that do not name the caller.
//
// The package does not establish who the caller is, does not read files (see
// policydir) and does not know which MCP methods are plumbing: a door asks
// Reaches for those.
package policy

import (
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/manifest"
)

// Kinds of action that the rules know. Every other JSON-RPC method M of MCP is
// the kind KindMCPPrefix+M.
const (
	// KindToolCall is an MCP tools/call; Name is the tool. Matched by `tools`.
	KindToolCall = "mcp.tools/call"
	// KindPromptGet is an MCP prompts/get; Name is the prompt. Matched by `prompts`
	// and by `methods`.
	KindPromptGet = "mcp.prompts/get"
	// KindResourceRead is an MCP resources/read; Name is the URI. Matched by
	// `resources` and by `methods`, as are the two kinds that follow.
	KindResourceRead        = "mcp.resources/read"
	KindResourceSubscribe   = "mcp.resources/subscribe"
	KindResourceUnsubscribe = "mcp.resources/unsubscribe"
	// KindComplete is an MCP completion/complete; Name is RefPrompt and the prompt,
	// matched by `prompts`, or RefResource and a URI or URI template, matched by
	// `resources`. Both are matched by `methods` too.
	KindComplete = "mcp.completion/complete"
	// KindHTTP is a plain HTTP request; Name is "METHOD /path". Matched by `paths`.
	KindHTTP = "http.request"
	// KindChain is a caller's presenting links of a chain of custody, or asking for
	// one, at the guard of a server. Matched by `methods` under its own name.
	KindChain = "custody.chain"
	// KindMCPPrefix begins the kind of every MCP method. Matched by `methods`.
	KindMCPPrefix = "mcp."
)

// Kinds of action of state stores; Name is the key as the app names it. All of them are
// matched by `state`. A query, and a listing of keys, that names no key has the Name
// "*", or a pattern in which `*` is any run of characters. A write in a transaction is
// KindStateSet or KindStateDelete of its key, and KindStateTransact of the same key beside it.
const (
	KindStateGet      = statePrefix + "get"
	KindStateSet      = statePrefix + "set"
	KindStateDelete   = statePrefix + "delete"
	KindStateQuery    = statePrefix + "query"
	KindStateTransact = statePrefix + "transact"
	KindStateKeys     = statePrefix + "keys"
)

// Kinds of action of databases; Name is schema.table, folded as PostgreSQL folds it,
// for KindSQLCall schema.function. All of them are matched by `sql`. A KindSQLSelect
// without a Name is a statement that touches no table: whom some rule lets do anything
// in the database may do it, unless a rule denies the reading of every table.
const (
	KindSQLSelect = sqlPrefix + "select"
	KindSQLInsert = sqlPrefix + "insert"
	KindSQLUpdate = sqlPrefix + "update"
	KindSQLDelete = sqlPrefix + "delete"
	KindSQLDDL    = sqlPrefix + "ddl"
	// KindSQLCall is a call of a function beyond those that every statement may call.
	KindSQLCall = sqlPrefix + "call"
)

const (
	statePrefix = "state."
	sqlPrefix   = "sql."
)

// What the Name of a KindComplete begins with.
const (
	RefPrompt   = "ref/prompt "
	RefResource = "ref/resource "
)

// Action is what a caller asks a server to do.
type Action struct {
	// Kind is KindToolCall, KindHTTP, KindChain, one of the kinds of state and SQL, or
	// KindMCPPrefix followed by a JSON-RPC method. No rule matches another kind.
	Kind string
	// Server is the name of the MCP server, state store or database. No rule matches an empty one.
	Server string
	// Name is what the kind says. No rule for tools, paths, prompts, resources, state or
	// SQL matches an empty one; other MCP methods are matched by their kind alone.
	Name string
	// Use is what is done with the table that Name names. Nil for what is no SQL; of a
	// table it means that nothing is known of its use: every column read and written,
	// none bound, no WHERE.
	Use *SQLUse
}

// SQLUse is how a statement uses a table in one place. The zero value touches no column.
type SQLUse struct {
	// Reads and Writes are the columns that may be read and written, EveryColumn among
	// them where they are not known one by one. Writes are no matter of a KindSQLSelect,
	// which may stand for what a writing statement returns.
	Reads, Writes []string
	// Bound are the columns that are compared by = with one value, in a condition that
	// every row has to meet.
	Bound []string
	// HasWhere says that a condition chooses the rows by a column of this table.
	HasWhere bool
}

// EveryColumn stands in a SQLUse for all columns.
const EveryColumn = every

// Request is one question to a Set. No rule matches the zero Caller.
type Request struct {
	Caller spiffeid.ID
	Action Action
	// Facts are for the conditions of rules. Where it is nil nothing is known.
	Facts *Facts
}

// Effect is what a rule does and what a decision says. Anything but Allow is a refusal.
type Effect string

// The two effects.
const (
	Allow Effect = "allow"
	Deny  Effect = "deny"
)

// Reasons given in a Decision.
const (
	ReasonDenied  = "rule denies it"
	ReasonAllowed = "rule allows it"
	ReasonNoRule  = "no rule allows it"
	ReasonNoGrant = "rule allows it with a grant only, and there is none"
	ReasonNoSet   = "no policy is in force"
	// Those of DecideDefault.
	ReasonReaches   = "the caller may reach the server"
	ReasonUnreached = "no rule lets the caller reach the server"
)

// Where a condition could not be evaluated and that decided, the reason is a
// sentence that begins with "the condition of rule", has 200 characters at most,
// and holds no value of the request.

// Decision is the answer to a Request. The zero value is not an allow.
type Decision struct {
	Effect Effect
	// Policy and Rule name the rule that decided: the first denying one, else the
	// first allowing one, in the order of policy names and, within a policy, as
	// written. Where nothing allows, and the condition of an allowing rule could
	// not be evaluated, they name the first such rule. Else both are empty.
	Policy string
	Rule   string
	// Reason is one of the Reason constants, or says which condition could not be evaluated.
	Reason string
	// Set is the Digest of the Set, empty for a nil Set.
	Set string
	// Obligations come with an allow and have to be met. Nil means none.
	Obligations *Obligations
	// Shadow is what the decision would be with the policies in shadow mode
	// enforced too. It is nil where that is the same effect and obligations.
	Shadow *Decision
}

// Set is a compiled, immutable set of rules, made by Compile. A nil Set denies
// everything; the zero Set has no rules and so does too.
type Set struct {
	digest   string
	policies int
	rules    []compiledRule
	roots    map[string]*node
	// rehearsed finds the rules of policies in shadow mode too; nil where there is none.
	rehearsed map[string]*node
	// rates says that an enforced rule has a rate.
	rates bool
	// chained are the servers of rules that name chain in a condition, every among them.
	chained map[string]bool
}

// compiledRule is a rule with the policy it stands in and its callers written out.
type compiledRule struct {
	document *Document
	rule     *rule
	from     []string
	// obligations is nil for a rule without.
	obligations *Obligations
}

// Decide answers r. It never fails and is safe for concurrent use, and allocates
// nothing unless a rule with a condition or an obligation names the action, or
// a policy in shadow mode would decide otherwise.
//
// A deny rule denies if its condition is true, and also if it cannot be
// evaluated; an allow rule allows only if its condition is true.
func (s *Set) Decide(r Request) Decision {
	if s == nil {
		return Decision{Effect: Deny, Reason: ReasonNoSet}
	}
	return s.shadowed(r, s.decide)
}

// shadowed decides by the rules that are enforced, and tells where those of
// policies in shadow mode would change that.
func (s *Set) shadowed(r Request, decide func(map[string]*node, Request) Decision) Decision {
	d := decide(s.roots, r)
	if s.rehearsed != nil {
		if would := decide(s.rehearsed, r); would.differs(d) {
			d.Shadow = &would
		}
	}
	return d
}

func (s *Set) decide(roots map[string]*node, r Request) Decision {
	q, ok := r.Action.question()
	if !ok {
		return Decision{Effect: Deny, Reason: ReasonNoRule, Set: s.digest}
	}
	if q.bare() && runs(roots, r.Caller, r.Action.Server) {
		return s.decideReached(roots, r, &q)
	}
	found, conditional := s.find(roots, r.Caller, r.Action.Server, &q)
	return s.conclude(r, found, conditional)
}

func (s *Set) conclude(r Request, found hit, conditional []int32) Decision {
	switch {
	case len(conditional) > 0:
		return s.weigh(r, found, conditional)
	case found.deny != 0:
		return s.decision(Deny, found.deny, ReasonDenied)
	case found.allow != 0:
		return s.decision(Allow, found.allow, ReasonAllowed)
	default:
		return Decision{Effect: Deny, Reason: ReasonNoRule, Set: s.digest}
	}
}

func (s *Set) decision(effect Effect, place int32, reason string) Decision {
	c := &s.rules[place-1]
	return Decision{
		Effect: effect, Policy: c.document.name, Rule: c.rule.name, Reason: reason, Set: s.digest,
	}
}

// find returns the first rules without a condition and obligations that match,
// and the places of all rules with either that do, in no order.
func (s *Set) find(roots map[string]*node, caller spiffeid.ID, server string, q *question) (found hit, conditional []int32) {
	if server == "" {
		return hit{}, nil
	}
	var buffer [16]*node
	for _, n := range callers(roots, buffer[:0], caller) {
		for _, t := range [2]*target{n.every, n.servers[server]} {
			if t != nil {
				t.find(q, &found)
				conditional = t.conditional.find(conditional, q, s.rules)
			}
		}
	}
	return found, conditional
}

// Reaches reports whether the caller may talk to the MCP server at all, which
// a door asks for the protocol's plumbing (initialize, ping, tools/list and the
// like): some allow rule names a tool, prompt, resource or method of the server for
// this caller, and no deny rule without a condition covers all its tools. A nil Set reaches
// nothing. Conditions are not evaluated: a rule that allows under a condition
// opens the way to the server.
func (s *Set) Reaches(caller spiffeid.ID, server string) bool {
	return s != nil && reaches(s.roots, caller, server)
}

func reaches(roots map[string]*node, caller spiffeid.ID, server string) bool {
	if server == "" {
		return false
	}
	var buffer [16]*node
	opened := false
	for _, n := range callers(roots, buffer[:0], caller) {
		for _, t := range [2]*target{n.every, n.servers[server]} {
			if t == nil {
				continue
			}
			if t.groups[groupTools].all.deny != 0 {
				return false
			}
			opened = opened || t.opens
		}
	}
	return opened
}

// runs reports whether some allow rule names anything of a database for the caller.
func runs(roots map[string]*node, caller spiffeid.ID, server string) bool {
	var buffer [16]*node
	for _, n := range callers(roots, buffer[:0], caller) {
		for _, t := range [2]*target{n.every, n.servers[server]} {
			if t != nil && t.runs && server != "" {
				return true
			}
		}
	}
	return false
}

// Digest returns the hex SHA-256 over the canonical form of the documents and
// compile options: equal for equal rules whatever the file names, the order of
// files and documents, the order within from and the lists of to, and the
// comments. It is empty for a nil Set.
func (s *Set) Digest() string {
	if s == nil {
		return ""
	}
	return s.digest
}

// Size returns the number of policies and of rules.
func (s *Set) Size() (policies, rules int) {
	if s == nil {
		return 0, 0
	}
	return s.policies, len(s.rules)
}

// HasRates reports whether some rule that is enforced asks for a rate.
func (s *Set) HasRates() bool { return s != nil && s.rates }

// RuleInfo describes one rule for printing.
type RuleInfo struct {
	Policy string
	Rule   string
	Effect Effect
	// From holds SPIFFE IDs or patterns; app IDs are written out.
	From    []string
	Server  string
	Tools   []string
	Methods []string
	Paths   []string
	// Prompts and Resources are names, URIs and patterns.
	Prompts   []string
	Resources []string
	// State and SQL are what it says of a state store and a database; nil for nothing.
	State *StateRule
	SQL   *SQLRule
	// Demands are what it demands of the use of a table beside its name, in words, such as "where required".
	Demands []string
	// When is the condition, empty for none.
	When string
	// Obligations are what an allow carries, as written, such as "rate: 30/minute".
	Obligations []string
	// Mode is that of the policy.
	Mode Mode
	// Source is file:line of the rule.
	Source string
}

// Rules returns every rule in the order in which decisions name them. The
// slices within are copies.
func (s *Set) Rules() []RuleInfo {
	if s == nil {
		return nil
	}
	infos := make([]RuleInfo, len(s.rules))
	for i := range s.rules {
		infos[i] = s.info(i)
	}
	return infos
}

func (s *Set) infos(places []int32) []RuleInfo {
	var infos []RuleInfo
	for _, place := range places {
		infos = append(infos, s.info(int(place-1)))
	}
	return infos
}

func (s *Set) info(i int) RuleInfo {
	c := &s.rules[i]
	return RuleInfo{
		Policy: c.document.name, Rule: c.rule.name, Effect: c.rule.effect,
		From:    slices.Clone(c.from),
		Server:  c.rule.server,
		Tools:   slices.Clone(c.rule.names[groupTools]),
		Methods: slices.Clone(c.rule.names[groupMethods]),
		Paths:   slices.Clone(c.rule.names[groupPaths]),
		Prompts: slices.Clone(c.rule.names[groupPrompts]), Resources: slices.Clone(c.rule.names[groupResources]),
		State: c.rule.state.clone(), SQL: c.rule.sql.clone(), Demands: c.rule.check.words(),
		When: c.rule.when.String(), Obligations: c.rule.demands.words(), Mode: c.document.mode,
		Source: manifest.At(c.document.file, c.rule.line, 0).String(),
	}
}
