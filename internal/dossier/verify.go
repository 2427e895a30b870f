// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dossier

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/history"
	"github.com/dapr-custody/custody/internal/identity"
	"github.com/dapr-custody/custody/internal/linkpack"
	"github.com/dapr-custody/custody/internal/receipt"
)

// maxSkew is how much the clocks of sidecars may differ.
const maxSkew = time.Minute

// Options say against what a dossier is verified.
type Options struct {
	Bundles x509bundle.Source
	// Anchored demands that each history has an anchor.
	Anchored bool
}

// Report is what verifying a dossier gave.
type Report struct {
	// Chain is zero if there are no links.
	Chain receipt.Chain
	// Ended says that the chain has its end; Running that it need not have one, since the workflow still runs or was
	// terminated.
	Ended, Running bool
	Histories      []*history.Report
	Steps          []Step
	// All are the links that verify by themselves, each after those that it continues.
	All []*chain.Link
	// Links counts those that verify. Anchored counts the signatures that the log knows, -1 without a journal.
	Links, Anchored int
	Faults          []*Fault
	// Notes are what is worth knowing and not wrong.
	Notes []string
}

// Step is one step of the chain, with what the history says of it.
type Step struct {
	chain.Step
	App  string
	Task uint32
	// Prev are the links that it continues.
	Prev []receipt.Digest
	// Scheduled and Recorded are the numbers of the events; -1 where the history of the instance does not have them.
	Scheduled, Recorded int
	// Faults are those that are about the step.
	Faults []*Fault
	// Unchecked says what of the step nothing that is here can tell, and is no fault; "" if all was verified.
	Unchecked string
}

// OK says whether nothing is wrong.
func (r *Report) OK() bool { return len(r.Faults) == 0 }

// Verify verifies a dossier. It asks nobody, and reads no clock.
func (d *Dossier) Verify(o Options) *Report { return d.verify(o, newReader()) }

func (d *Dossier) verify(o Options, reader *reader) *Report {
	v := &verifier{
		d: d, o: o, report: &Report{Anchored: -1}, links: map[receipt.Digest]*found{}, named: map[name]*found{},
		continued: map[receipt.Digest]bool{}, place: map[receipt.Digest]int{}, stated: map[statement]receipt.Digest{},
		given: map[receipt.Digest]bool{}, unchecked: map[receipt.Digest]string{}, reader: reader,
		answers: map[receipt.Digest]bool{}, missing: map[string]bool{},
	}
	v.histories()
	v.collect()
	v.chain()
	v.journals()
	v.fit()
	causesFirst(v.report.Faults)
	v.steps()
	return v.report
}

type verifier struct {
	d      *Dossier
	o      Options
	report *Report
	told   []*told
	// links are all, by digest; order is that in which they were found.
	links map[receipt.Digest]*found
	order []*found
	named map[name]*found
	// copies are envelopes of links that are there already, with other signatures.
	copies []*receipt.Envelope
	// continued are the links that others name as what they continue.
	continued map[receipt.Digest]bool
	whole     *chain.Found
	// place is that of each link which verifies, in an order in which each comes after what it continues.
	place map[receipt.Digest]int
	// answers are the questions that an answer is there to, and missing the instances of which it was said that their
	// history is not here.
	answers map[receipt.Digest]bool
	missing map[string]bool
	// given are the links that journals have, and unchecked what is said of approvals.
	given     map[receipt.Digest]bool
	unchecked map[receipt.Digest]string
	reader    *reader
	// stated is what the links that verify ask an approval for.
	stated map[statement]receipt.Digest
}

// found is a link and where it was found.
type found struct {
	envelope *receipt.Envelope
	digest   receipt.Digest
	// receipt is decoded and not verified; nil if it cannot be.
	receipt *receipt.Receipt
	// in is the history whose activity gave the link, at event at; nil if only journals or other instances have it.
	in *told
	at int
}

func (v *verifier) fault(f *Fault, format string, args ...any) {
	f.Detail = fmt.Sprintf(format, args...)
	if f.Kind == HistoryMissing {
		v.missing[f.Instance] = true
	}
	v.report.Faults = append(v.report.Faults, f)
}

func (v *verifier) note(format string, args ...any) {
	v.report.Notes = append(v.report.Notes, fmt.Sprintf(format, args...))
}

