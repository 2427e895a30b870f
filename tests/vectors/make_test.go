// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package vectors_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/journal"
	"github.com/dapr-custody/custody/internal/receipt"
)

// maker makes the vectors.
type maker struct {
	t         *testing.T
	ca, other *authority
	door      receipt.Signer
}

func newMaker(t *testing.T) *maker {
	t.Helper()
	m := &maker{t: t, ca: newAuthority(t, "custody.test"), other: newAuthority(t, "other")}
	m.door = m.ca.signer("orders")
	return m
}

// receipt is an allowed call; change makes it another.
func (m *maker) receipt(change ...func(*receipt.Receipt)) *receipt.Receipt {
	r := &receipt.Receipt{
		ID: "call-1",
		Door: receipt.Door{
			SPIFFEID: spiffeid.RequireFromString("spiffe://custody.test/ns/default/orders"), Name: "mcpguard",
		},
		Caller: receipt.Caller{
			SPIFFEID: spiffeid.RequireFromString("spiffe://custody.test/ns/default/support-agent"), Proof: "x509-svid",
			CertificateDigest: receipt.Sum([]byte("certificate")),
		},
		Action:          receipt.Action{Kind: "mcp.tools/call", Server: "orders", Name: "get_order"},
		RequestDigest:   receipt.Sum([]byte("request")),
		ArgumentsDigest: receipt.Sum([]byte(`{"id":7}`)),
		Decision: receipt.Decision{
			Effect: receipt.EffectAllow, Policy: "orders", Rule: "support-reads", Reason: "allowed by rule support-reads",
			SetDigest: receipt.Sum([]byte("set")),
		},
		Workflow: &receipt.Workflow{Instance: "wf-1", Name: "refund", Step: "3", App: "refunds"},
		Prev:     []receipt.Digest{receipt.Sum([]byte("before"))},
		Journal:  receipt.Journal{ID: strings.Repeat("0c", 16), Seq: 2, Chain: receipt.Sum([]byte("chain"))},
		Times:    receipt.Times{Decided: noon(), Settled: noon().Add(1500 * time.Microsecond)},
		Outcome: receipt.Outcome{
			Status: receipt.StatusOK, HTTPStatus: 200,
			ResponseDigest: receipt.Sum([]byte("response")), ResultDigest: receipt.Sum([]byte("{}")),
		},
	}
	for _, c := range change {
		c(r)
	}
	return r
}

func denied(r *receipt.Receipt) {
	r.ID, r.Action.Name = "call-2", "run_report"
	r.ArgumentsDigest, r.Workflow, r.Prev = receipt.Digest{}, nil, nil
	r.Decision.Effect, r.Decision.Rule, r.Decision.Reason = receipt.EffectDeny, "", "no rule allows it"
	r.Outcome = receipt.Outcome{Status: receipt.StatusDenied}
}

func (m *maker) sign(r *receipt.Receipt, s receipt.Signer) *receipt.Envelope {
	m.t.Helper()
	e, err := receipt.Sign(r, s)
	require.NoError(m.t, err)
	return e
}

// resign replaces part of a good payload and signs the result, as a door with a bad program would.
func (m *maker) resign(from, to string) *receipt.Envelope {
	m.t.Helper()
	e := m.sign(m.receipt(), m.door)
	require.Contains(m.t, string(e.Payload), from)
	e.Payload = []byte(strings.Replace(string(e.Payload), from, to, 1))
	e.Signatures = []receipt.Signature{m.signature(e.Payload, m.door)}
	return e
}

func (m *maker) signature(payload []byte, s receipt.Signer) receipt.Signature {
	m.t.Helper()
	pae := append([]byte("DSSEv1 28 "+receipt.PayloadType+" "), []byte(strconv.Itoa(len(payload))+" ")...)
	sig, err := s.Sign(append(pae, payload...))
	require.NoError(m.t, err)
	chain := s.Certificates()
	return receipt.Signature{
		KeyID: receipt.KeyID(chain[0]), Sig: sig, Certificate: chain[0].Raw, Intermediates: [][]byte{chain[1].Raw},
	}
}

type envelopeVector struct {
	name string
	text []byte
	want error
}

