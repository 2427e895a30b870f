// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dossier_test

import (
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/dossier"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
)

// paidBeside calls beside the workflow, going on from an approval.
func (w *world) paidBeside(c *testkit.Chained, approval *receipt.Envelope) *dossier.Dossier {
	r := c.Receipt("mcp.tools/call", "charge", 100, receipt.StatusAsked)
	r.Action, r.To = receipt.Action{Kind: "mcp.tools/call", Server: "payments", Name: "charge_card"}, w.payments.ID
	r.Prev = []receipt.Digest{approval.PayloadDigest()}
	return withLinks(dossierOf(c), c.Sign(w.intake, r), approval)
}

// inTheName is an approval in the name of the approver that intake signed.
func (w *world) inTheName(c *testkit.Chained) *receipt.Envelope {
	e, own := c.Approval("manager", w.approver), c.Approval("manager", w.intake)
	signer, err := receipt.NewSigner(w.intake.PrivateKey, w.intake.Certificates)
	require.NoError(w.t, err)
	pae := fmt.Sprintf("DSSEv1 %d %s %d %s", len(e.PayloadType), e.PayloadType, len(e.Payload), e.Payload)
	e.Signatures = own.Signatures
	e.Signatures[0].Sig, err = signer.Sign([]byte(pae))
	require.NoError(w.t, err)
	return e
}

// The first fault is that of the approval, by the approval itself.
func TestForgedApprovals(t *testing.T) {
	w := newWorld(t)
	by := w.approver.ID.String()
	for _, tt := range []struct {
		name   string
		make   func(c *testkit.Chained) *dossier.Dossier
		want   dossier.Kind
		detail string
		then   []dossier.Kind
	}{
		{"by who asked, passed over", func(c *testkit.Chained) *dossier.Dossier {
			e := c.Approval("manager", w.intake)
			c.Verify("manager", e, "refused")
			c.Save()
			return w.paidBeside(c, e)
		}, dossier.ForgedApproval, "/intake signed it, which may not give it: it asked for it itself, and the workflow did not take it", []dossier.Kind{dossier.StepMissing}},
		{"by who asked, never raised", func(c *testkit.Chained) *dossier.Dossier {
			c.Save()
			return w.paidBeside(c, c.Approval("manager", w.intake))
		}, dossier.ForgedApproval, "/intake signed it", []dossier.Kind{dossier.StepMissing}},
		{"by who asked, taken", func(c *testkit.Chained) *dossier.Dossier {
			c.Approve("manager", w.intake)
			c.Call("charge", w.payments)
			c.Finish()
			return dossierOf(c)
		}, dossier.ForgedApproval, "it asked for it itself", nil},
		{"by another than may, taken", func(c *testkit.Chained) *dossier.Dossier {
			c.Approve("manager", w.payments, by)
			c.Finish()
			return dossierOf(c)
		}, dossier.ForgedApproval, "/payments signed it, which may not give it: only " + by + " may", nil},
		{"by another than may, after one who may", func(c *testkit.Chained) *dossier.Dossier {
			e := c.Approval("manager", w.payments)
			c.Approve("manager", w.approver, by)
			c.Finish()
			return w.paidBeside(c, e)
		}, dossier.ForgedApproval, "/payments signed it", []dossier.Kind{dossier.StepMissing, "link/beside-end"}},
		{"by one whom only a later task names", func(c *testkit.Chained) *dossier.Dossier {
			c.Approve("manager", w.payments, by)
			c.Verify("manager", c.Approval("manager", w.intake), "refused", w.payments.ID.String())
			c.Finish()
			return dossierOf(c)
		}, dossier.ForgedApproval, "/payments signed it, which may not give it: only " + by + " may", nil},
		{"of another statement", func(c *testkit.Chained) *dossier.Dossier {
			e := c.Approval("manager", w.approver, func(r *receipt.Receipt) { r.RequestDigest = receipt.Sum([]byte("more")) })
			c.Verify("manager", e, "answered")
			c.Finish()
			return dossierOf(c)
		}, dossier.OtherStep, "it approves " + receipt.Sum([]byte("more")).String(), nil},
		{"of what was not asked for", func(c *testkit.Chained) *dossier.Dossier {
			c.Save()
			return w.paidBeside(c, c.Approval("manager", w.approver, func(r *receipt.Receipt) { r.Workflow.Task = 1 }))
		}, dossier.OtherStep, "did not ask for it: its step is \"fraud-check\"", []dossier.Kind{dossier.StepMissing}},
		{"by who may, not raised", func(c *testkit.Chained) *dossier.Dossier {
			c.Save()
			return w.paidBeside(c, c.Approval("manager", w.approver))
		}, dossier.NotRecorded, "the workflow did not take it", []dossier.Kind{dossier.StepMissing}},
		{"signed by another than it names", func(c *testkit.Chained) *dossier.Dossier {
			c.Save()
			return w.paidBeside(c, w.inTheName(c))
		}, "link/wrong-signer", "forged approval: ", []dossier.Kind{dossier.StepMissing, dossier.NotRecorded, "link/faulty-predecessor"}},
		{"given for another", func(c *testkit.Chained) *dossier.Dossier {
			c.Save()
			return w.paidBeside(c, c.Approval("manager", w.intake, func(r *receipt.Receipt) { r.Caller.SPIFFEID = w.approver.ID }))
		}, "link/wrong-caller", "forged approval: ", []dossier.Kind{dossier.StepMissing, dossier.NotRecorded, "link/faulty-predecessor"}},
		{"with a signature that does not fit", func(c *testkit.Chained) *dossier.Dossier {
			c.Save()
			e := c.Approval("manager", w.approver)
			e.Signatures[0].Sig[3] ^= 1
			return w.paidBeside(c, e)
		}, "link/signature", "forged approval: ", []dossier.Kind{dossier.StepMissing, dossier.NotRecorded, "link/faulty-predecessor"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := w.verify(tt.make(w.begun("refund-7")))
			require.NotEmpty(t, r.Faults)
			require.Equal(t, append([]dossier.Kind{tt.want}, tt.then...), kinds(r))
			require.Equal(t, "manager", r.Faults[0].Step)
			require.Contains(t, r.Faults[0].Detail, tt.detail)
		})
	}
}

