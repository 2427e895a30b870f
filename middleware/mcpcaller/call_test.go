// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpcaller_test

import (
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/internal/toolcall"
	"github.com/dapr-custody/custody/middleware/mcpcaller"
)

func TestStepIsAskedAndSent(t *testing.T) {
	r := newRig(t)
	got := r.call(aStep(3))
	require.Equal(t, 200, got.status, got.body)

	sent := r.server.Last(t)
	require.Equal(t, canonical("echo", "hi"), sent.Body, "our encoding is what is sent")
	questions := sent.Header.Values(mcpcaller.HeaderQuestion)
	require.Len(t, questions, 1)
	require.Equal(t, questions, got.header.Values(mcpcaller.HeaderQuestion))
	require.Empty(t, sent.Header.Values(mcpcaller.HeaderStep))

	question := r.question(questions[0])
	message, err := toolcall.Parse(toolcall.HeadersOf(sent.Header), []byte(sent.Body), toolcall.Limits{})
	require.NoError(t, err)
	require.Equal(t, message.BodyDigest(), question.RequestDigest.Hex(), "what a guard computes of what it got")
	arguments, err := message.ArgumentsDigest()
	require.NoError(t, err)
	require.Equal(t, arguments, question.ArgumentsDigest.Hex())
	require.Equal(t, receipt.Action{Kind: "mcp.tools/call", Server: "payments", Name: "echo"}, question.Action)
	require.Equal(t, receipt.Door{SPIFFEID: r.host.ID, Name: "mcpcaller"}, question.Door)
	require.Equal(t, receipt.Caller{SPIFFEID: r.host.ID, Proof: "sidecar"}, question.Caller)
	require.Equal(t, receipt.StatusAsked, question.Outcome.Status)
	require.Equal(t, []receipt.Digest{receipt.Sum([]byte("head"))}, question.Prev)
	require.Equal(t, "refunds", question.Workflow.App)
	require.Equal(t, r.host.ID, question.Workflow.Chain.App)
	require.EqualValues(t, 3, question.Workflow.Task)

	records := r.records()
	require.Len(t, records.Receipts, 1)
	require.Equal(t, question, records.Receipts[0])
}

func TestStepNamesTheServer(t *testing.T) {
	const own, prod = "spiffe://custody.local/ns/default/payments", "spiffe://custody.local/ns/prod/payments"
	for _, test := range []struct{ name, step, path, app, want, to string }{
		{"app in the path", aStep(1), invokePath, "", "payments", own},
		{"with a namespace", aStep(1), "/v1.0/invoke/payments.prod/method/mcp", "", "payments", prod},
		{"app in the header", aStep(1), "/mcp", "payments", "payments", own},
		{"app in the header with a namespace", aStep(1), "/mcp", "payments.prod", "payments", prod},
		{"what the step says", `{"server":"till",` + aStep(1)[1:], invokePath, "", "till", own},
		{"what the step says, in a namespace", `{"server":"till",` + aStep(1)[1:], "/mcp", "payments.prod", "till", prod},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			got := r.do(http.MethodPost, test.path, call("echo", "hi"), mcpcaller.HeaderStep, encoded(test.step), "Dapr-App-Id", test.app)
			require.Equal(t, 200, got.status, got.body)
			question := r.question(got.header.Get(mcpcaller.HeaderQuestion))
			require.Equal(t, test.want, question.Action.Server)
			require.Equal(t, test.to, question.To.String())
		})
	}
}

