// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package history

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/receipt"
)

// Options say against what a history is verified.
type Options struct {
	// Bundles are the roots, by trust domain. Without any, nothing that is signed is verified.
	Bundles x509bundle.Source
	// Signed demands signatures. If false, a history of which nothing is signed is no fault; nor is it verified.
	Signed bool
	// Anchors are what a log says of the signatures of the instance, in the order of the log.
	Anchors []Anchor
}

// Anchor is what a log says of one signature row. An anchor of row 0 with another digest begins a run: Dapr counts anew
// when an instance is continued as new or made again, and only the last run is what the store should have.
type Anchor struct {
	// Index is the number of the signature, from 0.
	Index int
	// Digest is over the value of the row.
	Digest receipt.Digest
	// At is when the log took it. The certificate of the signature has to be valid then too.
	At time.Time
	// Removed says that the row was deleted. Digest is then not looked at.
	Removed bool
	// Tentative says that nobody knows whether it was done: the row may be as before. Nobody signed it either, so that it
	// anchors nothing.
	Tentative bool
	// TrustDomain is that of the signer. What another says of a history that is signed is not looked at. Zero is any.
	TrustDomain spiffeid.TrustDomain
}

// Report is what verifying a history gave.
type Report struct {
	App, Namespace, Instance string
	// Name is the workflow's, Status Dapr's word for how it stands. Either is "" if it is not known.
	Name, Status string
	// Started is the time of the first event, zero if it is not known.
	Started time.Time
	// TrustDomain is that of the signers; zero if nothing is signed.
	TrustDomain spiffeid.TrustDomain
	// Signed counts the events that a signature is over, Verified those with which all is well.
	Signed, Verified int
	// Anchored counts the signatures that the log knows. -1 means that there was no log to ask.
	Anchored int
	// Doubtful counts the signatures of which the log took another, or that are gone, and of which nothing but a tentative
	// anchor says that this may be so.
	Doubtful int
	Events   []EventReport
	// Faults are those of the whole history, of its rows and of its signatures; those of single events stand there.
	Faults []*Fault
}

// EventReport is one event, read and verified.
type EventReport struct {
	Index int
	// Time is what Dapr states; zero if it is not known.
	Time time.Time
	// Type is Dapr's word, such as TaskScheduled; "" if the row is missing or unreadable.
	Type string
	// Name is that of the workflow, activity, child workflow, timer or external event; Detail what else matters.
	Name, Detail string
	// Task is Dapr's ID of the task that was scheduled, or that this is the result of. -1 if it is about none.
	Task int
	// App did what the event says, as the history tells it.
	App string
	// Signer is the sidecar whose signature over the event is valid. Zero if there is none.
	Signer spiffeid.ID
	// Attested is the sidecar that attested the result of the task. Zero if there is none.
	Attested spiffeid.ID
	// Verified says that the event is signed and that nothing is wrong with it.
	Verified bool
	Faults   []*Fault
}

// OK says whether nothing was found to be wrong.
func (r *Report) OK() bool { return r.First() == nil }

// First gives one fault, that of the whole history before that of an event; nil if there is none.
func (r *Report) First() *Fault {
	if len(r.Faults) > 0 {
		return r.Faults[0]
	}
	for _, e := range r.Events {
		if len(e.Faults) > 0 {
			return e.Faults[0]
		}
	}
	return nil
}

// AllFaults gives the faults of the whole history and then those of the events, each once: that a signature over an event
// does not hold is told of the signature. That the history is of another instance comes before what follows from that, and
// that nothing is stored after what the log says of it.
func (r *Report) AllFaults() []*Fault {
	all := append([]*Fault(nil), r.Faults...)
	for _, e := range r.Events {
		for _, f := range e.Faults {
			if !f.implied {
				all = append(all, f)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b *Fault) int { return cmp.Compare(a.rank(), b.rank()) })
	return all
}

// Verify verifies a history. Certificates are checked for the time of the event that they stand for, as Dapr does, and
// where an anchor says when the log took a signature, for that time too.
func Verify(in *Instance, o Options) *Report {
	v := &verifier{
		in: in, o: o, checks: newChecks(o.Bundles),
		report: &Report{App: in.App, Namespace: in.Namespace, Instance: in.ID, Started: in.Started(), Anchored: -1},
	}
	v.report.Faults = append(v.report.Faults, in.Faults...)
	v.describe()
	v.belongs()
	v.signatures()
	v.attestations()
	v.marker()
	v.anchors()
	v.count()
	return v.report
}

type verifier struct {
	in     *Instance
	o      Options
	checks *checks
	report *Report
	// covered is how many events the signatures are over.
	covered int
}

func (v *verifier) fault(kind Kind, row, format string, args ...any) {
	v.report.Faults = append(v.report.Faults, &Fault{Kind: kind, Row: row, Detail: fmt.Sprintf(format, args...)})
}

func (v *verifier) eventFault(i int, kind Kind, format string, args ...any) {
	e := &v.report.Events[i]
	e.Faults = append(e.Faults, &Fault{Kind: kind, Row: numbered(rowHistory, i), Detail: fmt.Sprintf(format, args...)})
}

// belongs holds the signed name of the instance against the key under which the rows are stored: Dapr's signatures do
// not bind them.
func (v *verifier) belongs() {
	for i, e := range v.in.Events {
		started := e.Proto.GetExecutionStarted()
		if started == nil {
			continue
		}
		if of := started.GetWorkflowInstance().GetInstanceId(); of != v.in.ID {
			v.eventFault(i, OtherInstance, "the history is of instance %q and stored under %q", of, v.in.ID)
		}
	}
}

// marker finds the mark after which Dapr does not verify any more.
func (v *verifier) marker() {
	if n := len(v.in.Events); n > 0 && IsTamperMarker(v.in.Events[n-1].Proto) {
		v.eventFault(n-1, TamperMarker, "the history ends with the mark of tampering, which is %s; from here on Dapr verifies nothing. The mark says: %s",
			map[bool]string{true: "signed", false: "not signed"}[v.covered >= n],
			v.in.Events[n-1].Proto.GetExecutionCompleted().GetFailureDetails().GetErrorMessage())
	}
}

func (v *verifier) count() {
	for i := range v.report.Events {
		e := &v.report.Events[i]
		e.Verified = !e.Signer.IsZero() && len(e.Faults) == 0
		if e.Verified {
			v.report.Verified++
		}
	}
}
