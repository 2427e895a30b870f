// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/evidence"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
)

// aStep is what a worker says of task n of its workflow.
func aStep(n int, member ...string) string {
	const workflow = `{"chain":{"instance":"refund-1","started":"2026-11-23T09:00:00Z"},"instance":"refund-1","name":"Refund","task":%d,"step":"echo"%s}`
	return fmt.Sprintf(`{"workflow":`+workflow+`}`, n, strings.Join(member, ""))
}

func encoded(step string) string { return base64.RawURLEncoding.EncodeToString([]byte(step)) }

// own is a path that alice's sidecar serves itself.
func (m *mesh) own(path string) string {
	return fmt.Sprintf("http://127.0.0.1:%d%s", m.app("alice").DaprHTTPPort, path)
}

// question verifies the envelope of a header, with nothing but the trust bundle.
func (m *mesh) question(header string) *receipt.Receipt {
	m.t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(header)
	require.NoError(m.t, err)
	envelope, err := receipt.DecodeEnvelope(text)
	require.NoError(m.t, err)
	verified, err := receipt.Verify(envelope, m.bundle(), receipt.VerifyOptions{})
	require.NoError(m.t, err)
	return verified.Receipt
}

// digest names the link of a header.
func (m *mesh) digest(header string) receipt.Digest {
	m.t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(header)
	require.NoError(m.t, err)
	envelope, err := receipt.DecodeEnvelope(text)
	require.NoError(m.t, err)
	return envelope.PayloadDigest()
}

func TestCallerInDaprd(t *testing.T) {
	m := startMesh(t, meshOptions{mcp: testkit.MCPOptions{JSON: true}, signing: signingComponent})

	got := m.post("alice", call("echo", "hi"), "Custody-Step", encoded(aStep(1)), "Custody-Question", "forged")
	require.Equal(t, 200, got.status, got.body)
	require.Len(t, got.header.Values("Custody-Question"), 1)
	question := m.question(got.header.Get("Custody-Question"))
	require.Equal(t, "spiffe://custody.local/ns/default/alice", question.Door.SPIFFEID.String())
	require.Equal(t, receipt.Action{Kind: "mcp.tools/call", Server: "server", Name: "echo"}, question.Action)
	require.Equal(t, receipt.StatusAsked, question.Outcome.Status)
	require.Equal(t, "alice", question.Workflow.App)
	require.Equal(t, "spiffe://custody.local/ns/default/server", question.To.String())
	answer := m.question(got.header.Get("Custody-Answer"))
	require.Equal(t, got.header.Get("Custody-Question"), m.post("alice", call("echo", "hi"), "Custody-Step", encoded(aStep(1))).header.Get("Custody-Question"), "done again")
	require.Equal(t, "spiffe://custody.local/ns/default/server", answer.Door.SPIFFEID.String())
	require.Equal(t, []receipt.Digest{m.digest(got.header.Get("Custody-Question"))}, answer.Prev)
	require.Equal(t, question.Workflow, answer.Workflow)
	answers := okReceipts(m.journal())
	require.Len(t, answers, 1)
	require.Equal(t, answers[0].RequestDigest, question.RequestDigest, "both sidecars are about the same bytes")
	require.Equal(t, answers[0].ArgumentsDigest, question.ArgumentsDigest)
	require.Equal(t, answers[0].Action, question.Action)
	seen := m.server.Last(t)
	for name := range seen.Header {
		require.False(t, strings.HasPrefix(name, "Custody-") && name != "Custody-Caller", name)
	}

	// The other way to name the app, and what refuses before anything is sent.
	header, err := post(t.Context(), m.own("/mcp"), call("echo", "hi"), "dapr-app-id", "server", "Custody-Step", encoded(aStep(2)))
	require.NoError(t, err)
	require.Equal(t, 200, header.status, header.body)
	require.NotEmpty(t, header.header.Get("Custody-Question"))
	reached := len(m.server.Requests())
	for want, step := range map[string]string{
		"speaks for its own workflows":   encoded(aStep(3, `,"app":"bob"`)),
		"not base64url":                  "not base64!",
		"unknown object member":          encoded(aStep(3, `,"more":1`)),
		"the step has the link sha256:":  encoded(aStep(1)),
		"workflow.task is missing":       encoded(aStep(0)),
		"header Custody-Step has 8194 b": strings.Repeat("A", 8194),
	} {
		got := m.post("alice", call("echo", "another"), "Custody-Step", step)
		require.Contains(t, got.body, want)
		require.Contains(t, []int{400, 409, 431}, got.status)
		require.Empty(t, got.header.Values("Custody-Question"))
	}
	require.Len(t, m.server.Requests(), reached)

	// bob's sidecar signs nothing.
	bob := m.post("bob", call("reverse", "hi"))
	require.Equal(t, 200, bob.status, bob.body)
	require.Empty(t, bob.header.Values("Custody-Question"))
}