func (m *maker) envelopes() []envelopeVector {
	change := func(c func(*receipt.Envelope)) *receipt.Envelope {
		e := m.sign(m.receipt(), m.door)
		c(e)
		return e
	}
	replace := func(from, to string) []byte {
		text := string(m.sign(m.receipt(), m.door).AppendJSON(nil))
		require.Contains(m.t, text, from)
		return []byte(strings.Replace(text, from, to, 1) + "\n")
	}
	late := m.receipt(func(r *receipt.Receipt) { r.Times.Settled = noon().Add(31 * time.Minute) })
	vectors := []envelopeVector{
		{"bad-base64", replace(`"payload":"eyJf`, `"payload":"eyJf\n`), receipt.ErrEnvelope},
		{"bad-duplicate-member", replace(`{"payload":`, `{"payload":"","payload":`), receipt.ErrEnvelope},
		{"bad-trailing-data", replace(`}]}`, `}]}{}`), receipt.ErrEnvelope},
	}
	for _, v := range []struct {
		name string
		e    *receipt.Envelope
		want error
	}{
		{"good-allow", m.sign(m.receipt(), m.door), nil},
		{"good-deny", m.sign(m.receipt(denied), m.door), nil},
		{"good-p256", m.sign(m.receipt(), m.ca.p256("orders")), nil},
		{"good-two-signatures", change(func(e *receipt.Envelope) {
			e.Signatures = append(e.Signatures, m.signature(e.Payload, m.ca.signer("refunds")))
		}), nil},
		{"good-unknown-member", m.resign(`"id":`, `"later":{"x":[1]},"id":`), nil},
		{"bad-payload-type", change(func(e *receipt.Envelope) { e.PayloadType = "application/json" }), receipt.ErrEnvelope},
		{"bad-payload-byte", change(func(e *receipt.Envelope) { e.Payload[500] ^= 1 }), receipt.ErrSignature},
		{"bad-signature-byte", change(func(e *receipt.Envelope) { e.Signatures[0].Sig[0] ^= 1 }), receipt.ErrSignature},
		{"bad-no-signature", change(func(e *receipt.Envelope) { e.Signatures = nil }), receipt.ErrSignature},
		{"bad-second-signature", change(func(e *receipt.Envelope) {
			second := m.signature([]byte("something else"), m.ca.signer("refunds"))
			e.Signatures = append(e.Signatures, second)
		}), receipt.ErrSignature},
		{"bad-key-id", change(func(e *receipt.Envelope) { e.Signatures[0].KeyID = strings.Repeat("0", 64) }), receipt.ErrCertificate},
		{"bad-no-certificate", m.sign(m.receipt(), m.door).WithoutCertificates(), receipt.ErrCertificate},
		{"bad-no-intermediate", change(func(e *receipt.Envelope) { e.Signatures[0].Intermediates = nil }), receipt.ErrCertificate},
		{"bad-expired", m.sign(late, m.door), receipt.ErrCertificate},
		{"bad-root", m.sign(m.receipt(), m.other.signer("orders")), receipt.ErrCertificate},
		{"bad-signer", change(func(e *receipt.Envelope) {
			e.Signatures = []receipt.Signature{m.signature(e.Payload, m.ca.signer("support-agent"))}
		}), receipt.ErrSigner},
		{"bad-payload-duplicate-member", m.resign(`"effect":"allow"`, `"effect":"deny","effect":"allow"`), receipt.ErrPayload},
		{"bad-payload-case", m.resign(`"requestDigest"`, `"RequestDigest"`), receipt.ErrPayload},
		{"bad-payload-contradiction", m.resign(`"effect":"allow"`, `"effect":"deny"`), receipt.ErrPayload},
		{"bad-payload-digest", m.resign(`"chain":"sha256:`, `"chain":"sha1:`), receipt.ErrPayload},
		{"bad-payload-subject", m.resign(`orders/get_order`, `orders/run_report`), receipt.ErrPayload},
		{"bad-payload-times", m.resign(`"decided":"2026`, `"decided":"2027`), receipt.ErrPayload},
		{"bad-payload-predicate-type", m.resign(`receipt/v1`, `receipt/v0`), receipt.ErrPayload},
	} {
		vectors = append(vectors, envelopeVector{v.name, append(v.e.AppendJSON(nil), '\n'), v.want})
	}
	return vectors
}

func (m *maker) export() []byte {
	text := append(m.sign(m.receipt(), m.door).AppendJSON(nil), '\n')
	return append(m.sign(m.receipt(denied), m.door).AppendJSON(text), '\n')
}

type journalVector struct {
	name     string
	segments map[string][]byte
	good     int
	torn     bool
	want     []string
}

const (
	first  = "00000001.journal"
	second = "00000002.journal"
	third  = "00000003.journal"
)

