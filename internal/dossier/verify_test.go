// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dossier_test

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dapr/durabletask-go/api/protos"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/dossier"
	"github.com/dapr-custody/custody/internal/history"
	"github.com/dapr-custody/custody/internal/linkpack"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
)

type world struct {
	t                          testing.TB
	ca                         *testkit.CA
	intake, payments, approver *x509svid.SVID
	at                         time.Time
	also                       *x509bundle.Bundle // of another trust domain, where there is one
	// packed has results bear links in the compact form.
	packed bool
}

func newWorld(t testing.TB) *world {
	ca := testkit.NewCA(t, "custody.test")
	return &world{
		t: t, ca: ca, intake: ca.SVID("intake"), payments: ca.SVID("payments"), approver: ca.SVID("approver"),
		at: time.Now().Add(-10 * time.Second).Truncate(time.Millisecond),
	}
}

// begun is a refund of which the fraud check is stated and the approval asked for.
func (w *world) begun(instance string) *testkit.Chained {
	c := testkit.NewChained(w.t, w.intake, instance, w.at)
	c.Packed = w.packed
	c.State(chain.KindAttest, "fraud-check")
	c.State(chain.KindAttest, "custody.ask.manager")
	return c
}

func (w *world) rest(c *testkit.Chained) *testkit.Chained {
	c.Approve("manager", w.approver)
	c.Call("charge", w.payments)
	c.Finish()
	return c
}

func (w *world) whole() *testkit.Chained { return w.rest(w.begun("refund-7")) }

// dossierOf is what the store and the journals have.
func dossierOf(c *testkit.Chained) *dossier.Dossier {
	d := &dossier.Dossier{
		Version: 1, App: c.App, Namespace: c.Namespace, Instance: c.Instance, Histories: []history.Rows{c.Rows()}, Anchors: []dossier.Anchor{},
	}
	for _, e := range c.Anchors() {
		d.Anchors = append(d.Anchors, dossier.Anchor{Envelope: e.AppendJSON(nil)})
	}
	return withLinks(d, c.Links...)
}

func withLinks(d *dossier.Dossier, links ...*receipt.Envelope) *dossier.Dossier {
	for _, e := range links {
		d.Links = append(d.Links, jsontext.Value(e.AppendJSON(nil)))
	}
	return d
}

func (w *world) verify(d *dossier.Dossier) *dossier.Report {
	return d.Verify(dossier.Options{Bundles: w.bundles()})
}

func (w *world) bundles() x509bundle.Source {
	if w.also == nil {
		return w.ca.Bundle()
	}
	return x509bundle.NewSet(w.ca.Bundle(), w.also)
}

func kinds(r *dossier.Report) []dossier.Kind {
	out := []dossier.Kind{}
	for _, f := range r.Faults {
		out = append(out, f.Kind)
	}
	return out
}

func TestWholeChainVerifies(t *testing.T) {
	for _, packed := range []bool{false, true} {
		t.Run(fmt.Sprintf("packed %t", packed), func(t *testing.T) {
			w := newWorld(t)
			w.packed = packed
			w.requireWholeChain(t)
		})
	}
}

func (w *world) requireWholeChain(t *testing.T) {
	d := dossierOf(w.whole())
	text, err := d.Encode()
	require.NoError(t, err)
	d, err = dossier.Decode(text)
	require.NoError(t, err)
	r := d.Verify(dossier.Options{Bundles: w.ca.Bundle(), Anchored: true})
	require.Empty(t, r.Faults)
	require.True(t, r.OK())
	require.True(t, r.Ended)
	require.False(t, r.Running)
	require.Equal(t, 6, r.Links)
	require.Equal(t, len(w.whole().Signatures()), r.Anchored)
	require.Equal(t, "refund-7", r.Chain.Instance)
	var steps []string
	for _, s := range r.Steps {
		steps = append(steps, s.Name+" "+s.Kind+" "+s.Status)
		require.Positive(t, s.Scheduled, s.Name)
		require.Greater(t, s.Recorded, s.Scheduled, s.Name)
	}
	require.Equal(t, []string{
		"fraud-check statement stated", "custody.ask.manager statement stated", "manager approval approved", "charge tool ok",
	}, steps)
	require.Equal(t, w.payments.ID, r.Steps[3].Door)

	// Also from the history alone, and while it runs.
	d.Links, d.Anchors = nil, nil
	r = w.verify(d)
	require.Empty(t, r.Faults)
	require.Equal(t, -1, r.Anchored)
	require.Equal(t, []dossier.Kind{dossier.NoAnchor}, kinds(d.Verify(dossier.Options{Bundles: w.ca.Bundle(), Anchored: true})))
	r = w.verify(dossierOf(w.begunAndSaved()))
	require.Empty(t, r.Faults)
	require.True(t, r.Running)
}

