// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package toolcall

import "fmt"

// Kind says what a JSON-RPC message is.
type Kind uint8

const (
	// KindRequest is a call that wants an answer.
	KindRequest Kind = iota + 1
	// KindNotification is a call that wants none.
	KindNotification
	// KindResponse is an answer: of a server to a request, or of a client to a request of the server.
	KindResponse
)

func (k Kind) String() string {
	switch k {
	case KindRequest:
		return "request"
	case KindNotification:
		return "notification"
	case KindResponse:
		return "response"
	}
	return "unknown"
}

// Message is one request, notification or response that [Parse] let through. It does not change and may be shared. The
// slices it hands out are its own and must not be written to.
type Message struct {
	kind      Kind
	method    string
	name      string
	version   string
	session   string
	body      []byte
	id        []byte // part of body
	arguments []byte // part of body
}

// Kind says whether this is a request, a notification or a response.
func (m *Message) Kind() Kind { return m.kind }

// Method is the JSON-RPC method, "" for a response.
func (m *Message) Method() string { return m.method }

// ID is the id as JSON in our encoding, nil for a notification. It is null at most in an error response.
func (m *Message) ID() []byte { return m.id }

// Name is what the method acts on: the tool of tools/call, the prompt of prompts/get, the URI of resources/read,
// subscribe and unsubscribe, the task of tasks/get, result, cancel and update, and for completion/complete "ref/prompt"
// or "ref/resource", a space, and the prompt or the URI or template. It is "" for other methods and never for these.
func (m *Message) Name() string { return m.name }

// Arguments is params.arguments as a JSON object in our encoding, nil if there are none.
func (m *Message) Arguments() []byte { return m.arguments }

// ProtocolVersion is the revision that the message follows: that of the header, 2025-03-26 without a header. For
// initialize it is the one asked for, which may be a revision that we do not know; the answer settles it.
func (m *Message) ProtocolVersion() string { return m.version }

// Session is the value of Mcp-Session-Id, "" if there is none.
func (m *Message) Session() string { return m.session }

// Body is the message in our encoding: these bytes, and no others, are what was decided and have to be forwarded.
func (m *Message) Body() []byte { return m.body }

// BodyDigest is the SHA-256 of Body in hex.
func (m *Message) BodyDigest() string { return digest(m.body) }

// ArgumentsDigest is the SHA-256 in hex of the arguments in canonical form (RFC 8785), which others can compute again
// whatever the order and spelling they hold them in; "" if there are none. RFC 8785 takes numbers as float64, so
// arguments that differ only in digits beyond its precision have one digest. BodyDigest tells them apart.
func (m *Message) ArgumentsDigest() (string, error) {
	if m.arguments == nil {
		return "", nil
	}
	d, err := canonicalDigest(m.arguments)
	if err != nil {
		return "", fmt.Errorf("toolcall: arguments: %w", err)
	}
	return d, nil
}