func (m *maker) journals() []journalVector {
	return []journalVector{
		{"good", m.journal(nil), 4, false, nil},
		{"torn-tail", m.cut(m.journal(nil), third, 10), 4, true, nil},
		{"flipped-byte", flip(m.journal(nil), second, 400), 2, false, []string{second + ": checksum of the payload does not match"}},
		{"missing-segment", remove(m.journal(nil), second), 2, false, []string{second + ": segment is missing"}},
		{"exchanged-segments", exchange(m.journal(nil)), 0, false, []string{first + ": file holds segment 2"}},
		{"rewritten-intent", m.journal(func(r *journal.Record) {
			r.Payload = bytes.Replace(r.Payload, []byte(`"id":"call-0"`), []byte(`"id":"call-9"`), 1)
		}), 0, false, []string{
			first + ": the receipt stands on record 2 with chain value",
			first + ": the action was allowed without an intent",
			first + ": the receipt stands on record 4 with chain value",
			second + ": the receipt stands on record 6 with chain value",
			second + ": the receipt stands on record 8 with chain value",
		}},
	}
}

// journal writes four calls and an intent without a receipt. Change alters records, with all checksums as they should be.
func (m *maker) journal(change func(*journal.Record)) map[string][]byte {
	m.t.Helper()
	options := journal.Options{Dir: m.t.TempDir(), SegmentBytes: 4000, Rand: bytes.NewReader(seed("journal"))}
	w, err := journal.Open(options)
	require.NoError(m.t, err)
	add := func(kind journal.Kind, payload []byte, err error) journal.Position {
		require.NoError(m.t, err)
		at, err := w.Append(kind, payload)
		require.NoError(m.t, err)
		return at
	}
	certificates, err := receipt.EncodeCertificates(m.door.Certificates())
	add(journal.KindCertificates, certificates, err)
	for n := range 5 {
		r := m.receipt()
		if n == 3 {
			denied(r)
		}
		r.ID = "call-" + strconv.Itoa(n)
		r.Times.Decided = noon().Add(time.Duration(n) * time.Second)
		r.Times.Settled = r.Times.Decided.Add(time.Millisecond)
		intent := receipt.Intent{
			ID: r.ID, Decided: r.Times.Decided, Caller: r.Caller.SPIFFEID, Action: r.Action,
			RequestDigest: r.RequestDigest, SetDigest: r.Decision.SetDigest,
		}
		text, err := intent.AppendJSON(nil)
		at := add(journal.KindIntent, text, err)
		if n == 4 {
			break
		}
		r.Journal = receipt.Journal{ID: w.ID(), Seq: at.Seq, Chain: at.Chain}
		add(journal.KindReceipt, m.sign(r, m.door).WithoutCertificates().AppendJSON(nil), nil)
	}
	require.NoError(m.t, w.Close())
	if change != nil {
		return m.rewrite(options, change)
	}
	return m.segments(options.Dir)
}

func (m *maker) rewrite(options journal.Options, change func(*journal.Record)) map[string][]byte {
	m.t.Helper()
	from := options.Dir
	options.Dir, options.Rand = m.t.TempDir(), bytes.NewReader(seed("journal"))
	w, err := journal.Open(options)
	require.NoError(m.t, err)
	require.NoError(m.t, journal.Read(from, func(r journal.Record) error {
		change(&r)
		_, err := w.Append(r.Kind, r.Payload)
		return err
	}))
	require.NoError(m.t, w.Close())
	return m.segments(options.Dir)
}

func (m *maker) segments(dir string) map[string][]byte {
	m.t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.journal"))
	require.NoError(m.t, err)
	require.Len(m.t, paths, 3)
	segments := map[string][]byte{}
	for _, path := range paths {
		segments[filepath.Base(path)], err = os.ReadFile(path)
		require.NoError(m.t, err)
	}
	return segments
}

func (m *maker) cut(segments map[string][]byte, name string, n int) map[string][]byte {
	m.t.Helper()
	require.Greater(m.t, len(segments[name]), n)
	segments[name] = segments[name][:len(segments[name])-n]
	return segments
}

func flip(segments map[string][]byte, name string, at int) map[string][]byte {
	segments[name][at] ^= 1
	return segments
}

func remove(segments map[string][]byte, name string) map[string][]byte {
	delete(segments, name)
	return segments
}

func exchange(segments map[string][]byte) map[string][]byte {
	segments[first], segments[second] = segments[second], segments[first]
	return segments
}
