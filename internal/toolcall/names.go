// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package toolcall

import (
	"bytes"
	"strings"
)

// Revisions of MCP that are understood.
const (
	Version20260728 = "2026-07-28"
	Version20251125 = "2025-11-25"
	Version20250618 = "2025-06-18"
	Version20250326 = "2025-03-26"
)

// revision is a set of revisions.
type revision uint8

const (
	r20250326 revision = 1 << iota
	r20250618
	r20251125
	r20260728

	sessions = r20250326 | r20250618 | r20251125 // those that begin with initialize
	every    = sessions | r20260728
)

func revisionOf(version string) revision {
	switch version {
	case Version20260728:
		return r20260728
	case Version20251125:
		return r20251125
	case Version20250618:
		return r20250618
	case Version20250326:
		return r20250326
	}
	return 0
}

const (
	metaVersion = "io.modelcontextprotocol/protocolVersion"

	notificationPrefix = "notifications/"

	methodInitialize    = "initialize"
	methodToolsCall     = "tools/call"
	methodPromptsGet    = "prompts/get"
	methodResourcesRead = "resources/read"
	methodComplete      = "completion/complete"
)

// Default says who may use a method that no rule denies.
type Default uint8

const (
	// Named is whom a rule names, and so nobody by default.
	Named Default = iota
	// Reach is whoever some rule lets do something at the server. Such methods keep the protocol going, or give a list
	// that is filtered.
	Reach
	// Owner is the caller whose call made the task that the method is about, as long as it may make that call.
	Owner
)

func (d Default) String() string {
	switch d {
	case Named:
		return "named"
	case Reach:
		return "reach"
	case Owner:
		return "owner"
	}
	return "unknown"
}

type methodEntry struct {
	name    string
	in      revision // where it is sent
	by      Default
	matched string // by which lists of a rule besides `methods`; only by that for tools/call
	names   string // the member of params that Mcp-Name stands for
	listing listing
}

// listing says how a result lists what a caller may or may not see.
type listing struct {
	member string // of result
	item   string // what one is called
	key    string // the member of an item that names it
}

// methods lists what a client may send to a server, frequent ones first. Tasks are in the core of 2025-11-25 and an
// official extension of 2026-07-28.
var methods = [...]methodEntry{
	{name: methodToolsCall, in: every, matched: "tools", names: "name"},
	{name: "tools/list", in: every, by: Reach, listing: listing{"tools", "tool", "name"}},
	{name: methodInitialize, in: sessions, by: Reach},
	{name: "notifications/initialized", in: sessions, by: Reach},
	{name: "server/discover", in: r20260728, by: Reach},
	{name: "ping", in: sessions, by: Reach},
	{name: "notifications/cancelled", in: every, by: Reach},
	{name: "notifications/progress", in: sessions, by: Reach},
	{name: "notifications/roots/list_changed", in: sessions, by: Reach},
	{name: "notifications/tasks/status", in: r20251125},
	{name: "resources/list", in: every, by: Reach, listing: listing{"resources", "resource", "uri"}},
	{
		name: "resources/templates/list", in: every, by: Reach,
		listing: listing{"resourceTemplates", "resource template", "uriTemplate"},
	},
	{name: methodResourcesRead, in: every, matched: "resources", names: "uri"},
	{name: "resources/subscribe", in: sessions, matched: "resources", names: "uri"},
	{name: "resources/unsubscribe", in: sessions, matched: "resources", names: "uri"},
	{name: "prompts/list", in: every, by: Reach, listing: listing{"prompts", "prompt", "name"}},
	{name: methodPromptsGet, in: every, matched: "prompts", names: "name"},
	{name: methodComplete, in: every, matched: "prompts, resources"},
	{name: "logging/setLevel", in: sessions},
	{name: "subscriptions/listen", in: r20260728},
	{name: "tasks/get", in: r20251125 | r20260728, by: Owner, names: "taskId"},
	{name: "tasks/cancel", in: r20251125 | r20260728, by: Owner, names: "taskId"},
	{name: "tasks/result", in: r20251125, by: Owner, names: "taskId"},
	{name: "tasks/list", in: r20251125, by: Reach, listing: listing{"tasks", "task", "taskId"}},
	{name: "tasks/update", in: r20260728, by: Owner, names: "taskId"},
}

// serverMethods lists what a server may ask of a client, on a stream of events or, since 2026-07-28, in a result.
var serverMethods = [...]methodEntry{
	{name: "roots/list", in: every},
	{name: "sampling/createMessage", in: every},
	{name: "elicitation/create", in: r20250618 | r20251125 | r20260728},
	{name: "ping", in: sessions},
	{name: "tasks/get", in: r20251125},
	{name: "tasks/cancel", in: r20251125},
	{name: "tasks/result", in: r20251125},
	{name: "tasks/list", in: r20251125},
}

