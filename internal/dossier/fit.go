// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dossier

import (
	"cmp"
	"slices"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/history"
	"github.com/dapr-custody/custody/internal/identity"
	"github.com/dapr-custody/custody/internal/receipt"
)

// fit holds histories and links against one another, both ways.
func (v *verifier) fit() {
	for _, t := range v.told {
		v.began(t)
		v.renewed(t)
		for _, k := range t.order {
			v.taskHasLink(t, k)
		}
	}
	v.children()
	v.root()
	v.beside()
	for _, f := range v.inOrder() {
		if f.receipt != nil && f.receipt.Workflow != nil && f.receipt.Workflow.Chain.Equal(&v.report.Chain) {
			v.linkHasStep(f)
		}
	}
}

// inOrder gives the links in the order of the chain, those that do not verify last.
func (v *verifier) inOrder() []*found {
	place := func(f *found) int {
		if at, ok := v.place[f.digest]; ok {
			return at
		}
		return len(v.order)
	}
	ordered := slices.Clone(v.order)
	slices.SortStableFunc(ordered, func(a, b *found) int { return cmp.Compare(place(a), place(b)) })
	return ordered
}

// began holds the start of the chain against that of the history that it began with.
func (v *verifier) began(t *told) {
	id := v.report.Chain
	if td := t.report.TrustDomain; !td.IsZero() && !id.App.IsZero() && td != id.App.TrustDomain() {
		v.fault(ofHistory(t.in.ID, &history.Fault{Kind: history.TrustDomain}), "it is signed by %s, and the chain is that of %s", td, id.App)
	}
	if t.in.ID != id.Instance || !isApp(id.App, t.in.Namespace, t.in.App) || t.generation > 0 || len(t.in.Events) == 0 {
		return
	}
	if !t.in.Created().Equal(id.Started) {
		v.fault(&Fault{Kind: OtherRun, Instance: t.in.ID}, "the history is of a workflow of %s, and the chain of one of %s: they are of two runs",
			t.in.Created().Format(timeLayout), id.Started.UTC().Format(timeLayout))
	}
}

// renewed holds the input of a later generation against what the one before signed of it.
func (v *verifier) renewed(t *told) {
	at := slices.IndexFunc(t.order, func(k *task) bool { return k.order.Kind == chain.KindBegin })
	if t.generation == 0 || at < 0 || len(t.order[at].order.Prev) != 1 {
		return
	}
	last := v.links[t.order[at].order.Prev[0]]
	if last == nil || last.receipt == nil {
		return // told as missing
	}
	statement, err := chain.Continued(t.generation, t.input)
	if err != nil || last.receipt.RequestDigest != receipt.Sum(statement) {
		v.fault(&Fault{Kind: OtherStep, Instance: t.in.ID, Step: last.receipt.Workflow.Step, Link: last.envelope.PayloadDigest()},
			"generation %d has another input than the generation before signed, or another number", t.generation)
	}
}

const timeLayout = "2006-01-02T15:04:05.000000000Z07:00"

// taskHasLink finds steps of the history that nobody signed.
func (v *verifier) taskHasLink(t *told, k *task) {
	switch {
	case k.recorded < 0 && t.ended && !t.terminated:
		v.fault(v.at(t, k), "task %d was scheduled (event %d), and the workflow ended without its result", k.id, k.scheduled)
	case k.recorded < 0, k.failed:
		return // it goes on, or failed before anything was signed
	case !k.ours():
		v.fault(v.at(t, k), "task %d was done (event %d), and its result is none of the library's: what it did nobody signed", k.id, k.recorded)
	case k.state != "answered" && k.state != "settled":
		return // nothing was signed
	case len(k.links) == 0:
		v.fault(v.at(t, k), "task %d was done (event %d), and its result bears no link", k.id, k.recorded)
	}
	for _, l := range k.links {
		if e := l.envelope(); e == nil || e.Digest() != l.Digest {
			v.fault(v.at(t, k), "what the result of task %d bears as link %.80s is none, or another", k.id, l.Digest)
		}
	}
}

func (v *verifier) at(t *told, k *task) *Fault {
	return &Fault{Kind: LinkMissing, Instance: t.in.ID, Step: k.order.Workflow.Step}
}

// children finds instances that the chain was carried into and of which nothing is stored.
func (v *verifier) children() {
	for _, t := range v.told {
		for _, c := range ChildrenOf(t.in) {
			here := slices.ContainsFunc(v.told, func(other *told) bool {
				return other.in.ID == c.Instance && other.in.App == c.App && len(other.in.Events) > 0
			})
			if !here {
				v.fault(&Fault{Kind: HistoryMissing, Instance: c.Instance}, "the chain goes on in this child of %s, in app %s, whose history is not here",
					t.in.ID, c.App)
			}
		}
	}
}

// root finds a chain without the history that it began with.
func (v *verifier) root() {
	id := v.report.Chain
	here := slices.ContainsFunc(v.told, func(t *told) bool { return t.in.ID == id.Instance && isApp(id.App, t.in.Namespace, t.in.App) })
	if id.Instance != "" && !here {
		v.fault(&Fault{Kind: HistoryMissing, Instance: id.Instance}, "the chain began with it, in %s, and its history is not here", id.App)
	}
}