// collect gathers the links of histories and journals.
func (v *verifier) collect() {
	for _, t := range v.told {
		for _, task := range t.order {
			for _, l := range task.links {
				v.add(l.envelope(), t, task.recorded)
			}
		}
	}
	for _, t := range v.told {
		for _, e := range t.in.Events {
			if c := carriedBy(e.Proto); c != nil {
				for _, l := range v.reader.read(&c.Carry.Links, &linkpack.Memory{}) {
					v.add(l.envelope(), nil, 0)
				}
			}
		}
	}
	if v.reader.over {
		v.fault(&Fault{Kind: Unreadable}, "the links of the histories unpack to more than %d bytes, of which the later ones were not read", maxUnpacked)
	}
	for _, f := range v.order {
		v.continues(f.receipt)
	}
	var given []*receipt.Envelope
	for i, raw := range v.d.Links {
		e, err := receipt.DecodeEnvelope(raw)
		if err != nil {
			v.fault(&Fault{Kind: Unreadable}, "link %d of the dossier: %s", i+1, err)
			continue
		}
		given = append(given, e)
		v.given[e.PayloadDigest()] = true
		if r, err := e.UnsafeReceipt(); err == nil {
			v.continues(r)
		}
	}
	for _, e := range given {
		if !v.late(e) {
			v.add(e, nil, 0)
		}
	}
}

func (v *verifier) continues(r *receipt.Receipt) {
	if r == nil {
		return
	}
	for _, d := range r.Prev {
		v.continued[d] = true
	}
}

func (v *verifier) add(e *receipt.Envelope, in *told, at int) {
	if e == nil {
		return
	}
	digest := e.PayloadDigest()
	if known := v.links[digest]; known != nil {
		if known.in == nil && in != nil {
			known.in, known.at = in, at
		}
		if !slices.EqualFunc(known.envelope.Signatures, e.Signatures, sameSignature) {
			v.copies = append(v.copies, e)
		}
		return
	}
	f := &found{envelope: e, digest: digest, in: in, at: at}
	if r, err := e.UnsafeReceipt(); err == nil {
		f.receipt = r
		v.named[nameOf(r)] = f
		if !isAsking(r.Outcome.Status) && len(r.Prev) == 1 {
			v.answers[r.Prev[0]] = true
		}
	}
	v.links[digest] = f
	v.order = append(v.order, f)
}

// sameSignature does not compare certificates: a signature fits one key, and which that is, the link says.
func sameSignature(a, b receipt.Signature) bool {
	return bytes.Equal(a.Sig, b.Sig) && a.KeyID == b.KeyID
}

// checkCopies verifies what else is there of links that were found to be good or not by another copy.
func (v *verifier) checkCopies(id *receipt.Chain) {
	o := chain.Options{Bundles: v.o.Bundles, Verifier: receipt.NewVerifier(v.o.Bundles), At: v.moment}
	for _, e := range v.copies {
		var fault *chain.Fault
		if _, err := chain.New(*id, o).Add(e); errors.As(err, &fault) {
			v.report.Faults = append(v.report.Faults, v.ofLink(fault))
		}
	}
}

func (v *verifier) ofLink(f *chain.Fault) *Fault {
	of := v.links[f.Link]
	return ofLink(f, of != nil && of.receipt != nil && of.receipt.Action.Kind == chain.KindApproval)
}

// late says whether an envelope of a journal is something that never reached its workflow, which went on without it: an
// answer that was lost, which settles what the workflow does not know, or an approval that was not taken. It is no link
// of the chain, unless another link continues it.
func (v *verifier) late(e *receipt.Envelope) bool {
	r, err := e.UnsafeReceipt()
	digest := e.PayloadDigest()
	if err != nil || r.Workflow == nil || v.links[digest] != nil || v.continued[digest] {
		return false
	}
	step := fmt.Sprintf("step %s (task %d of %s)", r.Workflow.Step, r.Workflow.Task, r.Workflow.Instance)
	switch {
	case r.Outcome.Status == receipt.StatusApproved:
		t, k := v.taskOf(r)
		if k == nil || !v.holds(e) {
			return false
		}
		why := ""
		if forged := t.forged(r, digest); forged != "" {
			why = ": " + forged
		}
		v.note("%s: the journal of %s has an approval that the workflow did not take%s", step, r.Door.SPIFFEID, why)
		return true
	case isAsking(r.Outcome.Status) || len(r.Prev) != 1:
		return false
	}
	question := v.links[r.Prev[0]]
	if question == nil || question.in == nil || v.answers[r.Prev[0]] || !v.holds(question.envelope, e) {
		return false
	}
	v.note("%s: the workflow never got the answer; the journal of %s has it: %s", step, r.Door.SPIFFEID, r.Outcome.Status)
	return true
}

// holds says whether links of one chain verify, and fit one another: what is only noted is nowhere else verified.
func (v *verifier) holds(links ...*receipt.Envelope) bool {
	r, err := links[0].UnsafeReceipt()
	if err != nil || r.Workflow == nil || r.Workflow.Chain == nil {
		return false
	}
	c := chain.New(*r.Workflow.Chain, chain.Options{Bundles: v.o.Bundles})
	for _, e := range links {
		if _, err := c.Add(e); err != nil {
			return false
		}
	}
	return len(c.SomeFaults(1)) == 0
}

func isAsking(status string) bool {
	return status == receipt.StatusAsked || status == receipt.StatusStated || status == receipt.StatusApproved
}

