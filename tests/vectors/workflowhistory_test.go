// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package vectors_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dapr/durabletask-go/api/protos"
	"github.com/dapr/durabletask-go/backend/historysigning"
	"github.com/dapr/kit/crypto/spiffe/signer"
	"github.com/dapr/kit/crypto/spiffe/trustanchors/fake"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/dossier"
	"github.com/dapr-custody/custody/internal/evidence"
	"github.com/dapr-custody/custody/internal/history"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
)

// svid is an Ed25519 workload as an SVID, whose certificate is valid around noon.
func (a *authority) svid(app string) *x509svid.SVID {
	a.t.Helper()
	key := ed25519.NewKeyFromSeed(seed(a.name + " " + app))
	return &x509svid.SVID{
		ID: spiffeid.RequireFromString("spiffe://custody.test/ns/default/" + app), Certificates: a.leaf(app, key.Public()), PrivateKey: key,
	}
}

// older is a workload whose certificate ended half an hour before noon.
func (a *authority) older(app string) *x509svid.SVID {
	a.t.Helper()
	s := a.svid(app)
	key := ed25519.NewKeyFromSeed(seed(a.name + " older " + app))
	leaf := *s.Certificates[0]
	leaf.NotBefore, leaf.NotAfter = noon().Add(-90*time.Minute), noon().Add(-30*time.Minute)
	s.Certificates[0], s.PrivateKey = a.issue(&leaf, key.Public(), a.issuer, a.issuerKey), key
	return s
}

type historyVector struct {
	name string
	d    *dossier.Dossier
	// want are the faults that have to be found, the first of them first, among others that follow from them. None for a
	// good one.
	want []dossier.Kind
	// dapr says that Dapr finds something in the rows too.
	dapr bool
}

// refund is a workflow of two steps: up to the first, and then to its end.
func (m *maker) refund(svid *x509svid.SVID, instance string, at time.Time) (begun, whole *testkit.Chained) {
	begun = testkit.NewChained(m.t, svid, instance, at)
	begun.State(chain.KindAttest, "fraud-check")
	begun.Save()
	whole = begun.Fork()
	whole.Call("charge", m.ca.svid("payments"))
	whole.Finish()
	return begun, whole
}

func exported(c *testkit.Chained) *dossier.Dossier {
	d := &dossier.Dossier{
		App: c.App, Namespace: c.Namespace, Instance: c.Instance, Exported: noon(), Histories: []history.Rows{c.Rows()},
		Anchors: []dossier.Anchor{},
	}
	for _, e := range c.Anchors() {
		d.Anchors = append(d.Anchors, dossier.Anchor{Envelope: e.AppendJSON(nil)})
	}
	for _, e := range c.Links {
		d.Links = append(d.Links, jsontext.Value(e.AppendJSON(nil)))
	}
	return d
}

