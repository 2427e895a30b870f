// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard_test

import (
	"crypto/x509"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/internal/txn"
)

const behalfPolicy = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: test}
spec:
  rules:
  - name: for-intake
    effect: allow
    from: [alice]
    to: {server: server, tools: [echo]}
    when: actor.spiffeID == "spiffe://custody.local/ns/default/intake" && actor.txn == "t-1"
  - name: by-hand-of-two
    effect: allow
    from: [alice]
    to: {server: server, tools: [fail]}
    when: actors == ["spiffe://custody.local/ns/default/intake", "spiffe://custody.local/ns/default/alice"]
  - name: alone
    effect: allow
    from: [alice]
    to: {server: server, tools: [reverse]}
    when: actor.spiffeID == "" && actor.txn == "" && actors.size() == 0
  - {name: health, effect: allow, from: [alice], to: {server: server, paths: ["GET /healthz"]}}
`

// hands makes tokens for the server of the rig.
type hands struct {
	r     *rig
	svids map[string]*x509svid.SVID
}

func (r *rig) hands() *hands {
	h := &hands{r: r, svids: map[string]*x509svid.SVID{"server": {ID: r.host.ID}}}
	for _, app := range []string{"intake", "alice", "bob"} {
		h.svids[app] = r.ca.SVID(app)
	}
	return h
}

func (h *hands) scope(text string) (s txn.Scope) {
	h.r.t.Helper()
	if text != "" {
		var err error
		s, err = txn.ParseScope(text)
		require.NoError(h.r.t, err)
	}
	return s
}

func (h *hands) begin(from, to, scope string, change ...func(*txn.Begin)) *txn.Token {
	h.r.t.Helper()
	b := txn.Begin{Txn: "t-1", To: h.svids[to].ID, Scope: h.scope(scope), Now: time.Now()}
	for _, c := range change {
		c(&b)
	}
	token, err := b.Sign(h.svids[from])
	require.NoError(h.r.t, err)
	return token
}

// through begins at intake and comes from alice.
func (h *hands) through(first, then string) *txn.Token {
	h.r.t.Helper()
	token, err := h.begin("intake", "alice", first).Replace(txn.Replace{To: h.r.host.ID, Scope: h.scope(then), Now: time.Now()}, h.svids["alice"])
	require.NoError(h.r.t, err)
	return token
}

func (h *hands) id(app string) spiffeid.ID { return h.svids[app].ID }

func behalfRig(t *testing.T, change ...func(*rig)) (*rig, *hands) {
	t.Helper()
	r := newRig(t, testkit.MCPOptions{JSON: true}, append([]func(*rig){func(r *rig) { r.setPolicy(behalfPolicy) }}, change...)...)
	return r, r.hands()
}

func TestWhoStandsBehind(t *testing.T) {
	r, h := behalfRig(t)
	alice := r.asSVID(h.svids["alice"])
	token := h.through("*", "")
	got := r.post(alice, call("echo", "hi"), "Txn-Token", token.Compact)
	require.Equal(t, 200, got.status, got.body)
	require.Equal(t, []string{token.Compact}, r.server.Last(t).Header.Values("Txn-Token"), "the server gets it as it is")
	record := r.lastRecord()
	require.Equal(t, "t-1", record.Txn)
	require.Equal(t, []spiffeid.ID{h.id("intake"), h.id("alice")}, record.Actors)
	require.Equal(t, h.id("alice"), record.Caller.SPIFFEID)
	require.Equal(t, 200, r.post(alice, call("echo", "hi"), "Txn-Token", token.Compact).status, "again")
	require.Equal(t, 200, r.post(alice, call("fail", "hi"), "Txn-Token", token.Compact).status, "actors")
	require.Empty(t, got.header.Values("Txn-Token"))

	// What a rule allows without a token it does not allow with one, and the reverse.
	require.Equal(t, 403, r.post(alice, call("reverse", "hi"), "Txn-Token", token.Compact).status)
	require.Equal(t, []spiffeid.ID{h.id("intake"), h.id("alice")}, r.lastRecord().Actors, "a denial says it too")
	require.Equal(t, 403, r.post(alice, call("echo", "hi")).status)
	require.Equal(t, 200, r.post(alice, call("reverse", "hi")).status)
	require.Empty(t, r.lastRecord().Txn)
	require.Empty(t, r.lastRecord().Actors)
	require.Empty(t, r.server.Last(t).Header.Values("Txn-Token"))

	// Another actor, and the same app on its own behalf.
	own := h.begin("alice", "server", "*")
	require.Equal(t, 403, r.post(alice, call("echo", "hi"), "Txn-Token", own.Compact).status)
	require.Equal(t, "no rule allows it", r.lastRecord().Decision.Reason)
	require.Equal(t, 403, r.post(alice, call("fail", "hi"), "Txn-Token", own.Compact).status)
	require.Equal(t, 204, r.do("GET", alice+"/healthz", "", "Txn-Token", own.Compact).status)
}

// A token is no credential: nothing is allowed because of it to whom no rule allows it.
func TestTokenAllowsNothing(t *testing.T) {
	r, h := behalfRig(t)
	token, err := h.begin("intake", "bob", "*").Replace(txn.Replace{To: r.host.ID, Now: time.Now()}, h.svids["bob"])
	require.NoError(t, err)
	require.Equal(t, 403, r.post(r.asSVID(h.svids["bob"]), call("echo", "hi"), "Txn-Token", token.Compact).status)
	require.Equal(t, "no rule allows it", r.lastRecord().Decision.Reason)
}

func TestTokenThatIsNotGood(t *testing.T) {
	r, h := behalfRig(t)
	good := h.through("*", "").Compact
	other := testkit.NewCA(t, "custody.local")
	signed := func(svid *x509svid.SVID, change ...func(*txn.Begin)) string {
		h.svids["forger"] = svid
		return h.begin("forger", "server", "*", change...).Compact
	}
	late := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
	tests := map[string]struct {
		caller string
		tokens []string
		want   string
	}{
		"stolen by another peer":     {"bob", []string{good}, "came from spiffe://custody.local/ns/default/bob"},
		"sent to another app":        {"alice", []string{h.begin("alice", "bob", "*").Compact}, "it was sent to spiffe://custody.local/ns/default/bob"},
		"as it came to the caller":   {"alice", []string{h.begin("intake", "alice", "*").Compact}, "it was sent to"},
		"begun by another":           {"alice", []string{h.begin("intake", "server", "*").Compact}, "it is from spiffe://custody.local/ns/default/intake"},
		"expired":                    {"alice", []string{h.begin("alice", "server", "*", func(b *txn.Begin) { b.Now = b.Now.Add(-txn.MaxLifetime) }).Compact}, "it is good from"},
		"from the future":            {"alice", []string{h.begin("alice", "server", "*", func(b *txn.Begin) { b.Now = b.Now.Add(2 * time.Minute) }).Compact}, "it is good from"},
		"of another root":            {"alice", []string{signed(other.SVID("alice"))}, "certificate of the signer"},
		"of another trust domain":    {"alice", []string{signed(testkit.NewCA(t, "other.test").SVID("alice"))}, "certificate of the signer"},
		"of a certificate that ends": {"alice", []string{signed(r.ca.SVID("alice", late))}, "certificate of the signer"},
		"widened":                    {"alice", []string{widened(t, h)}, "is wider than"},
		"two":                        {"alice", []string{good, good}, "more than one"},
		"two in one":                 {"alice", []string{good + ", " + good}, "the transaction token is not good"},
		"garbage":                    {"alice", []string{"garbage"}, "three parts"},
		"empty":                      {"alice", []string{""}, "three parts"},
		"flipped":                    {"alice", []string{flip(good)}, "the transaction token is not good"},
		"too large":                  {"alice", []string{strings.Repeat("a", txn.MaxToken+1)}, "more than 24576 bytes"},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			url, before := r.asSVID(h.svids[c.caller]), len(r.server.Requests())
			var header []string
			for _, token := range c.tokens {
				header = append(header, "Txn-Token", token)
			}
			for _, send := range []func() answered{
				func() answered { return r.post(url, call("reverse", "hi"), header...) },
				func() answered { return r.post(url, listTools, header...) },
				func() answered { return r.do(http.MethodGet, url+"/healthz", "", header...) },
				func() answered {
					return r.do(http.MethodPost, url+"/custody/v1/chain", presenting(t, &receipt.Chain{
						App: h.id("alice"), Instance: "i", Started: time.Now(),
					}), header...)
				},
			} {
				got := send()
				require.Equal(t, 403, got.status, got.body)
				require.Contains(t, got.body, "the transaction token that comes with the call is not good here")
				record := r.lastRecord()
				require.Equal(t, receipt.StatusDenied, record.Outcome.Status)
				require.Contains(t, record.Decision.Reason, c.want)
				require.NotContains(t, got.body, c.want)
				require.Empty(t, record.Actors, "what was not verified is not said")
			}
			require.Len(t, r.server.Requests(), before, "nothing reached the server")
		})
	}
	require.Equal(t, 200, r.post(r.asSVID(h.svids["alice"]), call("echo", "hi"), "Txn-Token", good).status, "the good one passes")
}

// widened is a token by which alice gives herself more than she was given.
func widened(t *testing.T, h *hands) string {
	t.Helper()
	narrow := h.begin("intake", "alice", "server/echo")
	lying := *narrow
	lying.Scope = h.scope("*")
	token, err := lying.Replace(txn.Replace{To: h.r.host.ID, Now: time.Now()}, h.svids["alice"])
	require.NoError(t, err)
	return token.Compact
}

func flip(token string) string {
	at, other := len(token)/2, "A"
	if token[at] == 'A' {
		other = "B"
	}
	return token[:at] + other + token[at+1:]
}

func TestScopeNarrows(t *testing.T) {
	r, h := behalfRig(t, func(r *rig) { r.setPolicy(allowAlice) })
	alice := r.asSVID(h.svids["alice"])
	for name, c := range map[string]struct {
		first, then string
		echo        int
		fail        int
		health      int
		list        int
		shown       string // of echo and fail
	}{
		"everything":       {"*", "", 200, 200, 204, 200, "echo fail"},
		"the server":       {"server/*", "", 200, 200, 204, 200, "echo fail"},
		"a tool":           {"server/echo", "", 200, 403, 403, 200, "echo"},
		"narrowed":         {"*", "server/fail", 403, 200, 403, 200, "fail"},
		"a path":           {"server/GET*/healthz", "", 403, 403, 204, 200, ""},
		"another tool":     {"server/none", "", 403, 403, 403, 200, ""},
		"another server":   {"payments/*", "", 403, 403, 403, 403, ""},
		"another in name":  {"serve/*", "", 403, 403, 403, 403, ""},
		"of every server":  {"*/echo", "", 200, 403, 403, 200, "echo"},
		"letters in case":  {"server/Echo", "", 403, 403, 403, 200, ""},
		"two, one of them": {"payments/* server/e*", "", 200, 403, 403, 200, "echo"},
	} {
		t.Run(name, func(t *testing.T) {
			token := h.through(c.first, c.then).Compact
			for tool, status := range map[string]int{"echo": c.echo, "fail": c.fail} {
				got := r.post(alice, call(tool, "hi"), "Txn-Token", token)
				require.Equal(t, status, got.status, got.body)
				if status == 403 {
					require.Contains(t, r.lastRecord().Decision.Reason, "of the transaction does not cover")
					require.Equal(t, []spiffeid.ID{h.id("intake"), h.id("alice")}, r.lastRecord().Actors)
				}
			}
			require.Equal(t, c.health, r.do(http.MethodGet, alice+"/healthz", "", "Txn-Token", token).status)
			list := r.post(alice, listTools, "Txn-Token", token)
			require.Equal(t, c.list, list.status)
			var shown []string
			for _, tool := range []string{"echo", "reverse", "fail"} {
				if strings.Contains(list.body, `"name":"`+tool+`"`) {
					shown = append(shown, tool)
				}
			}
			require.Equal(t, c.shown, strings.Join(shown, " "))
		})
	}
}

// With its session a caller can do under a token what the scope reaches, to its end.
func TestSessionUnderScope(t *testing.T) {
	r := newRig(t, testkit.MCPOptions{Stateful: true, JSON: true})
	h := r.hands()
	alice := r.asSVID(h.svids["alice"])
	const initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"a","version":"1"}}}`
	narrow, elsewhere := h.through("server/echo", "").Compact, h.through("payments/*", "").Compact
	require.Equal(t, 403, r.post(alice, initialize, "Txn-Token", elsewhere).status)
	got := r.post(alice, initialize, "Txn-Token", narrow)
	require.Equal(t, 200, got.status, got.body)
	session := []string{"Mcp-Session-Id", got.header.Get("Mcp-Session-Id"), "Mcp-Protocol-Version", "2025-11-25"}
	end := func(token string) int {
		return r.do(http.MethodDelete, alice+"/mcp", "", append([]string{"Txn-Token", token}, session...)...).status
	}
	require.Equal(t, 403, end(elsewhere))
	require.Equal(t, 403, end("garbage"))
	require.Equal(t, 204, end(narrow))
}

