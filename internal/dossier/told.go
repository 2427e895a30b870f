// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dossier

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/dapr/durabletask-go/api/protos"

	"github.com/dapr-custody/custody/internal/history"
	"github.com/dapr-custody/custody/internal/linkpack"
	"github.com/dapr-custody/custody/internal/receipt"
)

// told is what a history tells of the steps of the library.
type told struct {
	in     *history.Instance
	report *history.Report
	tasks  map[int32]*task
	order  []*task
	// generation is that which the chain says the history is of.
	generation uint32
	// input is what the generation was given, beside the chain.
	input []byte
	// carried is the chain that the workflow was started with; nil without one.
	carried *carried
	// ended says that the workflow has, and terminated that somebody ended it from outside.
	ended, terminated bool
	// raised are the digests of the approvals that events brought, with the first of those events.
	raised map[receipt.Digest]int
	// verified are the tasks that verified approvals, by what they were asked for as.
	verified map[asked][]*approval
	// memory has the links that the results bear.
	memory linkpack.Memory
	reader *reader
}

// task is an activity of the library.
type task struct {
	id        int32
	name      string
	order     order
	scheduled int
	// recorded is the event with the result, -1 while there is none.
	recorded int
	state    string
	failed   bool
	links    links
}

// ours says whether the result is one that the library writes. Only where nothing was to be done it may say nothing.
func (k *task) ours() bool {
	switch k.state {
	case "answered", "settled", "unknown", "unreachable", "links", "session", "refused", "nocaller":
		return true
	case "":
		return k.order.Look
	}
	return false
}

// asked names what an approval is asked for as: the task that stated it, and the step of the approval.
type asked struct {
	task uint32
	step string
}

// approval is one that a task of the library verified.
type approval struct {
	task   *task
	by     []string
	digest receipt.Digest // zero if it is none
}

func sameInstance(r history.Rows, app, namespace, instance string) bool {
	return r.App == app && r.Namespace == namespace && r.Instance == instance
}

// histories verifies the histories with their anchors, and reads what they tell.
func (v *verifier) histories() {
	anchors := v.anchors()
	if !slices.ContainsFunc(v.d.Histories, func(r history.Rows) bool { return sameInstance(r, v.d.App, v.d.Namespace, v.d.Instance) }) {
		v.fault(&Fault{Kind: HistoryMissing, Instance: v.d.Instance}, "the dossier was made for it, in app %s, and its history is not here", v.d.App)
	}
	for i, rows := range v.d.Histories {
		if slices.ContainsFunc(v.d.Histories[:i], func(r history.Rows) bool { return sameInstance(r, rows.App, rows.Namespace, rows.Instance) }) {
			v.fault(&Fault{Kind: Unreadable, Instance: rows.Instance}, "its history in app %s is there twice", rows.App)
			continue
		}
		in, err := history.Decode(rows)
		if err != nil {
			v.fault(&Fault{Kind: Unreadable, Instance: rows.Instance}, "%s", err)
			continue
		}
		o := history.Options{Bundles: v.o.Bundles, Signed: true}
		if v.d.Anchors != nil {
			o.Anchors = anchorsOf(anchors, rows)
			v.report.Anchored = max(v.report.Anchored, 0)
		}
		report := history.Verify(in, o)
		v.report.Histories = append(v.report.Histories, report)
		v.report.Anchored += max(report.Anchored, 0)
		for _, f := range report.AllFaults() {
			v.report.Faults = append(v.report.Faults, ofHistory(in.ID, f))
		}
		if v.o.Anchored && report.Anchored <= 0 && len(in.Events) > 0 {
			v.fault(&Fault{Kind: NoAnchor, Instance: in.ID}, "no journal knows a signature of the history")
		}
		v.doubts(report)
		v.told = append(v.told, read(in, report, v.reader))
	}
}

// doubts tells of signatures that are gone, or others than the log took, where intents that nobody signed say that a door
// was stopped while it deleted or wrote them. Whoever can write to a journal can add such intents.
func (v *verifier) doubts(r *history.Report) {
	if r.Doubtful == 0 {
		return
	}
	const text = "the log took %d signatures that are gone or others now, and only intents without a receipt say that they may be: " +
		"a door was stopped at it, or an earlier copy was put back and the intents added"
	if v.o.Anchored {
		v.fault(&Fault{Kind: NoAnchor, Instance: r.Instance}, text, r.Doubtful)
		return
	}
	v.note("%s: "+text, r.Instance, r.Doubtful)
}