func (m *maker) history() []historyVector {
	intake := m.ca.svid("intake")
	begun, whole := m.refund(intake, "refund-7", noon())
	_, other := m.refund(intake, "refund-8", noon())
	_, later := m.refund(intake, "refund-7", noon().Add(time.Minute))
	change := func(c *testkit.Chained, change func(d *dossier.Dossier)) *dossier.Dossier {
		d := exported(c)
		change(d)
		return d
	}
	flip := func(d *dossier.Dossier, row string) {
		raw := d.Histories[0].Rows[row]
		raw[len(raw)-1] ^= 1
	}
	marked := whole.Fork()
	marked.Tampered("nothing was")
	forged := testkit.NewChained(m.t, m.ca.older("intake"), "refund-7", noon().Add(-45*time.Minute))
	forged.Finish()
	renamed := func(c *testkit.Chained, instance string) history.Rows {
		rows := c.Rows()
		rows.Instance = instance
		return rows
	}
	vectors := []historyVector{
		{"good", exported(whole), nil, false},
		{"good-running", exported(begun), nil, false},
		{"good-no-anchor", change(whole, func(d *dossier.Dossier) { d.Anchors = nil }), nil, false},
		{"good-history-only", change(whole, func(d *dossier.Dossier) { d.Anchors, d.Links = nil, nil }), nil, false},
		{"bad-row-changed", change(whole, func(d *dossier.Dossier) { flip(d, "history-000004") }), []dossier.Kind{"history/events-changed"}, true},
		{"bad-row-missing", change(whole, func(d *dossier.Dossier) { delete(d.Histories[0].Rows, "history-000004") }), []dossier.Kind{"history/row-missing"}, true},
		{"bad-signature-missing", change(whole, func(d *dossier.Dossier) { delete(d.Histories[0].Rows, "signature-000001") }), []dossier.Kind{"history/row-missing"}, true},
		{"bad-signature-byte", change(whole, func(d *dossier.Dossier) { flip(d, "signature-000001") }), []dossier.Kind{"history/signature", "history/signature-order", "history/replaced"}, true},
		{"bad-truncated", change(whole, func(d *dossier.Dossier) { d.Histories[0] = begun.Rows() }), []dossier.Kind{"history/rolled-back", dossier.StepMissing}, false},
		{"bad-truncated-no-anchor", change(whole, func(d *dossier.Dossier) { d.Histories[0], d.Anchors = begun.Rows(), nil }), []dossier.Kind{dossier.StepMissing}, false},
		{"bad-truncated-and-signed-by-an-older-key", change(whole, func(d *dossier.Dossier) { d.Histories[0] = forged.Rows() }), []dossier.Kind{"history/rolled-back", "history/replaced"}, false},
		{"bad-tamper-marker", exported(marked), []dossier.Kind{"history/tamper-marker"}, false},
		{"bad-tamper-marker-over-a-change", change(marked, func(d *dossier.Dossier) { flip(d, "history-000004") }), []dossier.Kind{"history/events-changed", "history/tamper-marker"}, false},
		{"bad-rollback-to-an-earlier-run", change(later, func(d *dossier.Dossier) { d.Histories[0] = whole.Rows() }), []dossier.Kind{"history/replaced"}, false},
		{"bad-swapped-instances", change(whole, func(d *dossier.Dossier) { d.Histories[0] = renamed(other, "refund-7") }), []dossier.Kind{"history/other-instance"}, false},
		{"bad-purged", change(whole, func(d *dossier.Dossier) { d.Histories[0].Rows = nil }), []dossier.Kind{"history/purged"}, false},
		{"bad-unsigned", change(whole, unsigned(m.t)), []dossier.Kind{"history/unsigned", "history/attestation-missing"}, true},
		{"bad-root", change(m.elsewhere(), func(*dossier.Dossier) {}), []dossier.Kind{dossier.AnchorInvalid, "history/certificate", "link/certificate"}, true},
	}
	return slices.Concat(vectors, m.approvals(), m.generations(), m.spliced(whole))
}

// generations are chains whose approval is of a generation that Dapr keeps no history of.
func (m *maker) generations() []historyVector {
	renewed := func(change ...func(*receipt.Receipt)) *dossier.Dossier {
		c := testkit.NewChained(m.t, m.ca.svid("intake"), "refund-7", noon())
		c.State(chain.KindAttest, "custody.ask.approval")
		c.Verify("approval", c.Approval("approval", m.ca.svid("approver"), change...), "answered")
		c.ContinueAsNew(`{"amount":12}`)
		c.Call("charge", m.ca.svid("payments"))
		c.Finish()
		return exported(c)
	}
	return []historyVector{
		{"good-approval-before-continue-as-new", renewed(), nil, false},
		{"bad-approval-before-continue-as-new", renewed(func(r *receipt.Receipt) { r.RequestDigest = receipt.Sum([]byte("more")) }), []dossier.Kind{dossier.OtherStep}, false},
	}
}

// spliced are put together from parts that are good each by itself.
func (m *maker) spliced(whole *testkit.Chained) []historyVector {
	intake := m.ca.svid("intake")
	read := dossier.Journal{ID: strings.Repeat("0c", 16), Seq: 9, Chain: receipt.Sum([]byte("head"))}
	cut, twice, beside := exported(whole), exported(whole), exported(whole)
	cut.Journals, cut.Links = []dossier.Journal{read}, cut.Links[:len(cut.Links)-1]
	twice.Journals = []dossier.Journal{read, read}
	other := testkit.NewHistory(m.t, intake, "refund-9", noon())
	other.Start("refund")
	other.End(`"done"`)
	other.Save()
	beside.Instance, beside.Histories = "refund-9", append(beside.Histories, other.Rows())
	hidden := testkit.NewChained(m.t, intake, "refund-7", noon())
	hidden.State(chain.KindAttest, "fraud-check")
	id := hidden.ScheduleStep("custody.call", "", "charge")
	hidden.Turn()
	hidden.Complete(id, `"done"`, intake)
	hidden.Finish()
	return []historyVector{
		{"bad-journal-cut", cut, []dossier.Kind{dossier.JournalWrong}, false},
		{"bad-journal-twice", twice, []dossier.Kind{dossier.JournalWrong}, false},
		{"bad-chain-of-another-instance", beside, []dossier.Kind{dossier.NoChain}, false},
		{"bad-result-that-is-none", exported(hidden), []dossier.Kind{dossier.LinkMissing}, false},
	}
}

