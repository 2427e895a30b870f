// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// The revisions of MCP that are spoken: the newest without a session, and others with what the server answers to
// initialize.
const (
	versionStateless = "2026-07-28"
	versionSessions  = "2025-11-25"
)

// maxToolAnswer bounds the answer of a tool. Dapr takes no message of more than 4 MiB from a worker.
const maxToolAnswer = 3 << 20

const (
	headerStep     = "Custody-Step"
	headerQuestion = "Custody-Question"
	headerAnswer   = "Custody-Answer"
	headerChain    = "Custody-Chain"
	headerHeld     = "Custody-Held"

	headerVersion = "Mcp-Protocol-Version"
	headerMethod  = "Mcp-Method"
	headerName    = "Mcp-Name"
	headerSession = "Mcp-Session-Id"

	methodCall = "tools/call"
)

// dialect is how a server wants to be spoken to.
type dialect struct{ version, session string }

func (d dialect) stateless() bool { return d.version == versionStateless }

// servers remembers what a worker has learnt of servers.
type servers struct {
	mu    sync.Mutex
	known map[string]*server
}

type server struct {
	// greeting is held while it is found out how to speak.
	greeting sync.Mutex

	mu      sync.Mutex
	dialect dialect
	// wants is set where the guard has asked for the chain, and shown are the links that it was given, by chain.
	wants bool
	shown map[string]map[string]bool

	// signers are those of its answers.
	signers signers
}

func newServers() *servers { return &servers{known: map[string]*server{}} }

func (s *servers) of(t *target) *server {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := t.App + " " + t.path()
	if s.known[key] == nil {
		s.known[key] = &server{shown: map[string]map[string]bool{}}
	}
	return s.known[key]
}

func (s *server) spoken() dialect {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dialect
}

// set remembers a dialect; that of a session which has ended is forgotten with the zero one.
func (s *server) set(d dialect) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialect = d
}

// message is a JSON-RPC request or notification. The order of its members is always the same: a step that is asked again
// has to ask the same bytes.
type message struct {
	JSONRPC string `json:"jsonrpc"`
	ID      string `json:"id,omitempty"`
	Method  string `json:"method"`
	Params  any    `json:"params,omitempty"`
}

type implementation struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// meta is what every request of the stateless revision bears.
type meta struct {
	Version      string         `json:"io.modelcontextprotocol/protocolVersion"`
	Client       implementation `json:"io.modelcontextprotocol/clientInfo"`
	Capabilities struct{}       `json:"io.modelcontextprotocol/clientCapabilities"`
}

func self() implementation { return implementation{Name: "custody-workflow", Version: "1"} }

// callBody is the message that calls a tool. It is written by hand since the arguments are JSON already.
func (d dialect) callBody(id, tool string, arguments json.RawMessage) ([]byte, error) {
	body := make([]byte, 0, len(arguments)+len(tool)+len(id)+384)
	body = appendText(append(body, `{"jsonrpc":"2.0","id":`...), id)
	body = append(body, `,"method":"`+methodCall+`","params":{`...)
	if m := d.meta(); m != nil {
		raw, err := json.Marshal(m)
		if err != nil {
			return nil, err
		}
		body = append(appendRaw(body, `"_meta":`, raw), ',')
	}
	body = appendText(append(body, `"name":`...), tool)
	return append(appendRaw(body, `,"arguments":`, arguments), `}}`...), nil
}

func (d dialect) meta() *meta {
	if !d.stateless() {
		return nil
	}
	return &meta{Version: d.version, Client: self()}
}

