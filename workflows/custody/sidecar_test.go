// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gowebpki/jcs"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
)

// sidecar is that of the app refunds as docs/chain.md describes it, and behind it the sidecar of the server payments with
// a real MCP server. It signs as both.
type sidecar struct {
	*httptest.Server
	t   *testing.T
	ca  *testkit.CA
	mcp *testkit.MCPServer

	mu    sync.Mutex
	n     int
	svids map[string]*x509svid.SVID
	links []*receipt.Envelope          // all that was signed
	said  map[string]*receipt.Envelope // by step and kind
	// passed are the questions that reached the server's guard, with the answer once there is one.
	passed map[string]*passed
	known  map[string]bool // links that the guard was shown
	shown  int             // requests that showed some

	short map[string]bool // links that came in a header: whether in the short form

	// How the guard and the way to it behave.
	deny    map[string]bool // tools that policy denies
	wants   bool            // policy asks for the chain
	trouble func(step string, attempt int) trouble
	tries   map[string]int
	// attests says whether a statement is taken.
	attests func(body []byte) bool
	// form says what a link goes into a header by, in the place of what the worker says that it holds.
	form func(held receipt.Held, e *receipt.Envelope) receipt.Held
	// twist changes an answer on its way.
	twist func(answer *receipt.Envelope) *receipt.Envelope
	// noCaller takes mcpcaller away.
	noCaller bool
	// created gives when an instance began, and false while Dapr has not saved its first execution. Without it the API of
	// workflows is not allowed.
	created func(instance string) (time.Time, bool)
}

type passed struct {
	question, answer *receipt.Envelope
}

// trouble is what goes wrong with a call.
type trouble int

const (
	none     trouble = iota
	lost             // the call is done, and the way back breaks
	vanished         // the call does not reach the server's sidecar
	silent           // the call is passed on, and nobody ever knows what came of it
	cut              // the call is done, and the body of its answer is missing
	closed           // the guard cannot decide
	streamed         // the answer comes as events
	broken           // the own sidecar breaks off before the call is sent
	outgrown         // the call is done, and its answer is not in the header
)

func newSidecar(t *testing.T) *sidecar {
	t.Helper()
	s := &sidecar{
		t: t, ca: testkit.NewCA(t, "custody.local"), said: map[string]*receipt.Envelope{}, passed: map[string]*passed{},
		known: map[string]bool{}, deny: map[string]bool{}, tries: map[string]int{}, short: map[string]bool{}, svids: map[string]*x509svid.SVID{},
	}
	s.serves(testkit.MCPOptions{JSON: true})
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

// serves starts an MCP server in the place of the one before.
func (s *sidecar) serves(options testkit.MCPOptions) {
	options.Tools = []string{"echo", "fail", "charge"}
	s.mcp = testkit.NewMCPServer(s.t, options)
}

func (s *sidecar) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	const server = "/v1.0/invoke/payments/method/"
	switch path := r.URL.Path; {
	case strings.HasPrefix(path, "/v1.0/workflows/dapr/") && s.created != nil:
		at, saved := s.created(strings.TrimPrefix(path, "/v1.0/workflows/dapr/"))
		if !saved {
			at = time.Time{}
		}
		s.reply(w, http.StatusOK, map[string]any{"createdAt": at})
	case strings.HasPrefix(path, "/custody/v1/") && s.noCaller:
		http.NotFound(w, r)
	case path == "/custody/v1/attest" && s.attests != nil && !s.attests(body):
		http.Error(w, "it is starting", http.StatusServiceUnavailable)
	case path == "/custody/v1/attest":
		s.say(w, "refunds", receipt.StatusStated, body)
	case path == "/custody/v1/approve":
		s.say(w, "manager", receipt.StatusApproved, body)
	case path == "/custody/v1/verify":
		s.verify(w, body)
	case path == server+"custody/v1/chain":
		s.learn(w, body)
	case path == server+"custody/v1/chain/answer":
		s.tell(w, r.URL.Query().Get("question"))
	case path == server+"mcp" && r.Header.Get("Custody-Step") != "":
		s.call(w, r, body)
	case path == server+"mcp":
		s.forward(w, r, body)
	default:
		http.NotFound(w, r)
	}
}