// Nothing of these reaches a server, and nothing is signed.
func TestStepRefused(t *testing.T) {
	workflowOf := func(old, new string) string { return strings.Replace(aStep(1), old, new, 1) }
	tests := []struct {
		name, path, step, body string
		header                 []string
		status                 int
		want                   string
	}{
		{name: "another app", step: workflowOf(`"instance":"refund-1","name"`, `"app":"intake","instance":"refund-1","name"`), want: "an app speaks for its own workflows only"},
		{name: "two steps", header: []string{mcpcaller.HeaderStep, encoded(aStep(2))}, want: "given 2 times"},
		{name: "two spellings", header: []string{"custody-step", encoded(aStep(2))}, want: "given 2 times"},
		{name: "with padding", header: []string{mcpcaller.HeaderStep, "e30="}, step: "-", want: "not base64url"},
		{name: "another alphabet", header: []string{mcpcaller.HeaderStep, "e_+0"}, step: "-", want: "not base64url"},
		{name: "unused bits", header: []string{mcpcaller.HeaderStep, "e31"}, step: "-", want: "not base64url"},
		{name: "too large", step: `{"x":"` + strings.Repeat("x", 7000) + `"}`, want: "more than 8192"},
		{name: "unknown member", step: workflowOf(`{"workflow"`, `{"more":1,"workflow"`), want: "unknown object member name"},
		{name: "unknown member of the workflow", step: workflowOf(`"task"`, `"tsk"`), want: "unknown object member name"},
		{name: "member in other letters", step: workflowOf(`"task"`, `"Task"`), want: "unknown object member name"},
		{name: "member twice", step: workflowOf(`"task":1`, `"task":1,"task":2`), want: "duplicate object member name"},
		{name: "trailing data", step: aStep(1) + "{}", want: "after top-level value"},
		{name: "task too large", step: workflowOf(`"task":1`, `"task":4294967296`), want: "task"},
		{name: "no workflow", step: `{"prev":[]}`, want: "workflow is missing"},
		{name: "no chain", step: `{"workflow":{"instance":"i","task":1,"step":"s"}}`, want: "workflow.chain is missing"},
		{name: "bad digest", step: workflowOf("sha256:", "sha1:"), want: "sha256:"},
		{name: "long name", step: workflowOf(`"Refund"`, `"`+strings.Repeat("R", 513)+`"`), want: "workflow.name has 513 bytes"},
		{name: "control character", step: workflowOf(`"Refund"`, `"Re\u0000und"`), want: "control character"},
		{name: "body not MCP", body: `{"text":"hi"}`, want: "jsonrpc"},
		{name: "body not JSON", body: `hi`, want: "not strict JSON"},
		{name: "name twice in the body", body: strings.Replace(call("echo", "x"), `"name"`, `"name":"echo","name"`, 1), want: "stands twice"},
		{name: "notification", body: `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`, want: "this is a notification"},
		{name: "body not of that type", header: []string{"Content-Type", "text/plain"}, status: 415, want: "Content-Type"},
		{name: "state API", path: "/v1.0/state/store", want: "a step is a POST to"},
		{name: "no method", path: "/v1.0/invoke/payments/method/", want: "a step is a POST to"},
		{name: "path not plain", path: "/v1.0/invoke//payments/method/mcp", want: "a step is a POST to"},
		{name: "path escaped", path: "/v1.0/invoke/payments/method/m%63p", want: "a step is a POST to"},
		{name: "an address", path: "/v1.0/invoke/http:/evil.example/method/mcp", want: "a step calls an app"},
		{name: "app in path and header", header: []string{"Dapr-App-Id", "other"}, want: "more than one way"},
		{name: "app twice", path: "/mcp", header: []string{"Dapr-App-Id", "a", "Dapr-App-Id", "b"}, want: "more than one way"},
		{name: "app in basic auth", path: "/mcp", header: []string{"Authorization", "Basic ZGFwci1hcHAtaWQ6b3RoZXI="}, want: "more than one way"},
		{name: "app in the header of the state API", path: "/v1.0/state/store", header: []string{"Dapr-App-Id", "payments"}, want: "a step is a POST to"},
	}
	r := newRig(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.path == "" {
				test.path = invokePath
			}
			if test.body == "" {
				test.body = call("echo", "hi")
			}
			header := test.header
			switch test.step {
			case "":
				header = append(header, mcpcaller.HeaderStep, encoded(aStep(1)))
			case "-":
			default:
				header = append(header, mcpcaller.HeaderStep, encoded(test.step))
			}
			if test.status == 0 {
				test.status = 400
			}
			got := r.do(http.MethodPost, test.path, test.body, header...)
			require.Equal(t, test.status, got.status, got.body)
			require.Contains(t, got.body, test.want)
			require.Contains(t, got.body, `"errorCode":"CUSTODY_REFUSED"`)
			require.Empty(t, got.header.Values(mcpcaller.HeaderQuestion))
		})
	}
	got := r.do(http.MethodGet, invokePath, "", mcpcaller.HeaderStep, encoded(aStep(1)))
	require.Equal(t, 400, got.status)
	require.Empty(t, r.server.Requests())
	require.Empty(t, r.records().Receipts)
}

