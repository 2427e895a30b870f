// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/internal/txn"
	"github.com/dapr-custody/custody/middleware/mcpguard"
)

// short sends a question without certificates.
func (w *worker) short(question *receipt.Envelope, body string, header ...string) answered {
	w.r.t.Helper()
	return w.r.post(w.url, body, append([]string{mcpguard.HeaderQuestion, question.Short()}, header...)...)
}

// wantsAll checks that nothing was decided or recorded, and that the question has to come with all that it leaves out.
func (r *rig) wantsAll(records int, got answered) {
	r.t.Helper()
	require.Equal(r.t, http.StatusPreconditionRequired, got.status, got.body)
	require.Equal(r.t, mcpguard.HasNothing, got.header.Get(mcpguard.HeaderHas))
	require.Empty(r.t, got.header.Values(mcpguard.HeaderAnswer))
	require.Empty(r.t, got.header.Values(mcpguard.HeaderChain))
	require.Contains(r.t, got.body, `"id":7`)
	require.Len(r.t, r.records(), records)
}

func TestShortQuestion(t *testing.T) {
	for name, options := range forms {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, options)
			w := r.worker("alice")
			body := call("echo", "hi")
			first, second := w.asking(body), w.asking(body)
			r.wantsAll(0, w.short(first, body))
			require.Empty(t, r.server.Requests())

			long := w.send(first, body)
			require.Equal(t, http.StatusOK, long.status, long.body)
			require.Equal(t, mcpguard.HasQuestion, long.header.Get(mcpguard.HeaderHas))
			got := w.short(second, body)
			require.Equal(t, http.StatusOK, got.status, got.body)
			require.Equal(t, mcpguard.HasQuestion, got.header.Get(mcpguard.HeaderHas))
			require.Equal(t, []receipt.Digest{second.PayloadDigest()}, w.answer(got).Prev)
			require.Contains(t, w.ask(second).body, string(second.AppendJSON(nil)), "the journal has it with certificates")
			require.Equal(t, http.StatusConflict, w.short(second, body).status)

			r.again()
			third := w.asking(body)
			records := len(r.records())
			r.wantsAll(records, w.short(third, body))
			require.Equal(t, http.StatusOK, w.send(third, body).status)
		})
	}
}

// The certificates are those of the signer, whoever else is known here.
func TestShortQuestionMustFitTheCall(t *testing.T) {
	source := &changing{}
	r := newRig(t, testkit.MCPOptions{JSON: true}, func(r *rig) {
		source.Source = r.ca.Bundle()
		r.host.Bundles = source
	})
	w, bob := r.worker("alice"), r.worker("bob")
	body := call("echo", "hi")
	require.Equal(t, http.StatusOK, w.send(w.asking(body), body).status)
	reverse := call("reverse", "hi")
	require.Equal(t, http.StatusOK, bob.send(bob.asking(reverse), reverse).status)
	bobs := bob.asking(body).Signatures[0].KeyID
	change := func(what func(e *receipt.Envelope)) *receipt.Envelope {
		e := w.asking(body)
		what(e)
		return e
	}
	stranger := testkit.NewCA(t, "custody.local").SVIDFor(w.svid.ID)
	for _, tt := range []struct {
		name     string
		question *receipt.Envelope
		want     string
	}{
		{"another app's certificates", change(func(e *receipt.Envelope) { e.Signatures[0].KeyID = bobs }), "signature"},
		{"another app signed", bob.asking(body), "expected was"},
		{"another signature", change(func(e *receipt.Envelope) { e.Signatures[0].Sig[7] ^= 1 }), "signature"},
		{"another payload", change(func(e *receipt.Envelope) { e.Payload[9] ^= 1 }), "signature"},
		{"other arguments", w.asking(call("echo", "ho")), "requestDigest"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := w.short(tt.question, body)
			require.Equal(t, http.StatusForbidden, got.status, got.body)
			require.Equal(t, mcpguard.HasNothing, got.header.Get(mcpguard.HeaderHas))
			require.Empty(t, got.header.Values(mcpguard.HeaderAnswer))
			require.Contains(t, r.lastRecord().Decision.Reason, tt.want)
		})
	}
	t.Run("a certificate that nobody vouches for", func(t *testing.T) {
		asked, err := w.asking(body).UnsafeReceipt()
		require.NoError(t, err)
		question := sign(t, asked, stranger)
		require.Equal(t, http.StatusForbidden, w.send(question, body).status)
		r.wantsAll(len(r.records()), w.short(question, body))
	})
	t.Run("roots that are no more", func(t *testing.T) {
		good := w.asking(body)
		source.Source = testkit.NewCA(t, "custody.local").Bundle()
		got := w.short(good, body)
		require.Equal(t, http.StatusForbidden, got.status, got.body)
		source.Source = r.ca.Bundle()
		require.Equal(t, http.StatusOK, w.short(good, body).status)
	})
	require.Len(t, r.server.Requests(), 3)
}

// The connection may be older than the certificate that signs, and one app may sign with several.
func TestShortQuestionAfterARotation(t *testing.T) {
	r := newRig(t, testkit.MCPOptions{JSON: true})
	w := r.worker("alice")
	body := call("echo", "hi")
	require.Equal(t, http.StatusOK, w.send(w.asking(body), body).status)
	before := w.asking(body)
	w.svid = r.ca.SVID("alice")
	after := w.asking(body)
	r.wantsAll(1, w.short(after, body))
	require.Equal(t, http.StatusOK, w.send(after, body).status)
	require.Equal(t, http.StatusOK, w.short(before, body).status, "the one before is still good")
	require.Equal(t, http.StatusOK, w.short(w.asking(body), body).status)
}