// chain verifies the links.
func (v *verifier) chain() {
	id := v.identity()
	if id == nil {
		v.fault(&Fault{Kind: NoChain, Instance: v.d.Instance}, "neither the history nor a journal has a link of the instance")
		return
	}
	v.report.Chain = *id
	v.report.Running = v.running(id)
	envelopes := make([]*receipt.Envelope, len(v.order))
	for i, f := range v.order {
		envelopes[i] = f.envelope
	}
	got := chain.Verify(envelopes, chain.Options{
		Bundles: v.o.Bundles, At: v.moment, Expect: id, Running: v.report.Running, MaxLinks: max(len(envelopes), 1),
	})
	for _, f := range got.All() {
		v.report.Faults = append(v.report.Faults, v.ofLink(f))
	}
	v.checkCopies(id)
	for _, c := range got.Chains {
		if c.Chain.Equal(id) {
			v.whole = c
			v.report.All, v.report.Links, v.report.Ended = c.Links, len(c.Links), c.Ended
			for i, l := range c.Links {
				v.place[l.Digest] = i
				v.state(l.Receipt)
			}
		}
	}
}

// identity is the chain of the first link that a history has of an own step, else of the first link at all.
func (v *verifier) identity() *receipt.Chain {
	var any *receipt.Chain
	for _, f := range v.order {
		if f.receipt == nil || f.receipt.Workflow == nil || f.receipt.Workflow.Chain == nil {
			continue
		}
		if f.in != nil {
			return f.receipt.Workflow.Chain
		}
		if any == nil {
			any = f.receipt.Workflow.Chain
		}
	}
	return any
}

// running says whether the workflow that began the chain has not ended by itself, as its history tells.
func (v *verifier) running(id *receipt.Chain) bool {
	for _, t := range v.told {
		if t.in.ID == id.Instance && isApp(id.App, t.in.Namespace, t.in.App) {
			if t.terminated {
				v.note("%s was terminated: its chain has no end", t.in.ID)
			}
			return !t.ended || t.terminated
		}
	}
	return false
}

// moment is the time for which the certificate of a link is verified: that which it states, if the signed history bears
// it out, else the time at which the history recorded it.
func (v *verifier) moment(r *receipt.Receipt) time.Time {
	if from, to, ok := v.window(r); ok && (r.Times.Settled.Before(from) || r.Times.Settled.After(to)) {
		return to
	}
	return r.Times.Settled
}

// window is between when the step of a link was scheduled and the link recorded, as the signed history tells. Of an
// approval that the history does not bear it tells only that it was asked for.
func (v *verifier) window(r *receipt.Receipt) (from, to time.Time, ok bool) {
	t, task := v.taskOf(r)
	if task == nil {
		return time.Time{}, time.Time{}, false
	}
	recorded := task.recorded
	if f := v.named[nameOf(r)]; f != nil && f.in == t {
		recorded = f.at // a later task may have fetched what this one left open
	} else if r.Outcome.Status == receipt.StatusApproved {
		recorded = -1
	}
	if recorded < 0 {
		return time.Time{}, time.Time{}, false
	}
	from, to = t.in.Events[task.scheduled].Time(), t.in.Events[recorded].Time()
	return from.Add(-maxSkew), to.Add(maxSkew), !from.IsZero() && !to.IsZero()
}

// name is what tells receipts apart before they are verified: the door, and the ID that it gave.
type name struct {
	door spiffeid.ID
	id   string
}

func nameOf(r *receipt.Receipt) name { return name{r.Door.SPIFFEID, r.ID} }

// taskOf finds the task of the history that a link says it is of; nil if there is none, or its history is not here.
func (v *verifier) taskOf(r *receipt.Receipt) (*told, *task) {
	t := v.historyOf(r)
	if t == nil || r.Workflow.Task == 0 {
		return t, nil
	}
	return t, t.tasks[taskID(r.Workflow.Task)]
}

// historyOf finds the history of the instance and generation that a link is of.
func (v *verifier) historyOf(r *receipt.Receipt) *told {
	if r == nil || r.Workflow == nil {
		return nil
	}
	at := slices.IndexFunc(v.told, func(t *told) bool {
		return tells(t, r.Workflow) && len(t.in.Events) > 0
	})
	if at < 0 || v.told[at].generation != r.Workflow.Generation {
		return nil
	}
	return v.told[at]
}

// tells says whether a history is that of the instance which a link is of, in the namespace of its chain.
func tells(t *told, w *receipt.Workflow) bool {
	if w.Chain != nil {
		if namespace, _, ok := identity.App(w.Chain.App); !ok || namespace != t.in.Namespace {
			return false
		}
	}
	return t.in.ID == w.Instance && t.in.App == w.App
}

func isApp(id spiffeid.ID, namespace, app string) bool {
	ofNamespace, ofApp, ok := identity.App(id)
	return ok && ofNamespace == namespace && ofApp == app
}