func TestTooLargeBody(t *testing.T) {
	r := newRig(t, func(r *rig) { r.meta["maxRequestBytes"] = "200" })
	require.Equal(t, 200, r.call(aStep(1)).status)
	got := r.do(http.MethodPost, invokePath, call("echo", strings.Repeat("x", 200)), mcpcaller.HeaderStep, encoded(aStep(2)))
	require.Equal(t, 413, got.status, got.body)
	require.Contains(t, got.body, "maxRequestBytes")
	require.Len(t, r.server.Requests(), 1)
}

// Without a step a request is not touched, but for what only we may say.
func TestOtherRequestsPass(t *testing.T) {
	r := newRig(t)
	got := r.do(http.MethodPost, invokePath, call("echo", "hi"), "Custody-Question", "forged", "custody-answer", "forged", "Custody_Question", "forged", "Txn_Token", "forged",
		"Custody-Chain", "wanted", "Custodian", "stays", "Mcp-Method", "tools/call")
	require.Equal(t, 200, got.status, got.body)
	sent := r.server.Last(t)
	require.Equal(t, call("echo", "hi"), sent.Body, "the bytes are those of the app")
	require.Equal(t, "stays", sent.Header.Get("Custodian"))
	require.Equal(t, "tools/call", sent.Header.Get("Mcp-Method"))
	for name := range sent.Header {
		require.NotContains(t, strings.ToLower(name), "custody")
		require.NotEqual(t, mcpcaller.HeaderTxnToken, name)
	}
	require.Empty(t, r.records().Receipts)
}

func TestForgedQuestionIsReplaced(t *testing.T) {
	r := newRig(t)
	got := r.call(aStep(1), "Custody-Question", "forged", "custody-question", "forged", "Connection", "Custody-Question", "txn_token", "forged")
	require.Equal(t, 200, got.status, got.body)
	sent := r.server.Last(t)
	require.Equal(t, got.header.Values(mcpcaller.HeaderQuestion), sent.Header.Values(mcpcaller.HeaderQuestion))
	r.question(sent.Header.Get(mcpcaller.HeaderQuestion))
	require.Len(t, sent.Header.Values("Txn-Token"), 1)
	require.NotEqual(t, "forged", sent.Header.Get("Txn-Token"))
	require.Empty(t, sent.Header.Values("Connection"), "by which the server's sidecar would drop the question")
}

// A step that is done again asks the same and is sent again; the guard sees to the rest.
func TestStepAgain(t *testing.T) {
	r := newRig(t)
	first := r.call(aStep(1)).header.Get(mcpcaller.HeaderQuestion)
	require.NotEmpty(t, first)
	require.Equal(t, first, r.call(aStep(1)).header.Get(mcpcaller.HeaderQuestion))
	require.NoError(t, r.factory.Close())
	r.start()
	require.Equal(t, first, r.call(aStep(1)).header.Get(mcpcaller.HeaderQuestion), "after a restart")
	require.Len(t, r.server.Requests(), 3)
	require.Len(t, r.records().Receipts, 1)

	for _, other := range []answered{
		r.do(http.MethodPost, invokePath, call("echo", "another"), mcpcaller.HeaderStep, encoded(aStep(1))),
		r.do(http.MethodPost, "/v1.0/invoke/payments.prod/method/mcp", call("echo", "hi"), mcpcaller.HeaderStep, encoded(aStep(1))),
	} {
		require.Equal(t, 409, other.status, other.body)
		require.Contains(t, other.body, `"errorCode":"CUSTODY_OTHER_CONTENT"`)
	}
	require.Len(t, r.server.Requests(), 3, "nothing is sent")
	require.Equal(t, 200, r.do(http.MethodPost, invokePath, call("echo", "another"), mcpcaller.HeaderStep, encoded(aStep(2))).status)
}