// A later generation goes on from what the one before signed, with the input that it signed.
func TestGenerations(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(c *testkit.Chained)
		want []dossier.Kind
	}{
		{"as signed", func(c *testkit.Chained) { c.ContinueAsNew(`{"b":1,"a":"<"}`) }, []dossier.Kind{}},
		{"two times", func(c *testkit.Chained) {
			c.ContinueAsNew(`1`)
			c.State(chain.KindAttest, "again")
			c.ContinueAsNew(`null`)
		}, []dossier.Kind{}},
		{"another input than was signed", func(c *testkit.Chained) {
			c.ContinueAsNew(`1`, func(r *receipt.Receipt) {
				statement, err := chain.Continued(1, []byte(`2`))
				require.NoError(t, err)
				r.RequestDigest = receipt.Sum(statement)
			})
		}, []dossier.Kind{dossier.OtherStep}},
		{"another generation than was signed", func(c *testkit.Chained) {
			c.ContinueAsNew(`1`, func(r *receipt.Receipt) {
				statement, err := chain.Continued(2, []byte(`1`))
				require.NoError(t, err)
				r.RequestDigest = receipt.Sum(statement)
			})
		}, []dossier.Kind{dossier.OtherStep}},
		{"from another kind of link", func(c *testkit.Chained) {
			c.ContinueAsNew(`1`, func(r *receipt.Receipt) { r.Action.Kind = chain.KindAttest })
		}, []dossier.Kind{"link/wrong-generation"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			c := w.begun("refund-7")
			tt.make(c)
			c.Call("charge", w.payments)
			c.Finish()
			d := dossierOf(c)
			r := w.verify(d)
			require.Subset(t, kinds(r), tt.want)
			require.Equal(t, len(tt.want) == 0, r.OK(), r.Faults)
		})
	}
}

// The end of a chain stands in the name of a timer, or in the result of an activity.
func TestEndOfTheChain(t *testing.T) {
	w := newWorld(t)
	stated := func(c *testkit.Chained, kind string, change ...func(*receipt.Receipt)) *receipt.Envelope {
		return c.Sign(c.SVID, c.Receipt(kind, "custody.end", math.MaxUint32, receipt.StatusStated), change...)
	}
	for _, tt := range []struct {
		name   string
		finish func(c *testkit.Chained)
		want   []dossier.Kind
	}{
		{"in a timer", func(c *testkit.Chained) { c.Finish() }, []dossier.Kind{}},
		{"in a turn", func(c *testkit.Chained) { c.FinishInATurn() }, []dossier.Kind{}},
		{"in no history", func(c *testkit.Chained) {
			c.Links = append(c.Links, stated(c, chain.KindEnd))
			c.End(`"done"`)
			c.Save()
		}, []dossier.Kind{dossier.StepMissing}},
		{
			"another link in the timer", func(c *testkit.Chained) { c.FinishBy(stated(c, chain.KindAttest)) },
			[]dossier.Kind{dossier.OtherStep, "link/not-ended"},
		},
		{"another end in the timer", func(c *testkit.Chained) {
			c.Links = append(c.Links, stated(c, chain.KindEnd))
			c.FinishBy(stated(c, chain.KindEnd, func(r *receipt.Receipt) { r.ID = "another" }))
		}, []dossier.Kind{"link/fork", dossier.OtherStep}},
		{"a timer of somebody else", func(c *testkit.Chained) {
			c.Timer(9, "custody.end of day")
			c.FinishInATurn()
		}, []dossier.Kind{}},
		{"an hour before", func(c *testkit.Chained) {
			c.FinishBy(stated(c, chain.KindEnd, func(r *receipt.Receipt) {
				r.Times.Decided, r.Times.Settled = r.Times.Decided.Add(-time.Hour), r.Times.Settled.Add(-time.Hour)
			}))
		}, []dossier.Kind{dossier.TimeOutside, "link/time-order"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := w.begun("refund-7")
			tt.finish(c)
			r := w.verify(dossierOf(c))
			require.Subset(t, kinds(r), tt.want)
			require.Equal(t, len(tt.want) == 0, r.OK(), r.Faults)
		})
	}
}