// What another caller puts beside a signature of the worker's goes into nothing of the worker's.
func TestShortQuestionIsNotCompletedWithWhatOthersPutBeside(t *testing.T) {
	r := newRig(t, testkit.MCPOptions{JSON: true})
	w, mallory := r.worker("alice"), r.worker("bob")
	body := call("echo", "hi")
	first := w.asking(body)
	require.Equal(t, http.StatusOK, w.send(first, body).status)

	mallory.chain = w.chain
	junk := testkit.NewCA(t, "custody.local").SVIDFor(w.svid.ID)
	stuffed := *first
	stuffed.Signatures = slices.Clone(first.Signatures)
	for range 4 {
		stuffed.Signatures[0].Intermediates = append(slices.Clone(stuffed.Signatures[0].Intermediates), junk.Certificates[0].Raw, junk.Certificates[1].Raw)
	}
	require.Equal(t, 1, mallory.present(&stuffed).Known)

	second := w.asking(body)
	require.Equal(t, http.StatusOK, w.short(second, body).status)
	require.Contains(t, w.ask(second).body, string(second.AppendJSON(nil)), "the journal has it as it was signed")
}

// Who says to have certificates gets links without them, and nobody else does.
func TestAnswerForWhoHasTheCertificates(t *testing.T) {
	r := newRig(t, testkit.MCPOptions{Tools: []string{"echo", "progress"}})
	w, bob := r.worker("alice"), r.worker("bob")
	body := call("echo", "hi")
	svid, err := r.host.SVIDs.GetX509SVID()
	require.NoError(t, err)
	own, theirs := receipt.KeyID(svid.Certificates[0]), receipt.KeyID(w.svid.Certificates[0])
	both := own[:16] + " " + theirs[:16]
	short := func(text string) bool { return strings.Contains(text, ".") }
	for held, want := range map[string]bool{"": false, "none": false, theirs[:16]: false, own[:16]: true, both: true, own: false} {
		question := w.asking(body)
		got := w.send(question, body, mcpguard.HeaderHeld, held)
		require.Equal(t, http.StatusOK, got.status, got.body)
		require.Equal(t, want, short(got.header.Get(mcpguard.HeaderAnswer)), held)
		require.Empty(t, r.server.Last(t).Header.Values(mcpguard.HeaderHeld))

		denied := bob.send(bob.asking(body), body, mcpguard.HeaderHeld, held)
		require.Equal(t, http.StatusForbidden, denied.status)
		require.Equal(t, want, short(denied.header.Get(mcpguard.HeaderAnswer)), held)

		again := w.send(question, body, mcpguard.HeaderHeld, held)
		require.Equal(t, http.StatusConflict, again.status)
		require.Equal(t, want, short(again.header.Get(mcpguard.HeaderAnswer)), held)
		require.Equal(t, held == both || held == theirs[:16], short(again.header.Get(mcpguard.HeaderQuestion)), held)

		progress := `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"progress","arguments":{"text":"hi"},"_meta":{"progressToken":1}}}`
		_, rest, found := strings.Cut(w.send(w.asking(progress), progress, mcpguard.HeaderHeld, held).body, "\n: custody-answer ")
		require.True(t, found)
		link, _, _ := strings.Cut(rest, "\n")
		require.Equal(t, want, short(link), held)
	}
}

func TestTokenByItsName(t *testing.T) {
	r, h := behalfRig(t)
	w, alice := r.worker("alice"), r.asSVID(h.svids["alice"])
	body := call("echo", "hi")
	token := h.through("*", "").Compact
	name := txn.Name(token)

	first := w.asking(body)
	require.Equal(t, http.StatusOK, w.send(w.asking(body), body, "Txn-Token", token, mcpguard.HeaderHeld, "none").status)
	got := w.short(first, body, "Txn-Token", name)
	require.Equal(t, http.StatusOK, got.status, got.body)
	require.Equal(t, mcpguard.HasBoth, got.header.Get(mcpguard.HeaderHas))
	require.Equal(t, "t-1", w.answer(got).Txn)
	require.Equal(t, []string{token}, r.server.Last(t).Header.Values("Txn-Token"), "the server gets the whole")
	require.Equal(t, http.StatusOK, r.post(alice, body, "Txn-Token", name).status)

	other := h.through("*", "server/*").Compact
	records := len(r.records())
	r.wantsAll(records, w.short(w.asking(body), body, "Txn-Token", txn.Name(other)))
	r.wantsAll(records, w.send(w.asking(body), body, "Txn-Token", txn.Name(other)))
	for want, header := range map[string][]string{
		"the transaction token is named":       {"Txn-Token", txn.Name(other)},
		"not known here":                       {"Txn-Token", "sha256:"},
		"there is more than one":               {"Txn-Token", name, "Txn-Token", name},
		"and came from spiffe://custody.local": {"Txn-Token", name, "as", "bob"},
	} {
		url := alice
		if len(header) == 4 && header[2] == "as" {
			url, header = r.asSVID(h.svids["bob"]), header[:2]
		}
		refused := r.post(url, body, header...)
		require.Equal(t, http.StatusForbidden, refused.status, want)
		require.Contains(t, r.lastRecord().Decision.Reason, want)
	}
	reached := len(r.server.Requests())
	r.again()
	require.Equal(t, http.StatusForbidden, r.post(alice, body, "Txn-Token", name).status)
	require.Len(t, r.server.Requests(), reached)
}