// beside finds histories that the chain does not run through: what verifies says nothing of them.
func (v *verifier) beside() {
	id := v.report.Chain
	if id.Instance == "" {
		return
	}
	type place struct{ app, instance string }
	through := map[place]bool{}
	for _, f := range v.order {
		if f.receipt != nil && f.receipt.Workflow != nil && f.receipt.Workflow.Chain.Equal(&id) {
			through[place{f.receipt.Workflow.App, f.receipt.Workflow.Instance}] = true
		}
	}
	namespace, app, _ := identity.App(id.App)
	through[place{app, id.Instance}] = true
	for _, t := range v.told {
		here := t.in.Namespace == namespace && through[place{t.in.App, t.in.ID}] || t.carried != nil && t.carried.of(&id)
		if !here && len(t.in.Events) > 0 {
			v.fault(&Fault{Kind: NoChain, Instance: t.in.ID}, "its history in app %s is here, and the chain, which is that of %s, does not run through it",
				t.in.App, id.Instance)
		}
	}
}

// linkHasStep finds links that the history knows nothing of.
func (v *verifier) linkHasStep(f *found) {
	r := f.receipt
	status := r.Outcome.Status
	if !isAsking(status) {
		return // an answer stands with its question
	}
	fault := func(kind Kind) *Fault {
		return &Fault{Kind: kind, Instance: r.Workflow.Instance, Step: r.Workflow.Step, Link: f.digest}
	}
	t, k := v.taskOf(r)
	switch {
	case t == nil:
		v.elsewhere(f)
		return
	case k == nil:
		v.fault(fault(StepMissing), "it is of task %d, which the history of %s does not have: the history was cut off or put back, or the link is of another",
			r.Workflow.Task, t.in.ID)
		return
	}
	if status == receipt.StatusApproved {
		v.approved(f, t, k, fault)
	} else {
		v.asked(f, t, k, fault)
	}
	if from, to, ok := v.window(r); ok && (r.Times.Settled.Before(from) || r.Times.Settled.After(to)) {
		v.fault(fault(TimeOutside), "it states %s, and the history has the step between %s and %s",
			r.Times.Settled.UTC().Format(timeLayout), from.UTC().Format(timeLayout), to.UTC().Format(timeLayout))
	}
}

// elsewhere is for links of instances and generations whose history is not here.
func (v *verifier) elsewhere(f *found) {
	w := f.receipt.Workflow
	at := slices.IndexFunc(v.told, func(t *told) bool { return tells(t, w) })
	if _, verifies := v.place[f.digest]; verifies && f.receipt.Outcome.Status == receipt.StatusApproved {
		v.approvedElsewhere(f)
	}
	switch {
	case at >= 0 && len(v.told[at].in.Events) == 0:
		return // told as a history of which nothing is stored
	case at >= 0 && w.Generation < v.told[at].generation:
		return // Dapr drops the history of earlier generations
	case at >= 0:
		v.fault(&Fault{Kind: StepMissing, Instance: w.Instance, Step: w.Step, Link: f.digest},
			"it is of generation %d, and the history is of generation %d: an earlier copy was put back", w.Generation, v.told[at].generation)
	default:
		if !v.missing[w.Instance] {
			v.fault(&Fault{Kind: HistoryMissing, Instance: w.Instance}, "there are links of it, and its history in app %s is not here", w.App)
		}
	}
}

// asked holds a question or a statement against the task that it is of.
func (v *verifier) asked(f *found, t *told, k *task, fault func(Kind) *Fault) {
	r := f.receipt
	name := activityState
	if r.Outcome.Status == receipt.StatusAsked {
		name = activityCall
	}
	o := k.order
	switch {
	case k.name == endTimer:
		if r.Action.Kind != chain.KindEnd || f.in != t {
			v.fault(fault(OtherStep), "the history has an end of the chain in its place, which is another")
		}
	case k.name != name || o.Kind != "" && o.Kind != r.Action.Kind || o.Workflow.Step != r.Workflow.Step ||
		o.Workflow.Instance != r.Workflow.Instance || !slices.Equal(o.Prev, r.Prev):
		v.fault(fault(OtherStep), "task %d of the history asked for step %q by %s, continuing %d links; the link is another", k.id, o.Workflow.Step,
			k.name, len(o.Prev))
	case f.in != t && k.recorded >= 0 && !k.failed:
		v.fault(fault(NotRecorded), "task %d of the history has a result, which does not bear it", k.id)
	case f.in != t && t.ended:
		v.fault(fault(NotRecorded), "the workflow ended, and its history does not bear it")
	}
}

// steps puts the steps of the chain beside what the histories have of them.
func (v *verifier) steps() {
	if v.whole == nil {
		return
	}
	about := map[receipt.Digest][]*Fault{}
	for _, f := range v.report.Faults {
		about[f.Link] = append(about[f.Link], f)
	}
	for _, s := range v.whole.Steps {
		r := v.links[s.Link].receipt
		step := Step{
			Step: s, App: r.Workflow.App, Task: r.Workflow.Task, Prev: r.Prev, Scheduled: -1, Recorded: -1, Faults: about[s.Link], Unchecked: v.unchecked[s.Link],
		}
		if !s.Answer.IsZero() {
			step.Faults = append(slices.Clone(step.Faults), about[s.Answer]...)
		}
		if _, k := v.taskOf(r); k != nil {
			step.Scheduled, step.Recorded = k.scheduled, k.recorded
			if f := v.links[s.Link]; s.Kind == chain.StepApproval {
				step.Recorded = -1
				if f.in != nil {
					step.Recorded = f.at
				}
			}
		}
		v.report.Steps = append(v.report.Steps, step)
	}
}