// Between sidecars that know each other a question goes without certificates and token; a guard that began anew is sent
// all of it, and the app sees nothing of that.
func TestShortQuestionsInDaprd(t *testing.T) {
	m := startMesh(t, meshOptions{mcp: testkit.MCPOptions{JSON: true}, signing: signingComponent})
	certificates := map[string]receipt.Signature{}
	link := func(text string) *receipt.Envelope {
		e, err := receipt.DecodeHeader(text)
		require.NoError(t, err)
		s := &e.Signatures[0]
		if len(s.Certificate) > 0 {
			certificates[s.KeyID] = *s
		} else {
			s.Certificate, s.Intermediates = certificates[s.KeyID].Certificate, certificates[s.KeyID].Intermediates
		}
		_, err = receipt.Verify(e, m.bundle(), receipt.VerifyOptions{})
		require.NoError(t, err)
		return e
	}
	step := func(task int, held ...string) (question, answer string) {
		got := m.post("alice", call("echo", "hi"), "Custody-Step", encoded(aStep(task)), "Custody-Held", strings.Join(held, " "))
		require.Equal(t, 200, got.status, got.body)
		require.Empty(t, got.header.Values("Custody-Has"))
		question, answer = got.header.Get("Custody-Question"), got.header.Get("Custody-Answer")
		asked := link(question)
		answered, err := link(answer).UnsafeReceipt()
		require.NoError(t, err)
		require.Equal(t, []receipt.Digest{asked.PayloadDigest()}, answered.Prev)
		return question, answer
	}
	question, answer := step(1, "none")
	require.NotContains(t, question+answer, ".")
	held := []string{link(question).Signatures[0].KeyID[:16], link(answer).Signatures[0].KeyID[:16]}
	question, answer = step(2, held...)
	require.Contains(t, question, ".")
	require.Contains(t, answer, ".")

	require.NoError(t, syscall.Kill(m.app("server").DaprdPID, syscall.SIGHUP))
	m.eventually(func() bool { return strings.Count(m.log(), "guards server") == 2 })
	m.eventually(func() bool { return m.post("alice", call("echo", "x")).status == 200 })
	for task := 3; task <= 4; task++ {
		question, answer = step(task, held...)
		require.Contains(t, question, ".")
		require.NotContains(t, answer, ".", "the server has another certificate, which the app does not have")
	}
	report, err := evidence.VerifyJournal(m.options.journal, evidence.Check{Bundles: m.bundle()})
	require.NoError(t, err)
	require.True(t, report.OK(), report.Findings)
	for _, r := range m.journal().Receipts {
		require.NotEqual(t, receipt.StatusDenied, r.Outcome.Status)
	}
}

func TestStatementsInDaprd(t *testing.T) {
	m := startMesh(t, meshOptions{mcp: testkit.MCPOptions{JSON: true}, signing: signingComponent})
	body := strings.Replace(aStep(1), `{"workflow"`, `{"kind":"custody.attest","statement":{"ok":true},"workflow"`, 1)
	first, err := post(t.Context(), m.own("/custody/v1/attest"), body)
	require.NoError(t, err)
	require.Equal(t, 200, first.status, first.body)
	var link struct {
		Digest   string          `json:"digest"`
		Envelope json.RawMessage `json:"envelope"`
	}
	require.NoError(t, json.Unmarshal([]byte(first.body), &link))
	require.Equal(t, receipt.Sum([]byte(`{"ok":true}`)), m.question(base64.RawURLEncoding.EncodeToString(link.Envelope)).RequestDigest)

	// After a restart of the runtime within the process the step has the same link.
	require.NoError(t, syscall.Kill(m.app("alice").DaprdPID, syscall.SIGHUP))
	m.eventually(func() bool { return strings.Count(m.logOf("alice"), "signs what the app asks") == 2 })
	m.eventually(func() bool {
		again, err := post(t.Context(), m.own("/custody/v1/attest"), body)
		return err == nil && again.body == first.body
	})
	verified, err := post(t.Context(), m.own("/custody/v1/verify"),
		fmt.Sprintf(`{"chain":{"instance":"refund-1","started":"2026-11-23T09:00:00Z"},"links":[%s]}`, link.Envelope))
	require.NoError(t, err)
	require.Equal(t, 200, verified.status, verified.body)
	require.Contains(t, verified.body, link.Digest)
	require.Contains(t, verified.body, `"faults":[]`)

	report, err := evidence.VerifyJournal(m.links(), evidence.Check{Bundles: m.bundle()})
	require.NoError(t, err)
	require.True(t, report.OK(), report.Findings)
	require.Equal(t, 1, report.Good)
}