// approvals are chains with an approval, which the workflow takes from approver alone.
func (m *maker) approvals() []historyVector {
	intake, payments, approver := m.ca.svid("intake"), m.ca.svid("payments"), m.ca.svid("approver")
	asked := testkit.NewChained(m.t, intake, "refund-7", noon())
	asked.State(chain.KindAttest, "custody.ask.approval")
	asked.Save()
	taken := func(e *receipt.Envelope, by ...string) *dossier.Dossier {
		c := asked.Fork()
		c.Verify("approval", e, "answered", by...)
		c.Call("charge", payments)
		c.Finish()
		return exported(c)
	}
	// beside is a call that goes on from an approval which the workflow did not take.
	beside := func(c *testkit.Chained, e *receipt.Envelope) *dossier.Dossier {
		r := c.Receipt("mcp.tools/call", "charge", 100, receipt.StatusAsked)
		r.Action, r.To = receipt.Action{Kind: "mcp.tools/call", Server: "payments", Name: "charge_card"}, payments.ID
		r.Prev = []receipt.Digest{e.PayloadDigest()}
		d := exported(c)
		for _, link := range []*receipt.Envelope{e, c.Sign(intake, r)} {
			d.Links = append(d.Links, jsontext.Value(link.AppendJSON(nil)))
		}
		return d
	}
	own := asked.Approval("approval", intake)
	refused := asked.Fork()
	refused.Verify("approval", own, "refused")
	refused.Save()
	named := asked.Approval("approval", approver)
	named.Signatures = []receipt.Signature{m.signature(named.Payload, m.ca.signer("intake"))}
	other := asked.Approval("approval", approver, func(r *receipt.Receipt) { r.RequestDigest = receipt.Sum([]byte("more")) })
	forged := []dossier.Kind{dossier.ForgedApproval}
	return []historyVector{
		{"good-approval", taken(asked.Approval("approval", approver), approver.ID.String()), nil, false},
		{"bad-approval-by-who-asked", beside(refused, own), []dossier.Kind{dossier.ForgedApproval, dossier.StepMissing}, false},
		{"bad-approval-by-who-asked-taken", taken(own), forged, false},
		{"bad-approval-by-another", taken(asked.Approval("approval", payments), approver.ID.String()), forged, false},
		{"bad-approval-signer", beside(asked, named), []dossier.Kind{"link/wrong-signer", dossier.StepMissing, dossier.NotRecorded}, false},
		{"bad-approval-of-another-statement", taken(other, approver.ID.String()), []dossier.Kind{dossier.OtherStep}, false},
		{"bad-approval-not-taken", beside(asked, asked.Approval("approval", approver)), []dossier.Kind{dossier.NotRecorded, dossier.StepMissing}, false},
	}
}

// unsigned is the workflow as Dapr would have written it without the feature.
func unsigned(t *testing.T) func(*dossier.Dossier) {
	return func(d *dossier.Dossier) {
		t.Helper()
		h := testkit.NewHistory(t, newAuthority(t, "custody.test").svid("intake"), "refund-7", noon())
		h.SVID = nil
		h.Start("refund")
		h.Schedule(0, "check", "1", "")
		h.Complete(0, "2", nil)
		h.End("3")
		d.Histories[0] = h.Rows()
	}
}

// elsewhere is the same workflow, all signed under the other root.
func (m *maker) elsewhere() *testkit.Chained {
	c := testkit.NewChained(m.t, m.other.svid("intake"), "refund-7", noon())
	c.State(chain.KindAttest, "fraud-check")
	c.Finish()
	return c
}

// historyFiles gives the files by their names.
func (m *maker) historyFiles() map[string][]byte {
	m.t.Helper()
	files := map[string][]byte{"history/retired-roots.json": m.retired(), "history/rows.jsonl": m.rows()}
	for _, v := range m.history() {
		text, err := v.d.Encode()
		require.NoError(m.t, err)
		files["history/"+v.name+".json"] = text
	}
	return files
}

// rows are what custody-components history prints of a store with two signed instances and one that is not.
func (m *maker) rows() []byte {
	m.t.Helper()
	begun, whole := m.refund(m.ca.svid("intake"), "refund-7", noon())
	begun.Instance = "refund-6" // under which it never was
	plain := exported(whole)
	unsigned(m.t)(plain)
	plain.Histories[0].Instance, plain.Histories[0].App = "refund-7", "plain"
	var text []byte
	for _, rows := range []history.Rows{whole.Rows(), begun.Rows(), plain.Histories[0]} {
		line, err := json.Marshal(rows)
		require.NoError(m.t, err)
		text = append(append(text, line...), '\n')
	}
	return text
}