// saying is what a worker has its sidecar sign.
type saying struct {
	Workflow  receipt.Workflow `json:"workflow"`
	Prev      []receipt.Digest `json:"prev"`
	Kind      string           `json:"kind"`
	Statement json.RawMessage  `json:"statement"`
}

func (s *sidecar) id(app string) spiffeid.ID {
	return spiffeid.RequireFromSegments(s.ca.TrustDomain, "ns", "default", app)
}

// sign makes a link, with s.mu held.
func (s *sidecar) sign(app string, r *receipt.Receipt) *receipt.Envelope {
	s.n++
	svid := s.svids[app]
	if svid == nil {
		svid = s.ca.SVID(app)
		s.svids[app] = svid
	}
	now := time.Now()
	r.ID, r.Door = fmt.Sprintf("r%d", s.n), receipt.Door{SPIFFEID: svid.ID, Name: app}
	r.Journal = receipt.Journal{ID: app, Seq: uint64(s.n), Chain: receipt.Sum([]byte("journal"))}
	r.Times = receipt.Times{Decided: now, Settled: now}
	if r.Decision.Effect == "" {
		r.Decision.Effect = receipt.EffectAllow
	}
	e := testkit.Sign(s.t, r, svid)
	s.links = append(s.links, e)
	return e
}

// once gives the link of a step, which only one content has.
func (s *sidecar) once(app string, r *receipt.Receipt) (*receipt.Envelope, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := r.Workflow
	if w.App == "" {
		w.App = app
	}
	if w.Chain.App.IsZero() {
		w.Chain.App = s.id("refunds")
	}
	r.Caller = receipt.Caller{SPIFFEID: s.id(app), Proof: "sidecar"}
	key := fmt.Sprintf("%s %s %s %d %d %s", app, w.Chain.Started, w.Instance, w.Generation, w.Task, r.Action.Kind)
	if before := s.said[key]; before != nil {
		known, err := before.UnsafeReceipt()
		require.NoError(s.t, err)
		return before, known.RequestDigest == r.RequestDigest
	}
	s.said[key] = s.sign(app, r)
	return s.said[key], true
}

func (s *sidecar) say(w http.ResponseWriter, app, status string, body []byte) {
	var in saying
	if err := json.Unmarshal(body, &in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if in.Workflow.Step == "meanwhile" {
		s.settleAll()
	}
	canonical, err := jcs.Transform(in.Statement)
	require.NoError(s.t, err)
	e, ok := s.once(app, &receipt.Receipt{
		Action: receipt.Action{Kind: in.Kind, Name: in.Workflow.Step}, RequestDigest: receipt.Sum(canonical),
		Workflow: &in.Workflow, Prev: in.Prev, Outcome: receipt.Outcome{Status: status},
	})
	if !ok {
		http.Error(w, "the step has other content", http.StatusConflict)
		return
	}
	s.reply(w, http.StatusOK, map[string]any{"digest": e.Digest(), "envelope": e})
}

// sayQuietly signs what is stated, and the answer is lost.
func (s *sidecar) sayQuietly(body []byte) {
	s.say(httptest.NewRecorder(), "refunds", receipt.StatusStated, body)
}

// settleAll is the server settling what nobody knew of.
func (s *sidecar) settleAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.passed {
		if p.answer == nil {
			asked, err := p.question.UnsafeReceipt()
			require.NoError(s.t, err)
			p.answer = s.sign("payments", s.answer(p.question, asked, receipt.StatusIncomplete))
		}
	}
}

func (s *sidecar) answer(question *receipt.Envelope, asked *receipt.Receipt, status string) *receipt.Receipt {
	return &receipt.Receipt{
		Caller: receipt.Caller{SPIFFEID: s.id("refunds"), Proof: "x509-svid"}, Action: asked.Action, Workflow: asked.Workflow,
		RequestDigest: asked.RequestDigest, Prev: []receipt.Digest{question.PayloadDigest()}, Outcome: receipt.Outcome{Status: status},
	}
}

func (s *sidecar) reply(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	require.NoError(s.t, err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text) // the worker may be gone
}

type shownLinks struct {
	Chain receipt.Chain     `json:"chain"`
	Links []json.RawMessage `json:"links"`
}

func (s *sidecar) read(links []json.RawMessage) []*receipt.Envelope {
	var out []*receipt.Envelope
	for _, text := range links {
		e, err := receipt.DecodeEnvelope(text)
		require.NoError(s.t, err)
		out = append(out, e)
	}
	return out
}