// Dapr's API token is asked for before our paths are served.
func TestOwnPathsNeedTheAPIToken(t *testing.T) {
	m := startMesh(t, meshOptions{
		mcp: testkit.MCPOptions{JSON: true}, signing: signingComponent, callerEnv: map[string]string{"DAPR_API_TOKEN": "secret"},
	})
	body := strings.Replace(aStep(1), `{"workflow"`, `{"kind":"custody.attest","statement":1,"workflow"`, 1)
	for _, path := range []string{"/custody/v1/attest", "/custody/v1/approve", "/custody/v1/verify", "//custody/v1/attest"} {
		without, err := post(t.Context(), m.own(path), body)
		require.NoError(t, err)
		require.Equal(t, http.StatusUnauthorized, without.status, without.body)
	}
	require.Equal(t, http.StatusUnauthorized, m.post("alice", call("echo", "x"), "Custody-Step", encoded(aStep(1))).status)
	with, err := post(t.Context(), m.own("/custody/v1/attest"), body, "dapr-api-token", "secret")
	require.NoError(t, err)
	require.Equal(t, 200, with.status, with.body)
}

// Without a place for the record nothing reaches the server, and what is no step goes on.
func TestStepWithoutAJournal(t *testing.T) {
	m := startMesh(t, meshOptions{mcp: testkit.MCPOptions{JSON: true}, signing: signingComponent})
	require.Equal(t, 200, m.post("alice", call("echo", "x"), "Custody-Step", encoded(aStep(1))).status)
	reached := len(m.server.Requests())
	require.NoError(t, os.RemoveAll(m.links()))
	got := m.post("alice", call("echo", "x"), "Custody-Step", encoded(aStep(2)))
	require.Equal(t, http.StatusServiceUnavailable, got.status, got.body)
	require.Contains(t, got.body, "CUSTODY_CANNOT_RECORD")
	require.Len(t, m.server.Requests(), reached)
	require.Equal(t, 200, m.post("alice", call("echo", "x")).status)
}

// The runtime does not start without the component that its Configuration names.
func TestStartFailsWithoutTheCaller(t *testing.T) {
	for _, test := range []struct{ name, component, want string }{
		{"another name", strings.Replace(signingComponent, "name: caller}", "name: coller}", 1), `middleware.http.mcpcaller \"caller\" in spec.httpPipeline, but no such Component was loaded`},
		{"for another app", signingComponent + "scopes: [bob]\n", "no such Component was loaded"},
		{"metadata that is not known", signingComponent + "  - {name: server, value: x}\n", `metadata \"server\" is not known`},
		{"an error that is to be ignored", strings.Replace(signingComponent, "  version: v1\n", "  version: v1\n  ignoreErrors: true\n", 1) + "  - {name: server, value: x}\n", "did not load"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := newMesh(t, meshOptions{signing: test.component})
			err := m.start()
			if err == nil { // It was ready for the moment until it ended.
				<-m.domain.Done()
				err = m.domain.Wait()
			}
			require.ErrorContains(t, err, test.want)
		})
	}
	t.Run("before the app", func(t *testing.T) {
		t.Parallel()
		m := newMesh(t, meshOptions{config: strings.Replace(guardedSpec, "mcpguard", "mcpcaller", 1)})
		require.ErrorContains(t, m.start(), "move it to spec.httpPipeline")
	})
}

// While the component is away no step reaches the server: the guard refuses what nobody signed.
func TestCallerRemovedWhileRunning(t *testing.T) {
	m := startMesh(t, meshOptions{mcp: testkit.MCPOptions{JSON: true}, signing: signingComponent})
	require.NotEmpty(t, m.post("alice", call("echo", "x"), "Custody-Step", encoded(aStep(1))).header.Get("Custody-Question"))
	require.NoError(t, os.Remove(filepath.Join(m.folder, "alice", "caller.yaml")))
	m.eventually(func() bool {
		return m.post("alice", call("echo", "x"), "Custody-Step", encoded(aStep(1))).header.Get("Custody-Question") == ""
	})
	m.eventually(func() bool {
		return strings.Contains(m.logOf("alice"), "the steps of workflows go out without a question")
	})
	reached := len(m.server.Requests())
	require.Equal(t, http.StatusForbidden, m.post("alice", call("echo", "x"), "Custody-Step", encoded(aStep(2))).status)
	require.Len(t, m.server.Requests(), reached)

	m.write("alice/caller.yaml", fmt.Sprintf(signingComponent, m.links()))
	m.eventually(func() bool {
		return m.post("alice", call("echo", "x"), "Custody-Step", encoded(aStep(1))).header.Get("Custody-Question") != ""
	})
}
