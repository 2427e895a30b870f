// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package history

import (
	"strings"
	"time"

	"github.com/dapr/durabletask-go/api/protos"
)

// TamperedErrorType is what Dapr writes as the type of the failure into its mark of tampering.
const TamperedErrorType = "DAPR_WORKFLOW_HISTORY_TAMPERED"

// IsTamperMarker says whether an event is the mark that Dapr appends where it finds tampering.
func IsTamperMarker(e *protos.HistoryEvent) bool {
	done := e.GetExecutionCompleted()
	return done.GetWorkflowStatus() == protos.OrchestrationStatus_ORCHESTRATION_STATUS_FAILED &&
		done.GetFailureDetails().GetErrorType() == TamperedErrorType
}

const noTask = -1

// describe reads the events into the report.
func (v *verifier) describe() {
	tasks := map[int32]*EventReport{}
	v.report.Events = make([]EventReport, len(v.in.Events))
	if len(v.in.Events) > 0 {
		v.report.Status = "RUNNING"
	}
	for i, event := range v.in.Events {
		e := &v.report.Events[i]
		*e = EventReport{Index: i, Time: event.Time(), Task: noTask, App: v.in.App}
		if event.Proto == nil {
			continue
		}
		e.read(event.Proto, tasks)
		if event.Proto.GetExecutionStarted() != nil {
			v.report.Name = e.Name
		}
		if status := statusOf(event.Proto); status != "" {
			v.report.Status = status
		}
	}
}

// read gives an event its type, name, task and app. Results take name and app from the task, which tasks holds by ID.
func (e *EventReport) read(p *protos.HistoryEvent, tasks map[int32]*EventReport) {
	e.Type = eventType(p)
	if target := p.GetRouter().GetTargetAppID(); target != "" {
		e.App = target
	}
	schedule := func(name string) {
		e.Name, e.Task = name, int(p.GetEventId())
		tasks[p.GetEventId()] = e
	}
	result := func(task int32, failure *protos.TaskFailureDetails) {
		e.Task = int(task)
		if of := tasks[task]; of != nil {
			e.Name, e.App = of.Name, of.App
		}
		e.Detail = failureText(failure)
	}
	switch body := p.GetEventType().(type) {
	case *protos.HistoryEvent_ExecutionStarted:
		e.Name, e.App = body.ExecutionStarted.GetName(), e.origin(p, body.ExecutionStarted)
	case *protos.HistoryEvent_ExecutionCompleted:
		e.Detail = statusText(body.ExecutionCompleted.GetWorkflowStatus())
	case *protos.HistoryEvent_TaskScheduled:
		schedule(body.TaskScheduled.GetName())
	case *protos.HistoryEvent_TaskCompleted:
		result(body.TaskCompleted.GetTaskScheduledId(), nil)
	case *protos.HistoryEvent_TaskFailed:
		result(body.TaskFailed.GetTaskScheduledId(), body.TaskFailed.GetFailureDetails())
	case *protos.HistoryEvent_ChildWorkflowInstanceCreated:
		schedule(body.ChildWorkflowInstanceCreated.GetName())
		e.Detail = body.ChildWorkflowInstanceCreated.GetInstanceId()
	case *protos.HistoryEvent_ChildWorkflowInstanceCompleted:
		result(body.ChildWorkflowInstanceCompleted.GetTaskScheduledId(), nil)
	case *protos.HistoryEvent_ChildWorkflowInstanceFailed:
		result(body.ChildWorkflowInstanceFailed.GetTaskScheduledId(), body.ChildWorkflowInstanceFailed.GetFailureDetails())
	case *protos.HistoryEvent_DetachedWorkflowInstanceCreated:
		e.Detail = body.DetachedWorkflowInstanceCreated.GetInstanceId()
	case *protos.HistoryEvent_TimerCreated:
		schedule(timerName(body.TimerCreated.GetName()))
		e.Detail = body.TimerCreated.GetFireAt().AsTime().UTC().Format(time.RFC3339)
	case *protos.HistoryEvent_TimerFired:
		result(body.TimerFired.GetTimerId(), nil)
	case *protos.HistoryEvent_EventRaised:
		e.Name = body.EventRaised.GetName()
	case *protos.HistoryEvent_EventSent:
		e.Name, e.Detail = body.EventSent.GetName(), body.EventSent.GetInstanceId()
	}
}

// timerName leaves out the link that the name of a timer bears at the end of a chain (docs/chain.md).
func timerName(name string) string {
	const end = "custody.end"
	if strings.HasPrefix(name, end+" links") {
		return end
	}
	return name
}

// origin is the app that started the workflow: that of the parent, as the starter states it, or the own.
func (e *EventReport) origin(p *protos.HistoryEvent, started *protos.ExecutionStartedEvent) string {
	if parent := started.GetParentInstance().GetAppID(); parent != "" {
		return parent
	}
	if source := p.GetRouter().GetSourceAppID(); source != "" {
		return source
	}
	return e.App
}

// eventType is the name of the member that is set, with a capital, which is how Dapr prints it.
func eventType(p *protos.HistoryEvent) string {
	m := p.ProtoReflect()
	field := m.WhichOneof(m.Descriptor().Oneofs().ByName("eventType"))
	if field == nil {
		return ""
	}
	name := string(field.Name())
	return strings.ToUpper(name[:1]) + name[1:]
}

func statusText(s protos.OrchestrationStatus) string {
	return strings.TrimPrefix(s.String(), "ORCHESTRATION_STATUS_")
}

func failureText(f *protos.TaskFailureDetails) string {
	switch {
	case f == nil:
		return ""
	case f.GetErrorType() == "":
		return f.GetErrorMessage()
	}
	return f.GetErrorType() + ": " + f.GetErrorMessage()
}
