// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package history

import (
	"errors"
	"strconv"

	"github.com/dapr/durabletask-go/api/protos"
	"github.com/dapr/durabletask-go/backend/historysigning"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

var errStatus = errors.New("it states another outcome than the event")

func span(first, last int) string {
	if first == last {
		return strconv.Itoa(first)
	}
	return strconv.Itoa(first) + " to " + strconv.Itoa(last)
}

// result is what a task came back with, whether it was an activity or a child workflow.
type result struct {
	task     int32
	output   *wrapperspb.StringValue
	failure  *protos.TaskFailureDetails
	activity *protos.ActivityCompletionAttestation
	child    *protos.ChildCompletionAttestation
	isChild  bool
	failed   bool
}

func resultOf(p *protos.HistoryEvent) *result {
	switch body := p.GetEventType().(type) {
	case *protos.HistoryEvent_TaskCompleted:
		e := body.TaskCompleted
		return &result{task: e.GetTaskScheduledId(), output: e.GetResult(), activity: e.GetAttestation()}
	case *protos.HistoryEvent_TaskFailed:
		e := body.TaskFailed
		return &result{task: e.GetTaskScheduledId(), failure: e.GetFailureDetails(), activity: e.GetAttestation(), failed: true}
	case *protos.HistoryEvent_ChildWorkflowInstanceCompleted:
		e := body.ChildWorkflowInstanceCompleted
		return &result{task: e.GetTaskScheduledId(), output: e.GetResult(), child: e.GetAttestation(), isChild: true}
	case *protos.HistoryEvent_ChildWorkflowInstanceFailed:
		e := body.ChildWorkflowInstanceFailed
		return &result{
			task: e.GetTaskScheduledId(), failure: e.GetFailureDetails(), child: e.GetAttestation(), isChild: true, failed: true,
		}
	}
	return nil
}

// attestations verifies what activities and child workflows attested, and that they are those that were asked.
func (v *verifier) attestations() {
	tasks := map[int32]*protos.HistoryEvent{}
	for i, e := range v.in.Events {
		switch e.Proto.GetEventType().(type) {
		case *protos.HistoryEvent_TaskScheduled, *protos.HistoryEvent_ChildWorkflowInstanceCreated:
			tasks[e.Proto.GetEventId()] = e.Proto
		}
		if r := resultOf(e.Proto); r != nil {
			v.attestation(i, r, tasks[r.task])
		}
	}
}

func (v *verifier) attestation(i int, r *result, task *protos.HistoryEvent) {
	if task == nil || (task.GetChildWorkflowInstanceCreated() != nil) != r.isChild {
		v.eventFault(i, TaskUnknown, "it is the result of task %d, which the history does not schedule before", r.task)
		return
	}
	if r.activity == nil && r.child == nil {
		if len(v.in.Signatures) > 0 || v.o.Signed {
			v.eventFault(i, AttestationMissing, "nobody attested the result of task %d", r.task)
		}
		return
	}
	digest := r.certificateDigest()
	der := v.external(digest)
	if der == nil {
		v.eventFault(i, Certificate, "the certificate of the attestation is missing")
		return
	}
	if err := v.attested(r, task, der); err != nil {
		v.eventFault(i, Attestation, "that of task %d does not hold: %s", r.task, err)
		return
	}
	if fault := v.checks.verify(der, v.in.Events[i].Time()); fault != nil {
		v.eventFault(i, fault.Kind, "of the attestation: %s", fault.Detail)
		return
	}
	id, err := v.checks.identity(der)
	if err != nil {
		v.eventFault(i, Certificate, "of the attestation: %s", err)
		return
	}
	v.report.Events[i].Attested = id
	app, namespace := v.in.App, v.in.Namespace
	if target := task.GetRouter().GetTargetAppID(); target != "" {
		app = target
	}
	if target := task.GetRouter().GetTargetAppNamespace(); target != "" {
		namespace = target
	}
	if td := v.report.TrustDomain; !names(id, namespace, app) || !td.IsZero() && id.TrustDomain() != td {
		v.eventFault(i, AttestationSigner, "task %d was given to app %s in namespace %s, and its result is attested by %s",
			r.task, app, namespace, id)
	}
}

// external finds a certificate by the digest that an attestation names. The digest that stands beside it is not asked.
func (v *verifier) external(digest []byte) []byte {
	if v.checks.external == nil {
		v.checks.external = map[string][]byte{}
		for _, der := range append(append([][]byte(nil), v.in.Certificates...), v.in.External...) {
			v.checks.external[string(historysigning.CertDigest(der))] = der
		}
	}
	return v.checks.external[string(digest)]
}

func (r *result) certificateDigest() []byte {
	if r.isChild {
		p := &protos.ChildCompletionAttestationPayload{}
		if proto.Unmarshal(r.child.GetPayload(), p) != nil {
			return nil
		}
		return p.GetSignerCertDigest()
	}
	p := &protos.ActivityCompletionAttestationPayload{}
	if proto.Unmarshal(r.activity.GetPayload(), p) != nil {
		return nil
	}
	return p.GetSignerCertDigest()
}

// attested asks Dapr's verifier about everything but the certificate, which is verified more strictly here.
func (v *verifier) attested(r *result, task *protos.HistoryEvent, der []byte) error {
	if r.isChild {
		p, err := historysigning.VerifyChildAttestation(historysigning.VerifyChildOptions{
			Attestation: r.child, SignerCertDER: der,
			ExpectedParentInstanceId: v.in.ID, ExpectedParentTaskScheduledId: r.task,
			ClaimedInput: task.GetChildWorkflowInstanceCreated().GetInput(), ClaimedOutput: r.output, ClaimedFailure: r.failure,
			Signer: v.checks.signer, ChainOfTrustVerifiedExternally: true,
		})
		return status(err, r.failed == (p.GetTerminalStatus() == protos.TerminalStatus_TERMINAL_STATUS_FAILED))
	}
	p, err := historysigning.VerifyActivityAttestation(historysigning.VerifyActivityOptions{
		Attestation: r.activity, SignerCertDER: der,
		ExpectedParentInstanceId: v.in.ID, ExpectedParentTaskScheduledId: r.task,
		ExpectedActivityName: task.GetTaskScheduled().GetName(), ClaimedInput: task.GetTaskScheduled().GetInput(),
		ClaimedOutput: r.output, ClaimedFailure: r.failure,
		Signer: v.checks.signer, ChainOfTrustVerifiedExternally: true,
	})
	return status(err, r.failed == (p.GetTerminalStatus() == protos.ActivityTerminalStatus_ACTIVITY_TERMINAL_STATUS_FAILED))
}

func status(err error, fits bool) error {
	if err == nil && !fits {
		return errStatus
	}
	return err
}