func TestQuestionComesBackWithEveryAnswer(t *testing.T) {
	question := func(w http.ResponseWriter, value string) { w.Header().Add(mcpcaller.HeaderQuestion, value) }
	tests := []struct {
		name   string
		answer func(http.ResponseWriter)
		status int
	}{
		{"an error", func(w http.ResponseWriter) { http.Error(w, "no", http.StatusBadGateway) }, 502},
		{"nothing", func(http.ResponseWriter) {}, 200},
		{"a body without a status", func(w http.ResponseWriter) { _, _ = w.Write([]byte("x")) }, 200},
		{"a question of the server's own", func(w http.ResponseWriter) { question(w, "theirs") }, 200},
		{"done before, and no link", func(w http.ResponseWriter) { question(w, "theirs"); w.WriteHeader(409) }, 409},
		{"done before, and no question", func(w http.ResponseWriter) { w.WriteHeader(409) }, 409},
		{"done before, and two questions", func(w http.ResponseWriter) { question(w, "a"); question(w, "b"); w.WriteHeader(409) }, 409},
		{"hints first", func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusEarlyHints)
			question(w, "theirs")
			w.WriteHeader(200)
		}, 200},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, func(r *rig) {
				r.answer = func(w http.ResponseWriter) bool {
					test.answer(w)
					return true
				}
			})
			got := r.call(aStep(1))
			require.Equal(t, test.status, got.status)
			values := got.header.Values(mcpcaller.HeaderQuestion)
			require.Len(t, values, 1)
			require.Equal(t, r.question(values[0]), r.records().Receipts[0])
		})
	}
}

// Of a step that was done before the worker gets the question of that time, if its own sidecar signed it, with the
// certificates of that alone: it keeps them for all that comes without.
func TestQuestionOfBeforeComesBack(t *testing.T) {
	var theirs string
	r := newRig(t, func(r *rig) {
		r.answer = func(w http.ResponseWriter) bool {
			w.Header().Set(mcpcaller.HeaderQuestion, theirs)
			w.WriteHeader(409)
			return true
		}
	})
	back := func(task int, held string) *receipt.Envelope {
		got := r.call(aStep(task), mcpcaller.HeaderHeld, held)
		require.Equal(t, 409, got.status)
		e, err := receipt.DecodeHeader(got.header.Get(mcpcaller.HeaderQuestion))
		require.NoError(t, err)
		return e
	}
	stranger := testkit.NewCA(t, "custody.local")
	made := func(task int, svid *x509svid.SVID) *receipt.Envelope {
		own := back(task, "")
		asked, err := own.UnsafeReceipt()
		require.NoError(t, err)
		asked.ID, asked.Door.SPIFFEID, asked.Caller.SPIFFEID = "before", svid.ID, svid.ID
		signer, err := receipt.NewSigner(svid.PrivateKey, svid.Certificates)
		require.NoError(t, err)
		e, err := receipt.Sign(asked, signer)
		require.NoError(t, err)
		return e
	}
	changed := func(e *receipt.Envelope, what func(*receipt.Signature)) *receipt.Envelope {
		other := *e
		other.Signatures = slices.Clone(e.Signatures)
		what(&other.Signatures[0])
		return &other
	}
	own := back(1, "")
	before := made(1, r.ca.SVID("refunds"))
	key := before.Signatures[0].KeyID
	for _, test := range []struct {
		name string
		told *receipt.Envelope
		held string
		want *receipt.Envelope
	}{
		{"its own", own, "", own},
		{"its own, without the issuer", changed(own, func(s *receipt.Signature) { s.Intermediates = nil }), "", own},
		{"its own, without a signature", changed(own, func(s *receipt.Signature) { s.Sig = nil }), "", own},
		{"one of before", before, "", before},
		{"one of before, for who has the certificates", before, key[:16], before.WithoutCertificates()},
		{"one of before, without the issuer", changed(before, func(s *receipt.Signature) { s.Intermediates = nil }), "", own},
		{"one of before, with another authority", changed(before, func(s *receipt.Signature) {
			s.Intermediates = append(slices.Clone(s.Intermediates), stranger.SVID("refunds").Certificates[1].Raw)
		}), "", before},
		{"one of before, with another signature", changed(before, func(s *receipt.Signature) { s.Sig = own.Signatures[0].Sig }), "", own},
		{"another app's", made(1, r.ca.SVID("payments")), "", own},
		{"one that nobody vouches for", made(1, stranger.SVID("refunds")), "", own},
	} {
		t.Run(test.name, func(t *testing.T) {
			theirs = receipt.EncodeHeader(test.told, receipt.ParseHeld([]string{test.held}))
			require.Equal(t, test.want, back(1, test.held))
		})
	}
	theirs = before.Short()
	require.Equal(t, before.WithoutCertificates(), back(1, key[:16]))
}