// A certificate that no result before bears, and links that cannot be read, are faults.
func TestPackedLinks(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name string
		text func(links []*receipt.Envelope) (string, error)
		want []dossier.Kind
	}{
		{"whole", func(links []*receipt.Envelope) (string, error) { return linkpack.Pack(links, nil) }, []dossier.Kind{}},
		{"without the certificate", func(links []*receipt.Envelope) (string, error) {
			return linkpack.Pack(links, func(string) bool { return true })
		}, []dossier.Kind{"link/certificate"}},
		{"unreadable", func([]*receipt.Envelope) (string, error) { return "links1:AAAA", nil }, []dossier.Kind{dossier.NoChain}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := testkit.NewChained(t, w.intake, "refund-7", w.at)
			id := c.ScheduleStep("custody.state", chain.KindAttest, "fraud-check")
			e := c.Sign(c.SVID, c.Receipt(chain.KindAttest, "fraud-check", uint32(id)+1, receipt.StatusStated))
			text, err := tt.text([]*receipt.Envelope{e})
			require.NoError(t, err)
			result, err := json.Marshal(map[string]any{"custody": 2, "state": "answered", "links": text})
			require.NoError(t, err)
			c.Turn()
			c.Complete(id, string(result), c.SVID)
			c.Save()
			d := dossierOf(c)
			require.Subset(t, kinds(w.verify(d)), tt.want)
			require.Equal(t, len(tt.want) == 0, w.verify(d).OK())
		})
	}
}

func (w *world) begunAndSaved() *testkit.Chained {
	c := w.begun("refund-7")
	c.Save()
	return c
}

