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

	methodInitialize = "initialize"
	methodToolsCall  = "tools/call"
)

type methodEntry struct {
	name     string
	in       revision // where a client may send it
	plumbing bool
	names    string // the member of params that Mcp-Name stands for
}

// methods lists what a client may send to a server, frequent ones first. Tasks are in the core of 2025-11-25 and an
// official extension of 2026-07-28.
var methods = [...]methodEntry{
	{name: methodToolsCall, in: every, names: "name"},
	{name: "tools/list", in: every, plumbing: true},
	{name: methodInitialize, in: sessions, plumbing: true},
	{name: "notifications/initialized", in: sessions, plumbing: true},
	{name: "server/discover", in: r20260728, plumbing: true},
	{name: "ping", in: sessions, plumbing: true},
	{name: "notifications/cancelled", in: every, plumbing: true},
	{name: "notifications/progress", in: sessions, plumbing: true},
	{name: "notifications/roots/list_changed", in: sessions, plumbing: true},
	{name: "notifications/tasks/status", in: r20251125},
	{name: "resources/list", in: every},
	{name: "resources/templates/list", in: every},
	{name: "resources/read", in: every, names: "uri"},
	{name: "resources/subscribe", in: sessions, names: "uri"},
	{name: "resources/unsubscribe", in: sessions, names: "uri"},
	{name: "prompts/list", in: every},
	{name: "prompts/get", in: every, names: "name"},
	{name: "completion/complete", in: every},
	{name: "logging/setLevel", in: sessions},
	{name: "subscriptions/listen", in: r20260728},
	{name: "tasks/get", in: r20251125 | r20260728, names: "taskId"},
	{name: "tasks/cancel", in: r20251125 | r20260728, names: "taskId"},
	{name: "tasks/result", in: r20251125, names: "taskId"},
	{name: "tasks/list", in: r20251125},
	{name: "tasks/update", in: r20260728, names: "taskId"},
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

// Plumbing reports whether a method is needed by every caller who may reach the server at all and gives access to no
// data: opening the conversation, ping, progress, cancelling, and tools/list, whose answer is filtered.
func Plumbing(method string) bool { return lookup(method).plumbing }

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

	toolMembers = []string{"name"}
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
