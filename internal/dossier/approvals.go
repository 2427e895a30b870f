// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dossier

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/receipt"
)

// approved holds an approval against what was asked for, by task k, and against the event that brought it.
func (v *verifier) approved(f *found, t *told, k *task, fault func(Kind) *Fault) {
	_, verifies := v.place[f.digest]
	forged := ""
	if verifies {
		forged = t.forged(f.receipt, f.digest)
	}
	at, raised := t.raised[f.digest]
	switch other := v.otherAsk(f.receipt, k); {
	case forged != "" && f.in == nil:
		v.fault(fault(ForgedApproval), "%s, and the workflow did not take it", forged)
	case forged != "":
		v.fault(fault(ForgedApproval), "%s", forged)
	case other != "":
		v.fault(fault(OtherStep), "%s", other)
	case f.in == nil:
		v.fault(fault(NotRecorded), "the history does not bear it: the workflow did not take it")
	case !raised || at > f.at:
		v.fault(fault(NotRaised), "no event brought it before event %d took it", f.at)
	}
}

// forged says why the signer of an approval, which verifies, may not give it; "" if the signer may. Whom the workflow takes
// it from stands in the input of the task that verifies it. Where no task was given one to verify, and where it names
// nobody, anybody may but the app that asked.
func (t *told) forged(r *receipt.Receipt, digest receipt.Digest) string {
	signer := r.Door.SPIFFEID
	var by []string
	for _, a := range t.verified[asked{r.Workflow.Task, r.Workflow.Step}] {
		by = a.by
		if a.digest == digest {
			break // of several, what was said of this one counts
		}
	}
	switch {
	case len(by) > 0 && !slices.Contains(by, signer.String()):
		return fmt.Sprintf("%s signed it, which may not give it: only %s may", signer, strings.Join(by, ", "))
	case len(by) == 0 && isApp(signer, t.in.Namespace, t.in.App):
		return fmt.Sprintf("%s signed it, which may not give it: it asked for it itself", signer)
	}
	return ""
}

// otherAsk says what makes task k none that asked for the approval; "" if it did, and for that.
func (v *verifier) otherAsk(r *receipt.Receipt, k *task) string {
	step := askStep + r.Workflow.Step
	if k.name != activityState || k.order.Workflow.Step != step {
		return fmt.Sprintf("task %d of the history did not ask for it: its step is %q", k.id, k.order.Workflow.Step)
	}
	if stated, ok := v.stated[statedBy(r.Workflow, step)]; ok && stated != r.RequestDigest {
		return fmt.Sprintf("it approves %s, and what task %d of the history asked for is %s", r.RequestDigest, k.id, stated)
	}
	return ""
}

// approvedElsewhere holds an approval, of whose instance or generation the history is not here, against the link that asked
// for it. Whom the workflow takes it from stands in no link, so that it is said that nobody looked.
func (v *verifier) approvedElsewhere(f *found) {
	r := f.receipt
	w := r.Workflow
	fault := &Fault{Kind: OtherStep, Instance: w.Instance, Step: w.Step, Link: f.digest}
	switch stated, ok := v.stated[statedBy(w, askStep+w.Step)]; {
	case !ok:
		v.fault(fault, "no link of task %d of generation %d asks for it", w.Task, w.Generation)
	case stated != r.RequestDigest:
		v.fault(fault, "it approves %s, and what task %d of generation %d asked for is %s", r.RequestDigest, w.Task, w.Generation, stated)
	}
	unchecked := fmt.Sprintf("whether %s may give it was not checked: that stands in the history of generation %d of %s, which is not here",
		r.Door.SPIFFEID, w.Generation, w.Instance)
	v.unchecked[f.digest] = unchecked
	v.note("step %s, an approval: %s", w.Step, unchecked)
}

// statement names a statement of a step.
type statement struct {
	app, instance, step string
	generation, task    uint32
}

func statedBy(w *receipt.Workflow, step string) statement {
	return statement{w.App, w.Instance, step, w.Generation, w.Task}
}

// state notes what a link that verifies says to be asked for.
func (v *verifier) state(r *receipt.Receipt) {
	if w := r.Workflow; r.Action.Kind == chain.KindAttest && strings.HasPrefix(w.Step, askStep) {
		v.stated[statedBy(w, w.Step)] = r.RequestDigest
	}
}