func TestTokensFailClosed(t *testing.T) {
	for name, bundles := range map[string]x509bundle.Source{"no roots": x509bundle.NewSet(), "nothing wrong": nil} {
		t.Run(name, func(t *testing.T) {
			source := &changing{}
			r, h := behalfRig(t, func(r *rig) { source.Source = r.host.Bundles; r.host.Bundles = source })
			alice, token := r.asSVID(h.svids["alice"]), h.through("*", "").Compact
			require.Equal(t, 200, r.post(alice, call("echo", "hi"), "Txn-Token", token).status)
			if bundles == nil {
				require.Equal(t, 200, r.post(alice, call("echo", "hi"), "Txn-Token", token).status)
				return
			}
			source.Source = bundles
			require.Equal(t, 403, r.post(alice, call("echo", "hi"), "Txn-Token", token).status, "what was good before is not now")
			require.Len(t, r.server.Requests(), 1)
		})
	}
}

type changing struct{ x509bundle.Source }

// A step is done in the transaction of its own chain, or in one that names none.
func TestTokenOfAStep(t *testing.T) {
	r := newRig(t, testkit.MCPOptions{JSON: true})
	h := r.hands()
	w := r.worker("alice")
	h.svids["alice"] = w.svid
	body := call("echo", "hi")
	about := func(c receipt.Chain) string {
		return h.begin("alice", "server", "*", func(b *txn.Begin) {
			b.Context = append(c.AppendJSON([]byte(`{"chain":`)), '}')
		}).Compact
	}
	later, other := w.chain, w.chain
	later.Started, other.Instance = later.Started.Add(time.Second), "refund-2"
	for name, c := range map[string]struct {
		token  string
		status int
		want   string
	}{
		"its own":        {about(w.chain), 200, "ok"},
		"none":           {h.through("*", "").Compact, 200, "ok"},
		"another run":    {about(later), 403, "the step is of another"},
		"another":        {about(other), 403, "the step is of another"},
		"no chain":       {h.begin("alice", "server", "*", func(b *txn.Begin) { b.Context = jsontext.Value(`{"chain":[]}`) }).Compact, 403, "tctx of the transaction token"},
		"not good":       {"garbage", 403, "three parts"},
		"out of scope":   {h.through("server/fail", "").Compact, 403, "does not cover"},
		"of another app": {h.begin("intake", "server", "*").Compact, 403, "came from"},
	} {
		t.Run(name, func(t *testing.T) {
			reached := len(r.server.Requests())
			got := w.send(w.asking(body), body, "Txn-Token", c.token)
			require.Equal(t, c.status, got.status, got.body)
			answer := w.answer(got)
			require.Equal(t, c.status == 200, len(r.server.Requests()) > reached)
			if c.status == 200 {
				require.Equal(t, c.want, answer.Outcome.Status)
				require.NotEmpty(t, answer.Actors)
				return
			}
			require.Equal(t, receipt.StatusDenied, answer.Outcome.Status, "the denial is a link of the chain")
			require.Contains(t, answer.Decision.Reason, c.want)
		})
	}
}