// read reads what a history tells of the steps of the library.
func read(in *history.Instance, report *history.Report, reader *reader) *told {
	t := &told{
		in: in, report: report, reader: reader, tasks: map[int32]*task{}, raised: map[receipt.Digest]int{}, verified: map[asked][]*approval{},
	}
	for i, e := range in.Events {
		switch body := e.Proto.GetEventType().(type) {
		case *protos.HistoryEvent_ExecutionStarted:
			if c := carriedBy(e.Proto); c != nil {
				t.generation, t.input, t.carried = c.Carry.Generation, c.Value, c
			}
		case *protos.HistoryEvent_TaskScheduled:
			t.schedule(i, e.Proto.GetEventId(), body.TaskScheduled)
		case *protos.HistoryEvent_TaskCompleted:
			t.complete(i, body.TaskCompleted)
		case *protos.HistoryEvent_TaskFailed:
			if task := t.tasks[body.TaskFailed.GetTaskScheduledId()]; task != nil {
				task.recorded, task.failed = i, true
			}
		case *protos.HistoryEvent_EventRaised:
			t.raise(i, body.EventRaised)
		case *protos.HistoryEvent_TimerCreated:
			t.end(i, e.Proto)
		case *protos.HistoryEvent_ExecutionCompleted:
			t.ended = true
		case *protos.HistoryEvent_ExecutionTerminated:
			t.terminated = true
		}
	}
	return t
}

func (t *told) schedule(at int, id int32, e *protos.TaskScheduledEvent) {
	switch e.GetName() {
	case activityCall, activityState, activityVerify:
	default:
		return
	}
	k := &task{id: id, name: e.GetName(), scheduled: at, recorded: -1}
	if json.Unmarshal([]byte(e.GetInput().GetValue()), &k.order) != nil {
		k.order = order{} // which fits no link
	}
	if k.name == activityVerify {
		t.verify(k, e.GetInput().GetValue())
	}
	t.tasks[id] = k
	if k.order.As == endTask {
		t.tasks[taskID(endTask)] = k
	}
	t.order = append(t.order, k)
}

// verify takes what a task was given to verify. What cannot be read verified nothing.
func (t *told) verify(k *task, input string) {
	var in verification
	if json.Unmarshal([]byte(input), &in) != nil {
		return
	}
	a := &approval{task: k, by: in.By}
	if e, err := receipt.DecodeEnvelope(in.Envelope); err == nil {
		a.digest = e.PayloadDigest()
	}
	of := asked{in.Ask.Workflow.Task, in.Ask.Workflow.Step}
	t.verified[of] = append(t.verified[of], a)
}

// taskID is Dapr's ID of the task that a link is of; no task of Dapr's has that of endTask.
func taskID(of uint32) int32 { return int32(of - 1) } //nolint:gosec // it is meant to go round

// end takes the end of the chain, which the workflow had signed between the turn before and the one that bears it.
func (t *told) end(at int, e *protos.HistoryEvent) {
	links := t.reader.endIn(e, &t.memory)
	if links == nil {
		return
	}
	k := &task{id: taskID(endTask), name: endTimer, recorded: at, state: "answered", links: links}
	for i := at; i > 0 && k.scheduled == 0; i-- {
		if t.in.Events[i].Proto.GetWorkflowStarted() != nil {
			k.scheduled = i - 1
		}
	}
	t.tasks[k.id] = k
	t.order = append(t.order, k)
}

func (t *told) complete(at int, e *protos.TaskCompletedEvent) {
	k := t.tasks[e.GetTaskScheduledId()]
	if k == nil || k.recorded >= 0 {
		return
	}
	k.recorded = at
	o := outcomeOf(e.GetResult().GetValue())
	if o == nil {
		return
	}
	k.state, k.links = o.State, t.reader.read(&o.Links, &t.memory)
}

func (t *told) raise(at int, e *protos.EventRaisedEvent) {
	if !strings.HasPrefix(strings.ToLower(e.GetName()), approvalEvent) {
		return
	}
	envelope, err := receipt.DecodeEnvelope([]byte(e.GetInput().GetValue()))
	if err != nil {
		return // refused by the workflow too
	}
	if _, known := t.raised[envelope.PayloadDigest()]; !known {
		t.raised[envelope.PayloadDigest()] = at
	}
}