// Near to what is forged, and good.
func TestApprovalsThatHold(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name string
		make func(c *testkit.Chained)
	}{
		{"anybody but who asked", func(c *testkit.Chained) { c.Approve("manager", w.payments) }},
		{"one of those who may", func(c *testkit.Chained) {
			c.Approve("manager", w.payments, w.approver.ID.String(), w.payments.ID.String())
		}},
		{"who asked, and may", func(c *testkit.Chained) { c.Approve("manager", w.intake, w.intake.ID.String()) }},
		{"after one that was passed over", func(c *testkit.Chained) {
			c.Verify("manager", c.Approval("manager", w.intake), "refused")
			c.Approve("manager", w.approver)
		}},
		{"the second of two", func(c *testkit.Chained) {
			c.Approve("manager", w.approver, w.approver.ID.String())
			c.State(chain.KindAttest, "custody.ask.manager")
			c.Approve("manager", w.payments, w.payments.ID.String())
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := w.begun("refund-7")
			tt.make(c)
			c.Call("charge", w.payments)
			c.Finish()
			require.Empty(t, w.verify(dossierOf(c)).Faults)
		})
	}
}

// A forged approval that nothing continues did no harm, and is told.
func TestForgedApprovalThatNothingContinues(t *testing.T) {
	w := newWorld(t)
	c := w.begun("refund-7")
	e := c.Approval("manager", w.intake)
	c.Verify("manager", e, "refused")
	c.Approve("manager", w.approver)
	c.Finish()
	r := w.verify(withLinks(dossierOf(c), e))
	require.Empty(t, r.Faults)
	require.Len(t, r.Notes, 1)
	require.Contains(t, r.Notes[0], "/intake signed it, which may not give it: it asked for it itself")
}

// An approval that the history does not bear is of the time that it states: the history knows only when it was asked for.
func TestTimeOfAnApprovalThatWasNotTaken(t *testing.T) {
	w := newWorld(t)
	c := w.begunAndSaved()
	c.At = c.At.Add(30 * time.Minute)
	later := w.ca.SVID("intake", func(cert *x509.Certificate) { cert.NotBefore = c.At.Add(-time.Minute) })
	r := w.verify(w.paidBeside(c, c.Approval("manager", later)))
	require.Equal(t, []dossier.Kind{dossier.ForgedApproval, dossier.StepMissing}, kinds(r))
}