// Break one part at a time: nothing reaches the server.
func TestStepFailsClosed(t *testing.T) {
	tests := []struct {
		name    string
		breakIt func(*rig)
	}{
		{"no identity", func(r *rig) { r.svids.err = errors.New("sentry is away") }},
		{"journal closed", func(r *rig) { require.NoError(r.t, r.factory.Close()) }},
		{"journal folder gone", func(r *rig) { require.NoError(r.t, os.RemoveAll(r.meta["journalDir"])) }},
		{"no key", func(r *rig) { svid := *r.ca.SVID("refunds"); svid.PrivateKey = nil; r.svids.svid = &svid }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			require.Equal(t, 200, r.call(aStep(1)).status)
			test.breakIt(r)
			for _, path := range []string{invokePath, mcpcaller.PathAttest, mcpcaller.PathApprove} {
				body := call("echo", "hi")
				header := []string{mcpcaller.HeaderStep, encoded(aStep(2))}
				if path != invokePath {
					body, header = statement(2, "custody.attest", `"x"`), nil
					if path == mcpcaller.PathApprove {
						body = statement(2, "custody.approval", `"x"`)
					}
				}
				got := r.do(http.MethodPost, path, body, header...)
				require.Equal(t, 503, got.status, got.body)
				require.Regexp(t, `reference [0-9a-f]{8}-`, got.body)
				require.Empty(t, got.header.Values(mcpcaller.HeaderQuestion))
			}
			require.Len(t, r.server.Requests(), 1)
			require.Equal(t, 200, r.do(http.MethodPost, invokePath, call("echo", "hi")).status, "what is no step passes")
		})
	}
}

func TestWorkerSaysThatTheChainWasPresented(t *testing.T) {
	for _, c := range []struct {
		name   string
		header []string
		want   string
	}{
		{name: "said", header: []string{mcpcaller.HeaderChain, mcpcaller.ChainPresented}, want: mcpcaller.ChainPresented},
		{name: "not said"},
		{name: "something else", header: []string{mcpcaller.HeaderChain, "unknown"}},
		{name: "said twice", header: []string{mcpcaller.HeaderChain, mcpcaller.ChainPresented, mcpcaller.HeaderChain, mcpcaller.ChainPresented}},
		{name: "spelt otherwise", header: []string{"Custody_Chain", mcpcaller.ChainPresented}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			require.Equal(t, http.StatusOK, r.call(aStep(1), c.header...).status)
			require.Equal(t, c.want, r.server.Last(t).Header.Get(mcpcaller.HeaderChain))
		})
	}
}