// Every way in which history, links and log can be set against one another is named.
func TestWhatIsWrongIsNamed(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(w *world) *dossier.Dossier
		want dossier.Kind
	}{
		{"history byte", func(w *world) *dossier.Dossier {
			d := dossierOf(w.whole())
			raw := d.Histories[0].Rows["history-000004"]
			raw[len(raw)-1] ^= 1
			return d
		}, "history/events-changed"},
		{"an earlier copy put back", func(w *world) *dossier.Dossier {
			early := w.begunAndSaved()
			d := dossierOf(w.rest(early.Fork()))
			d.Histories[0] = early.Rows()
			return d
		}, "history/rolled-back"},
		{"an earlier copy put back, no anchors", func(w *world) *dossier.Dossier {
			early := w.begunAndSaved()
			d := dossierOf(w.rest(early.Fork()))
			d.Histories[0], d.Anchors = early.Rows(), nil
			return d
		}, dossier.StepMissing},
		{"cut off and signed again by an older key", func(w *world) *dossier.Dossier {
			old := w.ca.SVID("intake", func(c *x509.Certificate) {
				c.NotBefore, c.NotAfter = w.at.Add(-50*time.Minute), w.at.Add(-20*time.Minute)
			})
			d := dossierOf(w.whole())
			forged := testkit.NewChained(w.t, old, "refund-7", w.at.Add(-30*time.Minute))
			forged.State(chain.KindAttest, "fraud-check")
			forged.Finish()
			d.Histories[0] = forged.Rows()
			return d
		}, "history/rolled-back"},
		{"unsigned mark of tampering", func(w *world) *dossier.Dossier {
			c := w.whole()
			c.Tampered("x")
			return dossierOf(c)
		}, "history/tamper-marker"},
		{"instances swapped", func(w *world) *dossier.Dossier {
			d := dossierOf(w.whole())
			d.Histories[0] = w.rest(w.begun("refund-8")).Rows()
			d.Histories[0].Instance = "refund-7"
			return d
		}, "history/other-instance"},
		{"another run under the same ID", func(w *world) *dossier.Dossier {
			d := dossierOf(w.whole())
			d.Anchors = nil
			w.at = w.at.Add(time.Second)
			d.Histories[0] = w.whole().Rows()
			return d
		}, "link/other-chain"},
		{"purged", func(w *world) *dossier.Dossier {
			d := dossierOf(w.whole())
			d.Histories[0].Rows = nil
			return d
		}, "history/purged"},
		{"no link at all", func(w *world) *dossier.Dossier {
			c := testkit.NewChained(w.t, w.intake, "refund-7", w.at)
			c.End("1")
			c.Save()
			return dossierOf(c)
		}, dossier.NoChain},
		{"a step without its link", func(w *world) *dossier.Dossier {
			c := w.begun("refund-7")
			id := c.ScheduleStep("custody.state", chain.KindAttest, "paid")
			c.CompleteStep(id, "answered")
			c.Finish()
			return dossierOf(c)
		}, dossier.LinkMissing},
		{"a step that was never answered", func(w *world) *dossier.Dossier {
			c := w.begun("refund-7")
			c.ScheduleStep("custody.state", chain.KindAttest, "paid")
			c.Finish()
			return dossierOf(c)
		}, dossier.LinkMissing},
		{"a link of a step that the history does not have", func(w *world) *dossier.Dossier {
			c := w.begunAndSaved()
			e := c.Sign(w.intake, c.Receipt(chain.KindAttest, "paid", 40, receipt.StatusStated))
			return withLinks(dossierOf(c), e)
		}, dossier.StepMissing},
		{"a link that the history did not record", func(w *world) *dossier.Dossier {
			c := w.begunAndSaved()
			r := c.Receipt(chain.KindAttest, "fraud-check", 1, receipt.StatusStated)
			r.RequestDigest, r.Prev = receipt.Sum([]byte("another")), nil
			return withLinks(dossierOf(c), c.Sign(w.intake, r))
		}, dossier.NotRecorded},
		{"a link of another step than was asked for", func(w *world) *dossier.Dossier {
			c := w.begun("refund-7")
			id := c.ScheduleStep("custody.state", chain.KindAttest, "ask")
			e := c.Sign(w.intake, c.Receipt(chain.KindAttest, "approve", uint32(id)+1, receipt.StatusStated))
			c.CompleteStep(id, "answered", e)
			c.Heads = []receipt.Digest{e.PayloadDigest()}
			c.Finish()
			return dossierOf(c)
		}, dossier.OtherStep},
		{"a link that continues something else than was asked for", func(w *world) *dossier.Dossier {
			c := w.begun("refund-7")
			id := c.ScheduleStep("custody.state", chain.KindAttest, "ask")
			r := c.Receipt(chain.KindAttest, "ask", uint32(id)+1, receipt.StatusStated)
			r.Prev = []receipt.Digest{c.Links[0].PayloadDigest()}
			e := c.Sign(w.intake, r)
			c.CompleteStep(id, "answered", e)
			c.Heads = append(c.Heads, e.PayloadDigest())
			c.Finish()
			return dossierOf(c)
		}, dossier.OtherStep},
		{"a link with a time before its step", func(w *world) *dossier.Dossier {
			c := testkit.NewChained(w.t, w.intake, "refund-7", w.at)
			c.State(chain.KindAttest, "fraud-check", func(r *receipt.Receipt) {
				r.Times.Decided = r.Times.Decided.Add(-2 * time.Minute)
				r.Times.Settled = r.Times.Decided
			})
			c.Finish()
			return dossierOf(c)
		}, dossier.TimeOutside},
		{"a link by an old key, with a time of its own", func(w *world) *dossier.Dossier {
			old := w.ca.SVID("intake", func(c *x509.Certificate) {
				c.NotBefore, c.NotAfter = w.at.Add(-50*time.Minute), w.at.Add(-20*time.Minute)
			})
			c := w.begun("refund-7")
			id := c.ScheduleStep("custody.state", chain.KindAttest, "paid")
			r := c.Receipt(chain.KindAttest, "paid", uint32(id)+1, receipt.StatusStated)
			r.Times = receipt.Times{Decided: w.at.Add(-30 * time.Minute), Settled: w.at.Add(-30 * time.Minute)}
			e := c.Sign(old, r)
			c.CompleteStep(id, "answered", e)
			c.Heads = []receipt.Digest{e.PayloadDigest()}
			c.Finish()
			return dossierOf(c)
		}, "link/certificate"},
		{"an approval that nobody raised", func(w *world) *dossier.Dossier {
			c := w.begun("refund-7")
			e := c.Approval("manager", w.approver)
			c.Schedule(2, "custody.verify", `{}`, "")
			c.Save()
			c.CompleteStep(2, "answered", e)
			c.Save()
			return dossierOf(c)
		}, dossier.NotRaised},
		{"the child's history is gone", func(w *world) *dossier.Dossier {
			c := w.begun("refund-7")
			c.Child(9, "pay", "refund-7-pay", `{"custody.dev/chain":{"chain":{},"heads":[]}}`, "payments")
			c.Save()
			return dossierOf(c)
		}, dossier.HistoryMissing},
		{"links of another run than the history", func(w *world) *dossier.Dossier {
			c := testkit.NewChained(w.t, w.intake, "refund-7", w.at)
			c.Chain.Started = c.Chain.Started.Add(-time.Second)
			c.State(chain.KindAttest, "fraud-check")
			c.Finish()
			return dossierOf(c)
		}, dossier.OtherRun},
		{"a child without the workflow that began the chain", func(w *world) *dossier.Dossier {
			c := testkit.NewChained(w.t, w.intake, "refund-7-child", w.at)
			c.Chain.Instance = "refund-7"
			c.State(chain.KindAttest, "fraud-check")
			c.Save()
			return dossierOf(c)
		}, dossier.HistoryMissing},
		{"a link of a generation that the history has not reached", func(w *world) *dossier.Dossier {
			c := w.begunAndSaved()
			r := c.Receipt(chain.KindAttest, "paid", 1, receipt.StatusStated)
			r.Workflow.Generation = 2
			return withLinks(dossierOf(c), c.Sign(w.intake, r))
		}, dossier.StepMissing},
		{"two answers of the server", func(w *world) *dossier.Dossier {
			c := w.begun("refund-7")
			question, _ := c.Call("charge", w.payments)
			c.Finish()
			other := testkit.AnswerTo(question, w.payments.ID)
			other.Outcome.HTTPStatus = 201
			return withLinks(dossierOf(c), c.Sign(w.payments, other))
		}, "link/two-answers"},
		{"an anchor that anchors nothing", func(w *world) *dossier.Dossier {
			c := w.whole()
			d := dossierOf(c)
			r := c.Receipt("custody.history", "refund-7", 1, receipt.StatusStated)
			d.Anchors[0].Envelope = c.Sign(w.intake, r).AppendJSON(nil)
			return d
		}, dossier.AnchorInvalid},
		{"an anchor by another app", func(w *world) *dossier.Dossier {
			c := w.whole()
			d := dossierOf(c)
			other := c.Fork()
			other.SVID = w.approver
			d.Anchors[0].Envelope = other.Anchors()[0].AppendJSON(nil)
			return d
		}, dossier.AnchorInvalid},
		{"an anchor that is none", func(w *world) *dossier.Dossier {
			d := dossierOf(w.whole())
			d.Anchors[0].Envelope = d.Links[0]
			return d
		}, dossier.AnchorInvalid},
		{"a journal that was damaged", func(w *world) *dossier.Dossier {
			d := dossierOf(w.whole())
			d.Journals = []dossier.Journal{{ID: "j", Wrong: []string{"segment 2: checksum"}}}
			return d
		}, dossier.JournalWrong},
		{"a dossier that bears the name of another instance", func(w *world) *dossier.Dossier {
			d := dossierOf(w.whole())
			d.Instance = "refund-8"
			return d
		}, dossier.HistoryMissing},
		{"two histories of one instance", func(w *world) *dossier.Dossier {
			d := dossierOf(w.whole())
			d.Histories = append(d.Histories, d.Histories[0])
			return d
		}, dossier.Unreadable},
		{"a step that the app of that name in another namespace has", func(w *world) *dossier.Dossier {
			return w.elsewhere(w.ca.SVIDFor(spiffeid.RequireFromString("spiffe://custody.test/ns/other/intake")))
		}, dossier.StepMissing},
		{"a history by another trust domain", func(w *world) *dossier.Dossier {
			other := testkit.NewCA(w.t, "elsewhere.test")
			w.also = other.Bundle()
			d := w.elsewhere(other.SVID("intake"))
			d.Histories = d.Histories[:1]
			return d
		}, "history/trust-domain"},
		{"a signature changed of a link that the history has too", func(w *world) *dossier.Dossier {
			d := dossierOf(w.whole())
			e, err := receipt.DecodeEnvelope(d.Links[2])
			require.NoError(w.t, err)
			e.Signatures[0].Sig[7] ^= 1
			d.Links[2] = jsontext.Value(e.AppendJSON(nil))
			return d
		}, "link/signature"},
		{"an unreadable link", func(w *world) *dossier.Dossier {
			d := dossierOf(w.whole())
			d.Links[0] = jsontext.Value(`{}`)
			return d
		}, dossier.Unreadable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			r := w.verify(tt.make(w))
			require.Contains(t, kinds(r), tt.want)
			require.False(t, r.OK())
		})
	}
}