// Method is a method of MCP, and who may use it.
type Method struct {
	Name string
	// FromServer says that the server sends it to the client; else it is the other way.
	FromServer bool
	// Versions are the revisions that have it, oldest first.
	Versions []string
	// Default is who may use it where no rule says otherwise. A rule that denies it by `methods` holds against every
	// default.
	Default Default
	// Lists are the lists of a rule that match it.
	Lists []string
	// Filtered says that what the caller may not use is taken out of the answer.
	Filtered bool
}

// Methods returns every method of every revision that is understood: first what clients send, then what servers ask of
// clients.
func Methods() []Method {
	all := make([]Method, 0, len(methods)+len(serverMethods))
	for _, m := range methods {
		all = append(all, m.method())
	}
	for _, m := range serverMethods {
		method := m.method()
		method.FromServer = true
		all = append(all, method)
	}
	return all
}

func (m *methodEntry) method() Method {
	method := Method{Name: m.name, Default: m.by, Filtered: m.listing.member != ""}
	for _, version := range []string{Version20250326, Version20250618, Version20251125, Version20260728} {
		if m.in&revisionOf(version) != 0 {
			method.Versions = append(method.Versions, version)
		}
	}
	if m.matched != "" {
		method.Lists = strings.Split(m.matched, ", ")
	}
	if m.name != methodToolsCall {
		method.Lists = append(method.Lists, "methods")
	}
	return method
}

// lookup returns the entry of a method, or the zero entry for one that no revision has.
func lookup(method string) methodEntry {
	for i := range methods {
		if methods[i].name == method {
			return methods[i]
		}
	}
	return methodEntry{}
}

// intern spares a copy of the name of a method that is known.
func intern(method []byte) string {
	for i := range methods {
		if methods[i].name == string(method) {
			return methods[i].name
		}
	}
	return string(method)
}

// DefaultOf returns who may send the method to a server where no rule says otherwise: Named for a method that no
// revision has.
func DefaultOf(method string) Default { return lookup(method).by }

// Listing reports whether the answer to the method is a list that [FilterList] filters.
func Listing(method string) bool { return lookup(method).listing.member != "" }

// Known reports whether a revision of MCP lets a client send the method to a server, tasks included. An unknown
// revision knows no method.
func Known(method, version string) bool { return lookup(method).in&revisionOf(version) != 0 }

// Members that MCP knows, over all revisions: where one of them is expected, a name that differs from it only in case
// is refused.
var (
	messageMembers = []string{"jsonrpc", "id", "method", "params", "result", "error"}

	paramsMembers = []string{
		"_meta", "name", "arguments", "uri", "cursor", "protocolVersion", "clientInfo", "capabilities", "ref",
		"argument", "context", "level", "requestId", "reason", "progressToken", "progress", "total", "message",
		"inputResponses", "inputRequests", "requestState", "notifications", "task", "taskId", "ttl", "status",
		"statusMessage", "createdAt", "lastUpdatedAt", "pollInterval", "logger", "data", "messages",
		"modelPreferences", "systemPrompt", "includeContext", "temperature", "maxTokens", "stopSequences", "metadata",
		"tools", "toolChoice", "mode", "requestedSchema", "url", "elicitationId",
	}

	metaMembers = []string{
		"progressToken", metaVersion, "io.modelcontextprotocol/clientInfo",
		"io.modelcontextprotocol/clientCapabilities", "io.modelcontextprotocol/logLevel",
		"io.modelcontextprotocol/serverInfo", "io.modelcontextprotocol/subscriptionId",
		"io.modelcontextprotocol/related-task", "io.modelcontextprotocol/model-immediate-response", "traceparent",
		"tracestate", "baggage",
	}

	resultMembers = []string{
		"_meta", "isError", "content", "structuredContent", "tools", "nextCursor", "ttlMs", "cacheScope", "resultType",
		"inputRequests", "requestState",
	}

	errorMembers = []string{"code", "message", "data"}

	refMembers = []string{"type", "name", "uri"}

	inputMembers = []string{"method", "params"}

	aboutMembers = []string{"uri", "taskId", "inputRequests"}
)

const turkish = "\u0130\u0131" // dotted capital and dotless small i

// checkMember refuses a member name that a lenient reader could take for a known one: one that is equal to it under
// Unicode simple case folding, also with Turkish dotted and dotless i for i, or that holds U+0000, where readers in C
// end a string.
func checkMember(name []byte, known []string) error {
	for _, k := range known {
		if k == string(name) {
			return nil
		}
	}
	if bytes.IndexByte(name, 0) >= 0 {
		return invalid(CodeInvalidRequest, "member name %s holds U+0000", clip(string(name)))
	}
	folded := string(name)
	if strings.ContainsAny(folded, turkish) {
		folded = strings.NewReplacer("\u0130", "i", "\u0131", "i").Replace(folded)
	}
	for _, k := range known {
		// Only K and S have forms of another length, three and two bytes long.
		if len(folded) >= len(k) && len(folded) <= 3*len(k) && strings.EqualFold(folded, k) {
			return invalid(CodeInvalidRequest, "member name %s differs from %q only in case", clip(string(name)), k)
		}
	}
	return nil
}
