// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package history_test

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/dapr/durabletask-go/api/protos"
	"github.com/dapr/durabletask-go/backend/historysigning"
	"github.com/dapr/kit/crypto/spiffe/signer"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/dapr-custody/custody/internal/history"
	"github.com/dapr-custody/custody/internal/testkit"
)

func TestSigners(t *testing.T) {
	w := newWorld(t)
	elsewhere := testkit.NewCA(t, "other.test")
	both := x509bundle.NewSet(w.ca.Bundle(), elsewhere.Bundle())
	sign := func(svid *x509svid.SVID) history.Rows {
		h := testkit.NewHistory(t, w.intake, "wf-1", w.at)
		h.SVID = svid
		h.Start("refund")
		h.End("1")
		h.Save()
		return h.Rows()
	}
	attest := func(svid *x509svid.SVID) history.Rows { return w.finish(w.middle(w.begin("wf-1")), svid).Rows() }
	mixed := func() history.Rows {
		h := w.begin("wf-1")
		h.SVID = elsewhere.SVID("intake")
		return w.middle(h).Rows()
	}
	usage := func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }
	authority := func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }
	two := func(c *x509.Certificate) {
		c.URIs = append(c.URIs, spiffeid.RequireFromString("spiffe://custody.test/b").URL())
	}
	expired := func(c *x509.Certificate) { c.NotAfter = w.at.Add(-time.Second) }
	early := func(c *x509.Certificate) { c.NotBefore = w.at.Add(time.Minute) }
	wrongNamespace := w.ca.SVIDFor(spiffeid.RequireFromString("spiffe://custody.test/ns/other/intake"))
	for _, tt := range []struct {
		name string
		rows history.Rows
		want history.Kind
	}{
		{"the app itself", sign(w.intake), ""},
		{"another app", sign(w.unasked), history.Signer},
		{"the app of another namespace", sign(wrongNamespace), history.Signer},
		{"the app of another trust domain, from the middle on", mixed(), history.TrustDomain},
		{"a trust domain without roots", sign(testkit.NewCA(t, "third.test").SVID("intake")), history.TrustDomain},
		{"another root of the same trust domain", sign(testkit.NewCA(t, "custody.test").SVID("intake")), history.Certificate},
		{"an authority", sign(w.ca.SVID("intake", authority)), history.Certificate},
		{"a key that may not sign", sign(w.ca.SVID("intake", usage)), history.Certificate},
		{"two names", sign(w.ca.SVID("intake", two)), history.Certificate},
		{"expired before", sign(w.ca.SVID("intake", expired)), history.Certificate},
		{"not yet valid", sign(w.ca.SVID("intake", early)), history.Certificate},
		{"attested by another app", attest(w.unasked), history.AttestationSigner},
		{"attested by the app of another trust domain", attest(elsewhere.SVID("fraud")), history.AttestationSigner},
		{"attested by an authority", attest(w.ca.SVID("fraud", authority)), history.Certificate},
		{"attested before its time", attest(w.ca.SVID("fraud", early)), history.Certificate},
		{"attested by nobody", attest(nil), history.AttestationMissing},
	} {
		t.Run(tt.name, func(t *testing.T) {
			report := w.verify(tt.rows, func(o *history.Options) { o.Bundles = both })
			if tt.want == "" {
				require.True(t, report.OK(), "%v", report.First())
				return
			}
			require.NotNil(t, report.First())
			require.Equal(t, tt.want, report.First().Kind, "%v", report.First())
		})
	}
}