// elsewhere is a workflow whose history has two steps, and one beside it of the same names that has a third.
func (w *world) elsewhere(svid *x509svid.SVID) *dossier.Dossier {
	c := w.begunAndSaved()
	other := testkit.NewChained(w.t, svid, c.Instance, w.at)
	other.Chain = c.Chain
	take := func(step string, e *receipt.Envelope) {
		other.CompleteStep(other.ScheduleStep("custody.state", chain.KindAttest, step), "answered", e)
		other.Heads = []receipt.Digest{e.PayloadDigest()}
	}
	take("fraud-check", c.Links[0])
	take("custody.ask.manager", c.Links[1])
	paid := c.Sign(w.intake, c.Receipt(chain.KindAttest, "paid", 3, receipt.StatusStated))
	take("paid", paid)
	other.Save()
	d := withLinks(dossierOf(c), paid)
	d.Anchors, d.Histories = nil, []history.Rows{other.Rows(), c.Rows()}
	return d
}

// What nobody signed, and what another trust domain did, anchors nothing.
func TestWhatIsNoAnchor(t *testing.T) {
	w := newWorld(t)
	other := testkit.NewCA(t, "elsewhere.test")
	w.also = other.Bundle()
	c := w.whole()
	foreign := c.Fork()
	foreign.SVID = other.SVID("intake")
	own, theirs, intents := dossierOf(c), dossierOf(c), dossierOf(c)
	for i, e := range foreign.Anchors() {
		theirs.Anchors[i].Envelope = e.AppendJSON(nil)
		r, err := e.UnsafeReceipt()
		require.NoError(t, err)
		intent := receipt.Intent{ID: r.ID, Decided: w.at, Action: r.Action, RequestDigest: r.RequestDigest, Workflow: r.Workflow}
		text, err := intent.AppendJSON(nil)
		require.NoError(t, err)
		intents.Anchors[i] = dossier.Anchor{Intent: text}
	}
	for _, tt := range []struct {
		name string
		d    *dossier.Dossier
		want []dossier.Kind
	}{
		{"own", own, []dossier.Kind{}},
		{"of another trust domain", theirs, []dossier.Kind{dossier.NoAnchor}},
		{"intents", intents, []dossier.Kind{dossier.NoAnchor}},
	} {
		require.Equal(t, tt.want, kinds(tt.d.Verify(dossier.Options{Bundles: w.bundles(), Anchored: true})), tt.name)
	}
}