// retired is a bundle after a rotation: the root of the vectors is good until half a minute past noon.
func (m *maker) retired() []byte {
	m.t.Helper()
	text, err := json.MarshalIndent(map[string]any{"roots": []any{
		map[string]any{"pem": string(m.other.bundle())},
		map[string]any{"pem": string(m.ca.bundle()), "validUntil": noon().Add(30 * time.Second)},
	}}, "", "  ")
	require.NoError(m.t, err)
	return append(text, '\n')
}

func loadDossier(t *testing.T, name string) *dossier.Dossier {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("history", name+".json"))
	require.NoError(t, err)
	d, err := dossier.Decode(text)
	require.NoError(t, err)
	return d
}

func TestHistory(t *testing.T) {
	m := newMaker(t)
	bundles, err := evidence.LoadTrustBundle("bundle.pem", "custody.test")
	require.NoError(t, err)
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for _, v := range m.history() {
		t.Run(v.name, func(t *testing.T) {
			d := loadDossier(t, v.name)
			report := d.Verify(dossier.Options{Bundles: bundles})
			var found []string
			for _, f := range report.Faults {
				found = append(found, string(f.Kind))
			}
			require.Equal(t, len(v.want) == 0, report.OK(), "%v", found)
			require.Equal(t, strings.Contains(v.name, "before-continue-as-new"), strings.Contains(strings.Join(report.Notes, "\n"), "may give it was not checked"))
			for i, want := range v.want {
				require.Contains(t, found, string(want))
				if i == 0 {
					require.Equal(t, string(want), found[0])
				}
				line := slices.IndexFunc(strings.Split(string(readme), "\n"), func(line string) bool {
					return strings.HasPrefix(line, "| `"+v.name+"` |") && strings.Contains(line, string(want))
				})
				require.Positive(t, line, "README.md does not say %s of %s", want, v.name)
			}
			in, err := history.Decode(d.Histories[0])
			require.NoError(t, err)
			require.Equal(t, v.dapr, daprFinds(in, m.ca.root))
			if len(v.want) > 0 {
				row := "| `" + v.name + "` |"
				at := strings.LastIndex(string(readme), row) // envelopes have some of the names too
				cells := strings.Split(string(readme)[at+len(row):], "|")
				require.Equal(t, map[bool]string{true: "yes", false: "no"}[v.dapr], strings.TrimSpace(cells[1]))
			}
		})
	}
}

// daprFinds does what daprd 1.18.2 does when it loads an instance (pkg/runtime/wfengine/state/state.go, LoadWorkflowState),
// with the packages that it does it with. tests/integration asks daprd itself.
func daprFinds(in *history.Instance, root *x509.Certificate) bool {
	for _, f := range in.Faults {
		if f.Kind == history.RowMissing {
			return true
		}
	}
	if n := len(in.Events); n == 0 || history.IsTamperMarker(in.Events[n-1].Proto) {
		return false
	}
	opts := historysigning.VerifyChainOptions{Signer: signer.New(nil, fake.New(root))}
	for _, e := range in.Events {
		opts.AllRawEvents = append(opts.AllRawEvents, e.Raw)
	}
	for _, s := range in.Signatures {
		opts.RawSignatures = append(opts.RawSignatures, s.Raw)
	}
	for _, der := range in.Certificates {
		opts.Certs = append(opts.Certs, &protos.SigningCertificate{Certificate: der})
	}
	_, err := historysigning.VerifyChain(opts)
	return err != nil
}

// A root that was retired vouches for what was before, and for nothing after.
func TestRotation(t *testing.T) {
	bundles, err := evidence.LoadTrustBundle(filepath.Join("history", "retired-roots.json"), "custody.test")
	require.NoError(t, err)
	require.True(t, loadDossier(t, "good").Verify(dossier.Options{Bundles: bundles}).OK())
	_, later := newMaker(t).refund(newMaker(t).ca.svid("intake"), "refund-7", noon().Add(time.Minute))
	d := exported(later)
	report := d.Verify(dossier.Options{Bundles: bundles})
	kinds := []dossier.Kind{}
	for _, f := range report.Faults {
		kinds = append(kinds, f.Kind)
	}
	require.Contains(t, kinds, dossier.Kind("history/certificate"))
	require.Contains(t, kinds, dossier.Kind("link/certificate"))
	good, err := evidence.LoadTrustBundle("bundle.pem", "custody.test")
	require.NoError(t, err)
	require.True(t, d.Verify(dossier.Options{Bundles: good}).OK())
}
