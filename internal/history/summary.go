// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package history

import (
	"time"

	"github.com/dapr/durabletask-go/api/protos"
	"google.golang.org/protobuf/proto"
)

// Summary is what a few rows tell of an instance. Nothing in it is verified.
type Summary struct {
	// Name is the workflow's; Status what the last event says of how it stands. Either is "" if it is not known.
	Name, Status string
	// Started and Updated are the times of the first and the last event, zero if they are not known.
	Started, Updated   time.Time
	Events, Signatures uint64
}

// Summarize reads the rows that SummaryRows names. What is unreadable is left out.
func Summarize(r Rows) Summary {
	md := &protos.BackendWorkflowStateMetadata{}
	if proto.Unmarshal(r.Rows[rowMetadata], md) != nil {
		return Summary{}
	}
	s := Summary{Events: md.GetHistoryLength(), Signatures: md.GetSignatureLength()}
	for _, row := range SummaryRows(r.Rows[rowMetadata])[1:] {
		p := &protos.HistoryEvent{}
		if proto.Unmarshal(r.Rows[row], p) != nil || p.GetEventType() == nil {
			continue
		}
		e := Event{Proto: p}
		if s.Started.IsZero() {
			s.Started = e.Time()
		}
		s.Updated, s.Status = e.Time(), "RUNNING"
		if started := p.GetExecutionStarted(); started != nil {
			s.Name = started.GetName()
		}
		if status := statusOf(p); status != "" {
			s.Status = status
		}
	}
	return s
}

// SummaryRows names the rows that tell how an instance began and stands, by the value of its metadata row.
func SummaryRows(metadata []byte) []string {
	names := []string{rowMetadata}
	md := &protos.BackendWorkflowStateMetadata{}
	if proto.Unmarshal(metadata, md) != nil {
		return names
	}
	const first = 3 // the workflow's start is among them
	for i := range min(md.GetHistoryLength(), first) {
		names = append(names, numbered(rowHistory, int(i)))
	}
	if n := md.GetHistoryLength(); n > first && n <= MaxRows {
		names = append(names, numbered(rowHistory, int(n)-1))
	}
	return names
}

// statusOf gives the status that an event changes the workflow to, or "".
func statusOf(p *protos.HistoryEvent) string {
	switch body := p.GetEventType().(type) {
	case *protos.HistoryEvent_ExecutionCompleted:
		return statusText(body.ExecutionCompleted.GetWorkflowStatus())
	case *protos.HistoryEvent_ExecutionTerminated:
		return "TERMINATED"
	case *protos.HistoryEvent_ExecutionSuspended:
		return "SUSPENDED"
	case *protos.HistoryEvent_ExecutionResumed:
		return "RUNNING"
	}
	return ""
}
