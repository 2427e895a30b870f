// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package testkit

import (
	"bytes"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/dapr/durabletask-go/api/protos"
	"github.com/dapr/durabletask-go/backend/historysigning"
	"github.com/dapr/kit/crypto/spiffe/signer"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/dapr-custody/custody/internal/history"

	"github.com/dapr-custody/custody/internal/identity"
)

// History makes the rows of a workflow instance as daprd writes them, with Dapr's own signing packages. Each event is a
// millisecond after the one before.
type History struct {
	App, Namespace, Instance string
	// SVID signs what is saved; nil signs nothing.
	SVID *x509svid.SVID
	// At is the time of the last event.
	At time.Time

	tb       testing.TB
	inputs   map[int32]string
	names    map[int32]string
	events   [][]byte
	unsaved  int // the first event that is not signed yet
	rawSigs  [][]byte
	certs    []*protos.SigningCertificate
	external [][]byte
}

// NewHistory begins a history of an instance of the app whose SVID it is, at a time.
func NewHistory(tb testing.TB, svid *x509svid.SVID, instance string, at time.Time) *History {
	tb.Helper()
	namespace, app, ok := identity.App(svid.ID)
	require.True(tb, ok)
	return &History{
		App: app, Namespace: namespace, Instance: instance, SVID: svid, At: at, tb: tb,
		inputs: map[int32]string{}, names: map[int32]string{},
	}
}

// Event appends an event; its time is set.
func (h *History) Event(e *protos.HistoryEvent) {
	h.tb.Helper()
	h.At = h.At.Add(time.Millisecond)
	e.Timestamp = timestamppb.New(h.At)
	raw, err := historysigning.MarshalEvent(e)
	require.NoError(h.tb, err)
	h.events = append(h.events, raw)
}

// Turn appends the WorkflowStarted that each turn begins with.
func (h *History) Turn() {
	h.Event(&protos.HistoryEvent{EventId: -1, EventType: &protos.HistoryEvent_WorkflowStarted{
		WorkflowStarted: &protos.WorkflowStartedEvent{},
	}})
}

// Start appends the first turn with the start of the workflow.
func (h *History) Start(workflow string) { h.StartWith(workflow, `{}`) }

// StartWith is Start with an input.
func (h *History) StartWith(workflow, input string) {
	h.Turn()
	h.Event(&protos.HistoryEvent{EventId: -1, EventType: &protos.HistoryEvent_ExecutionStarted{
		ExecutionStarted: &protos.ExecutionStartedEvent{
			Name: workflow, WorkflowInstance: &protos.WorkflowInstance{InstanceId: h.Instance}, Input: wrapperspb.String(input),
		},
	}})
}

// Schedule appends an activity; app is "" for one of the own app.
func (h *History) Schedule(id int32, activity, input, app string) {
	h.inputs[id], h.names[id] = input, activity
	h.Event(&protos.HistoryEvent{EventId: id, Router: h.router(app), EventType: &protos.HistoryEvent_TaskScheduled{
		TaskScheduled: &protos.TaskScheduledEvent{Name: activity, Input: wrapperspb.String(input)},
	}})
}

// Complete appends the result of an activity, attested by the SVID; nil attests nothing.
func (h *History) Complete(id int32, output string, by *x509svid.SVID) {
	h.tb.Helper()
	done := &protos.TaskCompletedEvent{TaskScheduledId: id, Result: wrapperspb.String(output)}
	if by != nil {
		attestation, der, err := historysigning.BuildActivityAttestation(signer.New(by, nil), historysigning.ActivityAttestationInput{
			ParentInstanceId: h.Instance, ParentTaskScheduledId: id, ActivityName: h.names[id],
			Input: wrapperspb.String(h.inputs[id]), Output: done.Result,
			TerminalStatus: protos.ActivityTerminalStatus_ACTIVITY_TERMINAL_STATUS_COMPLETED,
		})
		require.NoError(h.tb, err)
		done.Attestation = attestation
		h.absorb(der)
	}
	h.Event(&protos.HistoryEvent{EventId: -1, EventType: &protos.HistoryEvent_TaskCompleted{TaskCompleted: done}})
}

// Timer appends the creation of a timer.
func (h *History) Timer(id int32, name string) {
	h.Event(&protos.HistoryEvent{EventId: id, EventType: &protos.HistoryEvent_TimerCreated{
		TimerCreated: &protos.TimerCreatedEvent{Name: &name, FireAt: timestamppb.New(h.At)},
	}})
}

// Child appends a child workflow.
func (h *History) Child(id int32, workflow, instance, input, app string) {
	h.inputs[id] = input
	h.Event(&protos.HistoryEvent{EventId: id, Router: h.router(app), EventType: &protos.HistoryEvent_ChildWorkflowInstanceCreated{
		ChildWorkflowInstanceCreated: &protos.ChildWorkflowInstanceCreatedEvent{
			Name: workflow, InstanceId: instance, Input: wrapperspb.String(input),
		},
	}})
}