// In which order anchors of one moment stand means nothing: that of the first signature begins no run behind the others.
func TestAnchorsOfOneMoment(t *testing.T) {
	w := newWorld(t)
	begun := w.begunAndSaved()
	whole := w.rest(begun.Fork())
	d := dossierOf(whole)
	slices.Reverse(d.Anchors)
	r := w.verify(d)
	require.Empty(t, r.Faults)
	require.Equal(t, len(whole.Signatures()), r.Anchored)
	d.Histories[0] = begun.Rows()
	require.Contains(t, kinds(w.verify(d)), dossier.Kind("history/rolled-back"))
}

// A sidecar of the same name in another namespace has nothing to say of a history.
func TestAnchorsOfAnotherNamespace(t *testing.T) {
	w := newWorld(t)
	c := w.whole()
	d := dossierOf(c)
	other := w.rest(w.begun("refund-7"))
	other.SVID = w.ca.SVIDFor(spiffeid.RequireFromString("spiffe://custody.test/ns/other/intake"))
	d.Anchors = []dossier.Anchor{}
	for _, e := range other.Anchors() {
		d.Anchors = append(d.Anchors, dossier.Anchor{Envelope: e.AppendJSON(nil)})
	}
	r := w.verify(d)
	require.Empty(t, r.Faults)
	require.Zero(t, r.Anchored)
}