// post makes the HTTP request of a message.
func (s *sidecar) post(ctx context.Context, t *target, d dialect, method, name string, body []byte) (*http.Request, error) {
	r, err := s.request(ctx, http.MethodPost, s.invoke(t.App, strings.TrimPrefix(t.path(), "/")), body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json, text/event-stream")
	if d.version != "" {
		r.Header.Set(headerVersion, d.version)
	}
	if d.session != "" {
		r.Header.Set(headerSession, d.session)
	}
	if d.stateless() {
		r.Header.Set(headerMethod, method)
		if name != "" {
			r.Header.Set(headerName, headerValue(name))
		}
	}
	return r, nil
}

// headerValue is the value encoding of MCP 2026-07-28 for Mcp-Name.
func headerValue(name string) string {
	plain := name == strings.TrimSpace(name) && !strings.HasPrefix(name, "=?base64?")
	for i := range len(name) {
		plain = plain && name[i] >= ' ' && name[i] <= '~'
	}
	if plain {
		return name
	}
	return "=?base64?" + base64.StdEncoding.EncodeToString([]byte(name)) + "?="
}

// greet finds out how the server is spoken to, once. A server that refuses the caller is spoken to in the stateless
// revision, so that its guard signs the refusal of the call itself.
func (s *sidecar) greet(ctx context.Context, t *target, of *server) (dialect, error) {
	of.greeting.Lock()
	defer of.greeting.Unlock()
	if d := of.spoken(); d.version != "" {
		return d, nil
	}
	stateless := dialect{version: versionStateless}
	var found struct {
		Versions []string `json:"supportedVersions"`
	}
	got, err := s.ask(ctx, t, stateless, message{
		JSONRPC: "2.0", ID: "discover", Method: "server/discover", Params: map[string]any{"_meta": stateless.meta()},
	}, &found)
	switch {
	case err != nil:
		return dialect{}, err
	case got.status == http.StatusForbidden || got.status == http.StatusTooManyRequests:
		return stateless, nil
	case got.status >= http.StatusInternalServerError:
		return dialect{}, fmt.Errorf("status %d: %s", got.status, got.text)
	case slices.Contains(found.Versions, versionStateless):
		of.set(stateless)
		return stateless, nil
	}
	return s.initialize(ctx, t, of)
}

func (s *sidecar) initialize(ctx context.Context, t *target, of *server) (dialect, error) {
	var begun struct {
		Version string `json:"protocolVersion"`
	}
	got, err := s.ask(ctx, t, dialect{}, message{JSONRPC: "2.0", ID: "initialize", Method: "initialize", Params: map[string]any{
		"protocolVersion": versionSessions, "clientInfo": self(), "capabilities": struct{}{},
	}}, &begun)
	if err != nil {
		return dialect{}, err
	}
	if begun.Version == "" {
		return dialect{}, fmt.Errorf("initialize: status %d: %s", got.status, got.text)
	}
	d := dialect{version: begun.Version, session: got.header.Get(headerSession)}
	got, err = s.ask(ctx, t, d, message{JSONRPC: "2.0", Method: "notifications/initialized"}, nil)
	if err != nil {
		return dialect{}, err
	}
	if got.status >= http.StatusBadRequest {
		return dialect{}, fmt.Errorf("notifications/initialized: status %d: %s", got.status, got.text)
	}
	of.set(d)
	return d, nil
}

// told is an answer to a message, with what the sidecars say beside it.
type told struct {
	status           int
	header           http.Header
	question, answer string
	// result is that of JSON-RPC, code and text its error. The text is that of an HTTP error where there is none.
	result json.RawMessage
	code   int
	text   string
	// broken is why nothing could be read, or not all.
	broken error
}

// ask sends a message that is no step, and decodes its result if there is one.
func (s *sidecar) ask(ctx context.Context, t *target, d dialect, m message, result any) (*told, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	r, err := s.post(ctx, t, d, m.Method, "", body)
	if err != nil {
		return nil, err
	}
	got, err := s.send(r)
	if err != nil {
		return nil, err
	}
	if got.broken != nil {
		return nil, got.broken
	}
	if len(got.result) > 0 && result != nil {
		if err := json.Unmarshal(got.result, result); err != nil {
			return nil, fmt.Errorf("the result of %s: %w", m.Method, err)
		}
	}
	return got, nil
}

// send sends a message. An error means that there was no answer at all.
func (s *sidecar) send(r *http.Request) (*told, error) {
	resp, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	got := &told{
		status: resp.StatusCode, header: resp.Header,
		question: resp.Header.Get(headerQuestion), answer: resp.Header.Get(headerAnswer),
	}
	var body []byte
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		body, got.broken = got.events(resp.Body)
	} else {
		body, got.broken = readAtMost(resp.Body, maxToolAnswer)
	}
	if got.broken == nil {
		got.read(body)
	}
	return got, nil
}

// read takes the body apart: a JSON-RPC response, or whatever an HTTP error says.
func (t *told) read(body []byte) {
	var in struct {
		Result json.RawMessage `json:"result"`
		Error  *struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	err := json.Unmarshal(body, &in)
	switch {
	case err == nil && in.Error != nil:
		t.code, t.text = in.Error.Code, in.Error.Message
	case err == nil && len(in.Result) > 0:
		t.result = in.Result
	case t.status >= http.StatusBadRequest:
		t.text = (&answer{body: body}).text()
	case len(body) > 0:
		t.broken = errors.New("the answer is not a JSON-RPC response")
	}
}

// events reads server-sent events up to the response, and takes the answer from the comments. Everything else that the
// server sends is passed over: a step has nobody to answer it.
func (t *told) events(body io.Reader) ([]byte, error) {
	lines := bufio.NewReader(io.LimitReader(body, maxToolAnswer))
	var data, response []byte
	for {
		line, err := lines.ReadBytes('\n')
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case len(line) == 0 && err == nil && len(data) > 0:
			if isResponse(data) {
				response = data
			}
			data = nil
		case bytes.HasPrefix(line, []byte("data:")):
			if data != nil {
				data = append(data, '\n')
			}
			data = append(data, bytes.TrimPrefix(line[len("data:"):], []byte(" "))...)
		case bytes.HasPrefix(line, []byte(": custody-answer ")):
			t.answer = string(line[len(": custody-answer "):])
		}
		switch {
		case errors.Is(err, io.EOF) && response != nil:
			return response, nil
		case errors.Is(err, io.EOF):
			return nil, errors.New("the events ended, or were more than can be read, before the response")
		case err != nil:
			return nil, err
		}
	}
}

func isResponse(data []byte) bool {
	var in struct {
		Method string          `json:"method"`
		Result json.RawMessage `json:"result"`
		Error  json.RawMessage `json:"error"`
	}
	return json.Unmarshal(data, &in) == nil && in.Method == "" && (len(in.Result) > 0 || len(in.Error) > 0)
}