// ChildFailed appends the failure of a child workflow, attested by the SVID.
func (h *History) ChildFailed(id int32, message string, by *x509svid.SVID) {
	h.tb.Helper()
	failed := &protos.ChildWorkflowInstanceFailedEvent{
		TaskScheduledId: id, FailureDetails: &protos.TaskFailureDetails{ErrorType: "E", ErrorMessage: message},
	}
	attestation, der, err := historysigning.BuildChildAttestation(signer.New(by, nil), historysigning.ChildAttestationInput{
		ParentInstanceId: h.Instance, ParentTaskScheduledId: id, Input: wrapperspb.String(h.inputs[id]),
		FailureDetails: failed.FailureDetails, TerminalStatus: protos.TerminalStatus_TERMINAL_STATUS_FAILED,
	})
	require.NoError(h.tb, err)
	failed.Attestation = attestation
	h.absorb(der)
	h.Event(&protos.HistoryEvent{EventId: -1, EventType: &protos.HistoryEvent_ChildWorkflowInstanceFailed{
		ChildWorkflowInstanceFailed: failed,
	}})
}

// Raise appends an external event.
func (h *History) Raise(name, input string) {
	h.Event(&protos.HistoryEvent{EventId: -1, EventType: &protos.HistoryEvent_EventRaised{
		EventRaised: &protos.EventRaisedEvent{Name: name, Input: wrapperspb.String(input)},
	}})
}

// End appends the completion of the workflow.
func (h *History) End(output string) {
	h.end(&protos.ExecutionCompletedEvent{
		WorkflowStatus: protos.OrchestrationStatus_ORCHESTRATION_STATUS_COMPLETED, Result: wrapperspb.String(output),
	})
}

// Tampered appends the mark that Dapr leaves where it finds tampering.
func (h *History) Tampered(message string) {
	h.end(&protos.ExecutionCompletedEvent{
		WorkflowStatus: protos.OrchestrationStatus_ORCHESTRATION_STATUS_FAILED,
		FailureDetails: &protos.TaskFailureDetails{ErrorType: history.TamperedErrorType, ErrorMessage: message},
	})
}

func (h *History) end(e *protos.ExecutionCompletedEvent) {
	h.Event(&protos.HistoryEvent{EventId: -1, EventType: &protos.HistoryEvent_ExecutionCompleted{ExecutionCompleted: e}})
}

func (h *History) router(app string) *protos.TaskRouter {
	if app == "" {
		return nil
	}
	return &protos.TaskRouter{SourceAppID: h.App, TargetAppID: &app}
}

func (h *History) absorb(der []byte) {
	for _, known := range h.external {
		if bytes.Equal(known, der) {
			return
		}
	}
	h.external = append(h.external, der)
}

// Save signs the events since the last save.
func (h *History) Save() {
	h.tb.Helper()
	if h.SVID == nil {
		return
	}
	var previous []byte
	if n := len(h.rawSigs); n > 0 {
		previous = h.rawSigs[n-1]
	}
	signed, err := historysigning.Sign(signer.New(h.SVID, nil), historysigning.SignOptions{
		RawEvents: h.events[h.unsaved:], StartEventIndex: uint64(h.unsaved), PreviousSignatureRaw: previous, ExistingCerts: h.certs,
	})
	require.NoError(h.tb, err)
	if signed.NewCert != nil {
		h.certs = append(h.certs, signed.NewCert)
	}
	h.rawSigs = append(h.rawSigs, signed.RawSignature)
	h.unsaved = len(h.events)
}

// Signatures gives the values of the signature rows.
func (h *History) Signatures() [][]byte { return h.rawSigs }

// Copy gives a history that goes another way from here.
func (h *History) Copy() *History {
	c := *h
	c.inputs, c.names = maps.Clone(h.inputs), maps.Clone(h.names)
	c.events = append([][]byte(nil), h.events...)
	c.rawSigs = append([][]byte(nil), h.rawSigs...)
	c.certs = append([]*protos.SigningCertificate(nil), h.certs...)
	c.external = append([][]byte(nil), h.external...)
	return &c
}

// Rows gives what the store has. The counts are those of the rows.
func (h *History) Rows() history.Rows {
	h.tb.Helper()
	rows := map[string][]byte{}
	put := func(prefix string, i int, value []byte) { rows[fmt.Sprintf("%s-%06d", prefix, i)] = bytes.Clone(value) }
	marshal := func(m proto.Message) []byte {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		require.NoError(h.tb, err)
		return b
	}
	for i, raw := range h.events {
		put("history", i, raw)
	}
	for i, raw := range h.rawSigs {
		put("signature", i, raw)
	}
	for i, c := range h.certs {
		put("sigcert", i, marshal(c))
	}
	for i, der := range h.external {
		put("ext-sigcert", i, marshal(&protos.ExternalSigningCertificate{Digest: historysigning.CertDigest(der), Certificate: der}))
	}
	rows["metadata"] = marshal(&protos.BackendWorkflowStateMetadata{
		HistoryLength: uint64(len(h.events)), Generation: 1, SignatureLength: uint64(len(h.rawSigs)),
		SigningCertificateLength: uint64(len(h.certs)), ExternalSigningCertificateLength: uint64(len(h.external)),
	})
	return history.Rows{App: h.App, Namespace: h.Namespace, Instance: h.Instance, Rows: rows}
}