// An answer that a later attempt fetched is of the time at which that one recorded it.
func TestAnswerThatALaterTaskFetched(t *testing.T) {
	w := newWorld(t)
	c := w.begun("refund-7")
	first := c.ScheduleStep("custody.call", "", "charge")
	r := c.Receipt("mcp.tools/call", "charge", uint32(first)+1, receipt.StatusAsked)
	r.Action.Server, r.Action.Name, r.To = "payments", "charge_card", w.payments.ID
	question := c.Sign(w.intake, r)
	c.CompleteStep(first, "unreachable", question)
	c.At = c.At.Add(5 * time.Minute)
	second := c.ScheduleStep("custody.call", "", "charge")
	a := testkit.AnswerTo(question, w.payments.ID)
	a.Times.Settled = c.At.UTC()
	later := w.ca.SVID("payments", func(cert *x509.Certificate) { cert.NotBefore = c.At.Add(-time.Minute) })
	answer := c.Sign(later, a)
	c.CompleteStep(second, "settled", question, answer)
	c.Heads = []receipt.Digest{answer.PayloadDigest()}
	c.Finish()
	require.Empty(t, w.verify(dossierOf(c)).Faults)
}

// A workflow that was terminated from outside could not end its chain.
func TestTerminated(t *testing.T) {
	w := newWorld(t)
	c := w.begun("refund-7")
	c.ScheduleStep("custody.state", chain.KindAttest, "paid")
	c.Turn()
	c.Event(&protos.HistoryEvent{EventId: -1, EventType: &protos.HistoryEvent_ExecutionTerminated{ExecutionTerminated: &protos.ExecutionTerminatedEvent{}}})
	c.Event(&protos.HistoryEvent{EventId: -1, EventType: &protos.HistoryEvent_ExecutionCompleted{ExecutionCompleted: &protos.ExecutionCompletedEvent{
		WorkflowStatus: protos.OrchestrationStatus_ORCHESTRATION_STATUS_TERMINATED,
	}}})
	c.Save()
	r := w.verify(dossierOf(c))
	require.Empty(t, r.Faults)
	require.Len(t, r.Notes, 1)

	cut := w.begun("refund-7")
	cut.End("1")
	cut.Save()
	require.Equal(t, []dossier.Kind{"link/not-ended"}, kinds(w.verify(dossierOf(cut))))
}