// A sidecar can sign what it likes into its own history; what other sidecars attested has to fit it.
func TestAttestations(t *testing.T) {
	w := newWorld(t)
	completed := func(change func(*protos.TaskCompletedEvent)) history.Rows {
		h := w.middle(w.begin("wf-1"))
		good := h.Copy()
		good.Complete(1, `"clean"`, w.fraud)
		e := &protos.HistoryEvent{}
		require.NoError(t, proto.Unmarshal(good.Rows().Rows["history-000006"], e))
		change(e.GetTaskCompleted())
		good = h.Copy()
		good.Complete(1, "x", w.fraud) // for its certificate
		rows := good.Rows()
		raw, err := historysigning.MarshalEvent(e)
		require.NoError(t, err)
		rows.Rows["history-000006"] = raw
		return rows
	}
	payload := func(change func(*protos.ActivityCompletionAttestationPayload)) func(*protos.TaskCompletedEvent) {
		return func(e *protos.TaskCompletedEvent) {
			p := &protos.ActivityCompletionAttestationPayload{}
			require.NoError(t, proto.Unmarshal(e.Attestation.Payload, p))
			change(p)
			var err error
			e.Attestation.Payload, err = proto.Marshal(p)
			require.NoError(t, err)
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*protos.TaskCompletedEvent)
		want   history.Kind
	}{
		{"another result", func(e *protos.TaskCompletedEvent) { e.Result.Value = `"dirty"` }, history.Attestation},
		{"signature byte", func(e *protos.TaskCompletedEvent) { e.Attestation.Signature[3] ^= 1 }, history.Attestation},
		{"no signature", func(e *protos.TaskCompletedEvent) { e.Attestation.Signature = nil }, history.Attestation},
		{"another parent", payload(func(p *protos.ActivityCompletionAttestationPayload) { p.ParentInstanceId = "wf-2" }), history.Attestation},
		{"another certificate", payload(func(p *protos.ActivityCompletionAttestationPayload) { p.SignerCertDigest[0] ^= 1 }), history.Certificate},
		{"rubbish", func(e *protos.TaskCompletedEvent) { e.Attestation.Payload = []byte{0xff} }, history.Certificate},
		{"another task", func(e *protos.TaskCompletedEvent) { e.TaskScheduledId = 0 }, history.Attestation},
		{"no task", func(e *protos.TaskCompletedEvent) { e.TaskScheduledId = 9 }, history.TaskUnknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in, err := history.Decode(completed(tt.change))
			require.NoError(t, err)
			faults := history.Verify(in, history.Options{Bundles: w.ca.Bundle()}).Events[6].Faults
			require.NotEmpty(t, faults)
			kinds := []history.Kind{}
			for _, f := range faults {
				kinds = append(kinds, f.Kind)
			}
			require.Contains(t, kinds, tt.want)
		})
	}
}

// Signatures that overlap, each good by itself, are no chain.
func TestOverlappingSignatures(t *testing.T) {
	w := newWorld(t)
	rows := w.middle(w.begin("wf-1")).Rows()
	cert := &protos.SigningCertificate{}
	require.NoError(t, proto.Unmarshal(rows.Rows["sigcert-000000"], cert))
	var events [][]byte
	for i := 2; i < 6; i++ {
		events = append(events, rows.Rows[history.HistoryRow(i)])
	}
	signed, err := historysigning.Sign(signer.New(w.intake, nil), historysigning.SignOptions{
		RawEvents: events, StartEventIndex: 2, PreviousSignatureRaw: rows.Rows["signature-000000"], ExistingCerts: []*protos.SigningCertificate{cert},
	})
	require.NoError(t, err)
	rows.Rows["signature-000001"] = signed.RawSignature
	first := w.verify(rows).First()
	require.NotNil(t, first)
	require.Equal(t, history.SignatureOrder, first.Kind)
	require.Equal(t, "signature-000001", first.Row)
}

// What was attested to have failed is not taken for done.
func TestAttestedOutcome(t *testing.T) {
	w := newWorld(t)
	h := w.middle(w.begin("wf-1"))
	attestation, _, err := historysigning.BuildActivityAttestation(signer.New(w.fraud, nil), historysigning.ActivityAttestationInput{
		ParentInstanceId: "wf-1", ParentTaskScheduledId: 1, ActivityName: "check", Input: wrapperspb.String(`"order 7"`),
		TerminalStatus: protos.ActivityTerminalStatus_ACTIVITY_TERMINAL_STATUS_FAILED,
	})
	require.NoError(t, err)
	certificates := h.Copy()
	certificates.Complete(1, "x", w.fraud)
	h.Event(&protos.HistoryEvent{EventId: -1, EventType: &protos.HistoryEvent_TaskCompleted{
		TaskCompleted: &protos.TaskCompletedEvent{TaskScheduledId: 1, Attestation: attestation},
	}})
	h.Save()
	rows, other := h.Rows(), certificates.Rows()
	rows.Rows["ext-sigcert-000001"] = other.Rows["ext-sigcert-000001"]
	counts(t, rows, func(md *protos.BackendWorkflowStateMetadata) { md.ExternalSigningCertificateLength = 2 })
	first := w.verify(rows).First()
	require.NotNil(t, first)
	require.Equal(t, history.Attestation, first.Kind)
	require.Contains(t, first.Detail, "another outcome")
}
