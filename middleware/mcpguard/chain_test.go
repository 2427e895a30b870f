// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/middleware/mcpguard"
)

const demanding = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: test}
spec:
  rules:
  - name: checked
    effect: allow
    from: [alice]
    to: {server: server, tools: [echo]}
    when: chain.complete && chain.has("fraud-check", "spiffe://custody.local/ns/default/fraud")
  - {name: long, effect: allow, from: [alice], to: {server: server, tools: [fail]}, when: chain.length > 1 && chain.instance == "refund-1"}
  - {name: whatever, effect: allow, from: [alice, bob], to: {server: server, tools: [reverse]}}
`

func demandingRig(t *testing.T, options testkit.MCPOptions) *rig {
	t.Helper()
	return newRig(t, options, func(r *rig) { r.setPolicy(demanding) })
}

// checked is a worker whose chain has a fraud check by fraud.
func (r *rig) checked() (*worker, *worker) {
	r.t.Helper()
	alice := r.worker("alice")
	alice.state("intake")
	fraud := alice.in("fraud")
	fraud.state("fraud-check")
	alice.links, alice.heads = append(alice.links, fraud.links...), fraud.heads
	return alice, fraud
}

func TestPolicyDemandsTheChain(t *testing.T) {
	for name, options := range map[string]testkit.MCPOptions{"json": {JSON: true}, "events": {}} {
		t.Run(name, func(t *testing.T) {
			r := demandingRig(t, options)
			alice, _ := r.checked()
			got := alice.call("echo", "hi")
			require.Equal(t, http.StatusPreconditionRequired, got.status, got.body)
			require.Equal(t, mcpguard.ChainWanted, got.header.Get(mcpguard.HeaderChain))
			require.Empty(t, got.header.Values(mcpguard.HeaderAnswer))
			require.Contains(t, got.body, `"error"`)
			require.Empty(t, r.server.Requests())
			require.Empty(t, testkit.ReadJournal(t, r.journal, r.host.Bundles).Receipts, "nothing was decided")

			said := alice.present(alice.links...)
			require.Equal(t, learned{Known: 2, Missing: []string{}, Faults: said.Faults}, said)
			require.Empty(t, said.Faults)
			require.Equal(t, http.StatusOK, alice.call("echo", "hi").status)
			// What this guard answers it knows.
			require.Equal(t, http.StatusOK, alice.call("echo", "ho").status)
			require.Equal(t, http.StatusOK, alice.call("fail", "ho").status)
			require.Equal(t, 8, alice.present().Known)
			alice.state("more")
			require.Equal(t, http.StatusPreconditionRequired, alice.call("echo", "hi").status)
			require.Len(t, r.server.Requests(), 3)
		})
	}
}

func TestChainThatDoesNotHold(t *testing.T) {
	presented := []string{mcpguard.HeaderChain, mcpguard.ChainPresented}
	for name, tt := range map[string]struct {
		chain func(r *rig) *worker
		fault string
	}{
		"no check": {func(r *rig) *worker {
			alice := r.worker("alice")
			alice.state("intake")
			return alice
		}, ""},
		"a check that the caller states itself": {func(r *rig) *worker {
			alice := r.worker("alice")
			alice.state("fraud-check")
			return alice
		}, ""},
		"a check that the caller signs for another": {func(r *rig) *worker {
			alice := r.worker("alice")
			alice.state("fraud-check", func(link *receipt.Receipt) { link.Workflow.App = "fraud" })
			return alice
		}, "wrong-signer"},
		"a check of another instance": {func(r *rig) *worker {
			alice, fraud := r.checked()
			fraud.chain.Instance = "refund-2"
			fraud.state("fraud-check")
			alice.links, alice.heads = fraud.links[1:], fraud.heads
			return alice
		}, "other-chain"},
		"a check of an earlier run": {func(r *rig) *worker {
			alice, fraud := r.checked()
			fraud.chain.Started = alice.chain.Started.Add(-1)
			fraud.state("fraud-check")
			alice.links, alice.heads = fraud.links[1:], fraud.heads
			return alice
		}, "other-chain"},
		"a check that was changed": {func(r *rig) *worker {
			alice, _ := r.checked()
			bad := *alice.links[1]
			bad.Payload = []byte(strings.Replace(string(bad.Payload), `"stated"`, `"stated" `, 1))
			alice.links[1], alice.heads = &bad, []receipt.Digest{bad.PayloadDigest()}
			return alice
		}, "signature"},
		"a check that nothing continues": {func(r *rig) *worker {
			alice, _ := r.checked()
			alice.heads = []receipt.Digest{alice.links[0].PayloadDigest()}
			return alice
		}, ""},
		"a check that is not presented": {func(r *rig) *worker {
			alice, _ := r.checked()
			alice.links = alice.links[:1]
			return alice
		}, ""},
		"a chain with a hole": {func(r *rig) *worker {
			alice, _ := r.checked()
			alice.links = alice.links[1:]
			return alice
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := demandingRig(t, testkit.MCPOptions{JSON: true})
			alice := tt.chain(r)
			said := alice.present(alice.links...)
			reason := r.lastRecord().Outcome.Reason
			if tt.fault == "" {
				require.Empty(t, said.Faults)
				require.Empty(t, reason)
			} else {
				require.Equal(t, tt.fault, said.Faults[0].Kind)
				require.Contains(t, reason, fmt.Sprintf("1 of %d links that were presented do not hold", len(alice.links)))
				require.Contains(t, reason, said.Faults[0].Digest+": "+tt.fault)
			}
			got := alice.call("echo", "hi", presented...)
			require.Equal(t, http.StatusForbidden, got.status, got.body)
			require.Equal(t, receipt.StatusDenied, alice.answer(got).Outcome.Status)
			require.Empty(t, r.server.Requests())
		})
	}
	t.Run("the same, and it holds", func(t *testing.T) {
		r := demandingRig(t, testkit.MCPOptions{JSON: true})
		alice, _ := r.checked()
		alice.present(alice.links...)
		require.Equal(t, http.StatusOK, alice.call("echo", "hi", presented...).status)
	})
	t.Run("outside a workflow there is no chain", func(t *testing.T) {
		r := demandingRig(t, testkit.MCPOptions{JSON: true})
		require.Equal(t, http.StatusForbidden, r.post(r.as("alice"), call("echo", "hi")).status)
	})
}

// A question that would not count in the chain that the guard knows is refused, and nothing is passed on for it.
func TestQuestionThatWouldNotCount(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(alice *worker)
		fault  string
	}{
		"as it should be": {func(*worker) {}, ""},
		"after the end of another": {func(alice *worker) {
			alice.state("", func(link *receipt.Receipt) { link.Action.Kind, link.Workflow.Instance = chain.KindEnd, "child" })
		}, ""},
		"after the end": {func(alice *worker) {
			alice.state("", func(link *receipt.Receipt) { link.Action.Kind = chain.KindEnd })
		}, "ended"},
		"a generation that goes on from the one before": {func(alice *worker) {
			alice.state("", func(link *receipt.Receipt) { link.Action.Kind = chain.KindContinue })
			alice.generation = 1
			alice.state("", func(link *receipt.Receipt) { link.Action.Kind = chain.KindBegin })
		}, ""},
		"a generation without its first link": {func(alice *worker) {
			alice.state("", func(link *receipt.Receipt) { link.Action.Kind = chain.KindContinue })
			alice.generation = 1
		}, "which only the custody.begin of the next generation can"},
		"a generation without either": {func(alice *worker) {
			alice.state("plan")
			alice.generation = 1
		}, "is of generation 1 and continues"},
		"a generation without either, by way of a child": {func(alice *worker) {
			alice.state("plan", func(link *receipt.Receipt) { link.Workflow.Instance = "child" })
			alice.generation = 1
		}, "generation 1 has no custody.begin"},
		"a task that was done": {func(alice *worker) {
			alice.state("plan")
			alice.task--
		}, "is done by"},
		"more heads than a step may have": {func(alice *worker) {
			for range chain.MaxPrev {
				alice.heads = append(alice.heads, receipt.Sum([]byte{byte(len(alice.heads))}))
			}
		}, "first joined"},
	} {
		t.Run(name, func(t *testing.T) {
			r := demandingRig(t, testkit.MCPOptions{JSON: true})
			alice, _ := r.checked()
			tt.change(alice)
			require.Empty(t, alice.present(alice.links...).Faults)
			got := alice.call("reverse", "hi", mcpguard.HeaderChain, mcpguard.ChainPresented)
			if tt.fault == "" {
				require.Equal(t, http.StatusOK, got.status, got.body)
				require.Equal(t, http.StatusOK, alice.call("echo", "hi").status)
				return
			}
			require.Equal(t, http.StatusForbidden, got.status, got.body)
			require.Empty(t, got.header.Values(mcpguard.HeaderAnswer))
			require.Empty(t, r.server.Requests())
			receipts := testkit.ReadJournal(t, r.journal, r.host.Bundles).Receipts
			last := receipts[len(receipts)-1]
			require.Contains(t, last.Decision.Reason, tt.fault)
			require.Empty(t, last.Prev)
		})
	}
}

// A caller sees nothing of what another presented, and cannot spoil it.
func TestChainsAreTheCallers(t *testing.T) {
	r := demandingRig(t, testkit.MCPOptions{JSON: true})
	alice, _ := r.checked()
	bob := alice.in("bob")
	require.Equal(t, 2, bob.present(alice.links...).Known)
	require.Equal(t, http.StatusPreconditionRequired, alice.call("echo", "hi").status)
	alice.present(alice.links...)
	// A second link for a step of alice's would take out both, had alice presented it.
	alice.task--
	fork := alice.link("custody.attest", "intake", receipt.StatusStated)
	fork.Prev, fork.Workflow.Task = nil, 1
	forked := sign(t, fork, alice.svid)
	said := bob.present(forked)
	require.NotEmpty(t, said.Faults)
	require.Equal(t, http.StatusOK, alice.call("echo", "hi").status)
	require.NotEmpty(t, alice.present(forked).Faults)
	require.Equal(t, http.StatusForbidden, alice.call("echo", "hi", mcpguard.HeaderChain, mcpguard.ChainPresented).status)
}

func TestPresentingIsAnAction(t *testing.T) {
	r := demandingRig(t, testkit.MCPOptions{JSON: true})
	alice, _ := r.checked()
	alice.present(alice.links...)
	last := r.lastRecord()
	require.Equal(t, receipt.Action{Kind: "custody.chain", Server: "server", Name: "refund-1"}, last.Action)
	require.Equal(t, receipt.Outcome{Status: receipt.StatusOK, HTTPStatus: 200, ResponseDigest: last.Outcome.ResponseDigest}, last.Outcome)
	require.Nil(t, last.Workflow)

	carol := alice.in("carol")
	got := r.do(http.MethodPost, carol.url+"/custody/v1/chain", presenting(t, &alice.chain, alice.links...))
	require.Equal(t, http.StatusForbidden, got.status, "whom no rule lets reach the server")
	require.Equal(t, "custody.chain", r.lastRecord().Action.Kind)
	r.setPolicy(strings.Replace(demanding, "rules:", "rules:\n  - {name: no-links, effect: deny, from: [alice], to: {server: server, methods: [custody.chain]}}", 1))
	require.Eventually(t, func() bool {
		return r.do(http.MethodPost, alice.url+"/custody/v1/chain", presenting(t, &alice.chain)).status == http.StatusForbidden
	}, 10*time.Second, time.Millisecond)
	require.Empty(t, r.server.Requests())
}

func TestPresentingRefuses(t *testing.T) {
	r := demandingRig(t, testkit.MCPOptions{JSON: true})
	alice, _ := r.checked()
	good := presenting(t, &alice.chain, alice.links...)
	many := make([]*receipt.Envelope, 1001)
	for i := range many {
		many[i] = &receipt.Envelope{}
	}
	long := alice.chain
	long.Instance = strings.Repeat("x", 1025)
	for name, tt := range map[string]struct {
		method, path, body string
		status             int
	}{
		"no JSON":           {body: "x", status: 400},
		"nothing":           {body: "", status: 400},
		"no chain":          {body: `{"links":[]}`, status: 400},
		"another member":    {body: strings.Replace(good, "{", `{"more":1,`, 1), status: 400},
		"a member twice":    {body: strings.Replace(good, "{", `{"links":[],`, 1), status: 400},
		"more behind it":    {body: good + "{}", status: 400},
		"no instance":       {body: strings.Replace(good, "refund-1", "", 1), status: 400},
		"a long instance":   {body: presenting(t, &long), status: 400},
		"no app":            {body: strings.Replace(good, alice.chain.App.String(), "alice", 1), status: 400},
		"too many":          {body: presenting(t, &alice.chain, many...), status: 400},
		"too large":         {body: good + strings.Repeat(" ", 4<<20), status: 413},
		"a query":           {path: "/custody/v1/chain?x", body: good, status: 404},
		"GET":               {method: http.MethodGet, status: 404},
		"another place":     {path: "/custody/v1/chains", body: good, status: 404},
		"below it":          {path: "/custody/v1/chain/", body: good, status: 404},
		"another spelling":  {path: "/custody/v1/ch%61in", body: good, status: 404},
		"an encoded slash":  {path: "/custody%2Fv1/chain", body: good, status: 404},
		"answer by POST":    {path: "/custody/v1/chain/answer", body: good, status: 404},
		"answer to nothing": {method: http.MethodGet, path: "/custody/v1/chain/answer", status: 400},
		"answer to text":    {method: http.MethodGet, path: "/custody/v1/chain/answer?question=x", status: 400},
		"answer to two":     {method: http.MethodGet, path: "/custody/v1/chain/answer?question=" + alice.heads[0].String() + "&question=" + alice.heads[0].String(), status: 400},
		"answer to more":    {method: http.MethodGet, path: "/custody/v1/chain/answer?x=1&question=" + alice.heads[0].String(), status: 400},
		"answer to another": {method: http.MethodGet, path: "/custody/v1/chain/answer?question=" + alice.heads[0].String(), status: 404},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.method == "" {
				tt.method = http.MethodPost
			}
			if tt.path == "" {
				tt.path = "/custody/v1/chain"
			}
			before := len(r.records())
			got := r.do(tt.method, alice.url+tt.path, tt.body)
			require.Equal(t, tt.status, got.status, got.body)
			require.Len(t, r.records(), before+1)
		})
	}
	require.Empty(t, r.server.Requests())
	require.Equal(t, 0, alice.present().Known)
	mixed := strings.Replace(presenting(t, &alice.chain, alice.links...), `"links":[`, `"links":[1,{},`, 1)
	got := r.do(http.MethodPost, alice.url+"/custody/v1/chain", mixed)
	var said learned
	require.NoError(t, json.Unmarshal([]byte(got.body), &said))
	require.Equal(t, 2, said.Known, "what can be read is")
	require.Len(t, said.Faults, 2)
	require.Contains(t, r.lastRecord().Outcome.Reason, "2 of 4 links")
}

func TestAnswerIsGiven(t *testing.T) {
	r := newRig(t, testkit.MCPOptions{JSON: true})
	alice := r.worker("alice")
	body := call("echo", "hi")
	question := alice.asking(body)
	require.Equal(t, http.StatusNotFound, alice.ask(question).status)
	first := alice.send(question, body)
	want := `{"state":"settled","question":` + string(question.AppendJSON(nil)) + `,"answer":` +
		string(decoded(t, first.header.Get(mcpguard.HeaderAnswer)).AppendJSON(nil)) + `}`
	for _, again := range []func(){func() {}, r.again} {
		again()
		got := alice.ask(question)
		require.Equal(t, http.StatusOK, got.status, got.body)
		require.JSONEq(t, want, got.body)
		require.Equal(t, "custody.chain", r.lastRecord().Action.Kind)
		require.Equal(t, receipt.Sum([]byte(got.body)), r.lastRecord().Outcome.ResponseDigest)
	}
	bob := r.worker("bob")
	require.Equal(t, http.StatusNotFound, bob.ask(question).status, "it is not bob's")
	require.Equal(t, http.StatusForbidden, r.worker("carol").ask(question).status)
	require.NoError(t, r.factory.Close())
	require.Equal(t, http.StatusServiceUnavailable, alice.ask(question).status, "what cannot be recorded is not told")
	require.Equal(t, http.StatusServiceUnavailable, r.do(http.MethodPost, alice.url+"/custody/v1/chain", presenting(t, &alice.chain)).status)
}