// unanswered is a refund whose call was never answered.
func (w *world) unanswered() (c *testkit.Chained, question *receipt.Envelope) {
	c = w.begun("refund-7")
	id := c.ScheduleStep("custody.call", "", "charge")
	r := c.Receipt("mcp.tools/call", "charge", uint32(id)+1, receipt.StatusAsked)
	r.Action.Server, r.Action.Name, r.To = "payments", "charge_card", w.payments.ID
	question = c.Sign(w.intake, r)
	c.CompleteStep(id, "unknown", question)
	c.Heads = []receipt.Digest{question.PayloadDigest()}
	return c, question
}

// What came too late for the workflow is no fault of the chain.
func TestLateThingsAreNotes(t *testing.T) {
	w := newWorld(t)
	c, question := w.unanswered()
	unused := c.Approval("manager", w.approver)
	c.Finish()
	answer := c.Sign(w.payments, testkit.AnswerTo(question, w.payments.ID))
	report := w.verify(withLinks(dossierOf(c), answer, unused))
	require.Empty(t, report.Faults)
	require.Len(t, report.Notes, 2)
	require.Equal(t, chain.StatusUnknown, report.Steps[2].Status)
}

// What is noted has to hold as much as what is shown.
func TestForgedLateThingsAreFaults(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(w *world, c *testkit.Chained, question *receipt.Envelope) *receipt.Envelope
		want dossier.Kind
	}{
		{"answer by another", func(w *world, c *testkit.Chained, question *receipt.Envelope) *receipt.Envelope {
			return c.Sign(w.approver, testkit.AnswerTo(question, w.payments.ID))
		}, "link/wrong-door"},
		{"answer that nobody signed", func(w *world, c *testkit.Chained, question *receipt.Envelope) *receipt.Envelope {
			e := c.Sign(w.payments, testkit.AnswerTo(question, w.payments.ID))
			e.Signatures[0].Sig[9] ^= 1
			return e
		}, "link/signature"},
		{"answer to another caller", func(w *world, c *testkit.Chained, question *receipt.Envelope) *receipt.Envelope {
			return c.Sign(w.payments, testkit.AnswerTo(question, w.payments.ID), func(r *receipt.Receipt) { r.Caller.SPIFFEID = w.approver.ID })
		}, "link/wrong-answer"},
		{"approval that nobody signed", func(w *world, c *testkit.Chained, _ *receipt.Envelope) *receipt.Envelope {
			e := c.Approval("manager", w.approver)
			e.Signatures[0].Sig[9] ^= 1
			return e
		}, "link/signature"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			c, question := w.unanswered()
			forged := tt.make(w, c, question)
			c.Finish()
			report := w.verify(withLinks(dossierOf(c), forged))
			require.Contains(t, kinds(report), tt.want)
			require.Empty(t, report.Notes)
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, text := range []string{
		``, `{}`, `[]`, `{"custodyChain":2,"app":"a","namespace":"n","instance":"i"}`, `{"custodyChain":1,"app":"a","namespace":"n"}`,
		`{"custodyChain":1,"app":"a","namespace":"n","instance":"i","more":1}`,
		`{"custodyChain":1,"custodyChain":1,"app":"a","namespace":"n","instance":"i"}`,
		`{"custodyChain":1,"app":"a","namespace":"n","instance":"i","histories":[{}` + strings.Repeat(",{}", dossier.MaxHistories) + `]}`,
	} {
		_, err := dossier.Decode([]byte(text))
		require.ErrorIs(t, err, dossier.ErrDossier, text)
	}
}

func FuzzDecode(f *testing.F) {
	w := newWorld(f)
	text, err := dossierOf(w.begunAndSaved()).Encode()
	require.NoError(f, err)
	f.Add(text)
	text, err = dossierOf(w.whole()).Encode()
	require.NoError(f, err)
	f.Add(text)
	f.Add([]byte(`{"custodyChain":1,"app":"a","namespace":"n","instance":"i","histories":[{"app":"a","namespace":"n","instance":"i","rows":{}}],"anchors":[{}],"links":[1]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := dossier.Decode(text)
		if err != nil {
			require.ErrorIs(t, err, dossier.ErrDossier)
			return
		}
		d.Verify(dossier.Options{Bundles: w.ca.Bundle()})
	})
}