func (s *sidecar) verify(w http.ResponseWriter, body []byte) {
	var in shownLinks
	if err := json.Unmarshal(body, &in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	links, faults := []any{}, []any{}
	of := chain.New(in.Chain, chain.Options{Bundles: s.ca.Bundle()})
	for _, e := range s.read(in.Links) {
		if _, err := of.Add(e); err != nil {
			faults = append(faults, map[string]any{"digest": e.Digest(), "detail": err.Error()})
			continue
		}
		links = append(links, map[string]any{"digest": e.Digest()})
	}
	s.reply(w, http.StatusOK, map[string]any{"links": links, "faults": faults})
}

// learn is the guard of the server being shown links.
func (s *sidecar) learn(w http.ResponseWriter, body []byte) {
	var in shownLinks
	if err := json.Unmarshal(body, &in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shown++
	links := s.read(in.Links)
	for _, e := range links {
		s.known[e.Digest()] = true
	}
	missing := []string{}
	for _, e := range links {
		missing = append(missing, s.unknown(e)...)
	}
	s.reply(w, http.StatusOK, map[string]any{"known": len(s.known), "missing": missing, "faults": []any{}})
}

func (s *sidecar) unknown(e *receipt.Envelope) []string {
	r, err := e.UnsafeReceipt()
	require.NoError(s.t, err)
	var missing []string
	for _, d := range r.Prev {
		if !s.known[d.String()] {
			missing = append(missing, d.String())
		}
	}
	return missing
}

func (s *sidecar) tell(w http.ResponseWriter, question string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch p := s.passed[question]; {
	case p == nil:
		s.reply(w, http.StatusNotFound, nil)
	case p.answer == nil:
		s.reply(w, http.StatusOK, map[string]any{"state": "unknown", "question": p.question})
	default:
		answer := p.answer
		if s.twist != nil {
			answer = s.twist(answer)
		}
		s.reply(w, http.StatusOK, map[string]any{"state": "settled", "question": p.question, "answer": answer})
	}
}

// call is a call of a step: the question is signed, and its way is what the trouble says.
func (s *sidecar) call(w http.ResponseWriter, r *http.Request, body []byte) {
	var in saying
	text, err := base64.RawURLEncoding.DecodeString(r.Header.Get("Custody-Step"))
	if err == nil {
		err = json.Unmarshal(text, &in)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if s.noCaller {
		s.forward(w, r, body)
		return
	}
	var message struct {
		Params struct {
			Name string `json:"name"`
		} `json:"params"`
	}
	require.NoError(s.t, json.Unmarshal(body, &message))
	action := receipt.Action{Kind: "mcp.tools/call", Server: "payments", Name: message.Params.Name}
	question, ok := s.once("refunds", &receipt.Receipt{
		Action: action, To: s.id("payments"), RequestDigest: receipt.Sum(body), Workflow: &in.Workflow, Prev: in.Prev,
		Outcome: receipt.Outcome{Status: receipt.StatusAsked},
	})
	if !ok {
		http.Error(w, "the step has other content", http.StatusConflict)
		return
	}
	w.Header().Set("Custody-Question", s.encoded(r, question))
	s.mu.Lock()
	s.tries[in.Workflow.Step]++
	attempt := s.tries[in.Workflow.Step]
	s.mu.Unlock()
	way := none
	if s.trouble != nil {
		way = s.trouble(in.Workflow.Step, attempt)
	}
	switch way {
	case vanished:
		s.reply(w, http.StatusInternalServerError, map[string]string{"errorCode": "ERR_DIRECT_INVOKE", "message": "no such host"})
	case broken:
		panic(http.ErrAbortHandler)
	case closed:
		s.reply(w, http.StatusServiceUnavailable, map[string]string{"message": "closed"})
	default:
		s.guard(w, r, body, question, way)
	}
}

// encoded is a link as the worker of that request takes it.
func (s *sidecar) encoded(r *http.Request, e *receipt.Envelope) string {
	held := receipt.ParseHeld(r.Header.Values("Custody-Held"))
	if s.form != nil {
		held = s.form(held, e)
	}
	text := receipt.EncodeHeader(e, held)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.short[e.Digest()] = strings.Contains(text, ".")
	return text
}

// guard is the guard of the server.
func (s *sidecar) guard(w http.ResponseWriter, r *http.Request, body []byte, question *receipt.Envelope, way trouble) {
	asked, err := question.UnsafeReceipt()
	require.NoError(s.t, err)
	s.mu.Lock()
	p := s.passed[question.Digest()]
	switch missing := s.unknown(question); {
	case p != nil:
		before := p.answer
		s.mu.Unlock()
		if before != nil {
			w.Header().Set("Custody-Answer", s.encoded(r, before))
		}
		s.reply(w, http.StatusConflict, nil)
		return
	case s.wants && len(missing) > 0 && r.Header.Get("Custody-Chain") != "presented":
		s.mu.Unlock()
		w.Header().Set("Custody-Chain", "wanted")
		s.reply(w, http.StatusPreconditionRequired, nil)
		return
	}
	p = &passed{question: question}
	s.passed[question.Digest()] = p
	s.known[question.Digest()] = true
	s.mu.Unlock()
	if way == silent {
		s.reply(w, http.StatusInternalServerError, map[string]string{"message": "broken"})
		return
	}
	answer := s.answer(question, asked, receipt.StatusOK)
	recorder := httptest.NewRecorder()
	if s.deny[asked.Action.Name] {
		answer.Decision.Effect, answer.Outcome.Status = receipt.EffectDeny, receipt.StatusDenied
		s.reply(recorder, http.StatusForbidden, map[string]any{"jsonrpc": "2.0", "error": map[string]any{
			"code": -32001, "message": "Denied by policy. Reference: ref-1",
		}})
	} else {
		s.forward(recorder, r, body)
		switch {
		case recorder.Code >= http.StatusBadRequest:
			answer.Outcome = receipt.Outcome{Status: receipt.StatusHTTPError, HTTPStatus: recorder.Code}
		case bytes.Contains(recorder.Body.Bytes(), []byte(`"isError":true`)):
			answer.Outcome.Status = receipt.StatusToolError
		case bytes.Contains(recorder.Body.Bytes(), []byte(`"error":{`)):
			answer.Outcome.Status = receipt.StatusRPCError
		}
	}
	s.mu.Lock()
	p.answer = s.sign("payments", answer)
	s.known[p.answer.Digest()] = true
	s.mu.Unlock()
	s.back(w, r, recorder, p.answer, way)
}

// back is the way back to the worker.
func (s *sidecar) back(w http.ResponseWriter, r *http.Request, recorder *httptest.ResponseRecorder, answer *receipt.Envelope, way trouble) {
	if way == lost {
		panic(http.ErrAbortHandler)
	}
	if s.twist != nil && way != outgrown {
		answer = s.twist(answer)
	}
	for name, values := range recorder.Header() {
		if name != "Content-Length" {
			w.Header()[name] = values
		}
	}
	if way == streamed {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\r\n\r\n: custody-answer %s\n", s.encoded(r, answer))
		fmt.Fprintf(w, "event: message\ndata: %s\n\n", recorder.Body.Bytes())
		return
	}
	if way != outgrown {
		w.Header().Set("Custody-Answer", s.encoded(r, answer))
	}
	w.WriteHeader(recorder.Code)
	if way == cut {
		return
	}
	_, _ = w.Write(recorder.Body.Bytes()) // the worker may be gone
}

// forward passes a request on to the MCP server, without what is ours.
func (s *sidecar) forward(w http.ResponseWriter, r *http.Request, body []byte) {
	out, err := http.NewRequestWithContext(r.Context(), r.Method, s.mcp.URL+"/mcp", bytes.NewReader(body))
	require.NoError(s.t, err)
	for name, values := range r.Header {
		if !strings.HasPrefix(name, "Custody-") {
			out.Header[name] = values
		}
	}
	resp, err := http.DefaultClient.Do(out)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	for name, values := range resp.Header {
		if name != "Content-Length" {
			w.Header()[name] = values
		}
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body) // the worker may be gone
}

// signed gives all links so far.
func (s *sidecar) signed() []*receipt.Envelope {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*receipt.Envelope(nil), s.links...)
}

// calls counts the calls of a tool that reached the server.
func (s *sidecar) calls(tool string) int {
	n := 0
	for _, r := range s.mcp.Requests() {
		if strings.Contains(r.Body, `"tools/call"`) && strings.Contains(r.Body, `"name":"`+tool+`"`) {
			n++
		}
	}
	return n
}
