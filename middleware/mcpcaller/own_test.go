// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpcaller_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/middleware/mcpcaller"
)

func statement(task int, kind, value string) string {
	return fmt.Sprintf(`{"workflow":%s,"prev":["%s"],"kind":%q,"statement":%s}`, workflow(task), receipt.Sum([]byte("head")), kind, value)
}

type said struct {
	Digest   string          `json:"digest"`
	Envelope json.RawMessage `json:"envelope"`
}

func (r *rig) say(path, body string) said {
	r.t.Helper()
	got := r.do(http.MethodPost, path, body)
	require.Equal(r.t, 200, got.status, got.body)
	var link said
	require.NoError(r.t, json.Unmarshal([]byte(got.body), &link))
	return link
}

func TestStatements(t *testing.T) {
	r := newRig(t)
	for i, kind := range []string{"custody.attest", "custody.join", "custody.continue", "custody.begin", "custody.end"} {
		link := r.say(mcpcaller.PathAttest, statement(i+1, kind, `{"b": 1.0, "a": "\u0041"}`))
		got := r.link(link.Envelope)
		require.Equal(t, receipt.Action{Kind: kind, Name: "charge"}, got.Action)
		require.Equal(t, receipt.StatusStated, got.Outcome.Status)
		require.Equal(t, receipt.Sum([]byte(`{"a":"A","b":1}`)), got.RequestDigest, "over the RFC 8785 form")
		require.Equal(t, "refunds", got.Workflow.App)
		require.Equal(t, receipt.Caller{SPIFFEID: r.host.ID, Proof: "sidecar"}, got.Caller)
		require.Equal(t, r.records().Digests[i], link.Digest)
	}
	again := r.say(mcpcaller.PathAttest, statement(1, "custody.attest", `{"a":"A","b":1}`))
	require.Equal(t, r.records().Digests[0], again.Digest, "the same content in another spelling")
	other := r.do(http.MethodPost, mcpcaller.PathAttest, statement(1, "custody.attest", `{"a":"B"}`))
	require.Equal(t, 409, other.status, other.body)
	require.Len(t, r.records().Receipts, 5)
	require.Empty(t, r.server.Requests())
}

func TestApproval(t *testing.T) {
	r := newRig(t)
	ofIntake := strings.Replace(statement(4, "custody.approval", `true`), `"instance":"refund-1","name"`, `"app":"intake","instance":"refund-1","name"`, 1)
	ofIntake = strings.Replace(ofIntake, `{"chain":{`, `{"chain":{"app":"spiffe://custody.local/ns/default/intake",`, 1)
	got := r.link(r.say(mcpcaller.PathApprove, ofIntake).Envelope)
	require.Equal(t, receipt.Action{Kind: "custody.approval", Name: "charge"}, got.Action)
	require.Equal(t, receipt.StatusApproved, got.Outcome.Status)
	require.Equal(t, "intake", got.Workflow.App)
	require.Equal(t, r.host.ID, got.Caller.SPIFFEID)
	unnamed := strings.Replace(statement(5, "x", `null`), `"kind":"x",`, "", 1)
	require.Equal(t, "custody.approval", r.link(r.say(mcpcaller.PathApprove, unnamed).Envelope).Action.Kind)

	// The same as a statement is not this app's to make.
	stated := strings.Replace(ofIntake, "custody.approval", "custody.attest", 1)
	require.Equal(t, 400, r.do(http.MethodPost, mcpcaller.PathAttest, stated).status)
}

func TestStatementsRefused(t *testing.T) {
	const attest, approve = mcpcaller.PathAttest, mcpcaller.PathApprove
	good := statement(1, "custody.attest", `{"a":1}`)
	tests := []struct{ name, path, body, want string }{
		{"unknown kind", attest, statement(1, "custody.note", `1`), "none of custody.attest"},
		{"no kind", attest, strings.Replace(good, `"kind":"custody.attest",`, "", 1), "none of custody.attest"},
		{"an approval to attest", attest, statement(1, "custody.approval", `1`), "none of custody.attest"},
		{"a call to attest", attest, statement(1, "mcp.tools/call", `1`), "none of custody.attest"},
		{"a statement to approve", approve, good, "is not custody.approval"},
		{"no statement", attest, strings.Replace(good, `,"statement":{"a":1}`, "", 1), "statement is missing"},
		{"no workflow", attest, `{"kind":"custody.attest","statement":1}`, "workflow is missing"},
		{"name twice within the statement", attest, statement(1, "custody.attest", `{"a":[{"b":1,"b":2}]}`), "duplicate"},
		{"unknown member", attest, strings.Replace(good, `"kind"`, `"server":"x","kind"`, 1), "unknown object member name"},
		{"not JSON", attest, `x`, "invalid character"},
		{"nothing", attest, ``, "EOF"},
		{"another app", attest, strings.Replace(good, `"instance":"refund-1","name"`, `"app":"intake","instance":"refund-1","name"`, 1), "an app speaks for its own workflows only"},
		{"no step", approve, strings.Replace(statement(1, "custody.approval", `1`), `,"step":"charge"`, "", 1), "workflow.step is missing"},
		{"17 heads", attest, strings.Replace(good, `"prev":[`, `"prev":[`+manyHeads(16)+`,`, 1), "more than 16"},
	}
	r := newRig(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := r.do(http.MethodPost, test.path, test.body)
			require.Equal(t, 400, got.status, got.body)
			require.Contains(t, got.body, test.want)
		})
	}
	require.Empty(t, r.records().Receipts)
	require.Equal(t, 200, r.do(http.MethodPost, attest, good).status)
}

func manyHeads(n int) string {
	heads := make([]string, n)
	for i := range heads {
		heads[i] = fmt.Sprintf("%q", receipt.Sum([]byte{byte(i)}))
	}
	return strings.Join(heads, ",")
}

func TestOwnPaths(t *testing.T) {
	r := newRig(t, func(r *rig) { r.meta["maxRequestBytes"] = "1000" })
	good := statement(1, "custody.attest", `1`)
	get := r.do(http.MethodGet, mcpcaller.PathAttest, "")
	require.Equal(t, 405, get.status)
	require.Equal(t, "POST", get.header.Get("Allow"))
	plain := r.do(http.MethodPost, mcpcaller.PathAttest, good, "Content-Type", "", "Content-Type", "text/plain")
	require.Equal(t, 415, plain.status, plain.body)
	large := r.do(http.MethodPost, mcpcaller.PathAttest, good+strings.Repeat(" ", 1000))
	require.Equal(t, 413, large.status, large.body)
	require.Empty(t, r.server.Requests())

	// Another app's path of that name is that app's, and a path that is not ours is Dapr's.
	require.NotEqual(t, 404, r.do(http.MethodPost, mcpcaller.PathAttest, call("echo", "x"), "Dapr-App-Id", "payments").status)
	r.do(http.MethodPost, mcpcaller.PathAttest+"/", good)
	require.Len(t, r.server.Requests(), 2)
	require.Empty(t, r.records().Receipts)
}
