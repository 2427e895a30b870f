// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/dapr/durabletask-go/workflow"
	"github.com/gowebpki/jcs"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/workflows/custody"
)

// asks waits until the instance asks for an approval that suits.
func (w *world) asks(id string, suits func(custody.Ask) bool) custody.Ask {
	w.t.Helper()
	var found custody.Ask
	require.Eventually(w.t, func() bool {
		meta, err := w.client.FetchWorkflowMetadata(w.t.Context(), id, workflow.WithFetchPayloads(true))
		if err != nil {
			return false
		}
		for _, ask := range custody.PendingApprovals(meta.CustomStatus.GetValue()) {
			if suits(ask) {
				found = ask
				return true
			}
		}
		return false
	}, time.Minute, 5*time.Millisecond)
	return found
}

func (w *world) pending(id string) custody.Ask {
	w.t.Helper()
	return w.asks(id, func(custody.Ask) bool { return true })
}

// refused waits until so many events were passed over.
func (w *world) refused(id string, events int) {
	w.t.Helper()
	w.asks(id, func(ask custody.Ask) bool { return ask.Refused == events })
}

// forged is an approval by an app, as its sidecar would sign it.
func (w *world) forged(t *testing.T, app string, ask custody.Ask) *receipt.Envelope {
	t.Helper()
	r := &receipt.Receipt{
		Caller:   receipt.Caller{SPIFFEID: w.sidecar.id(app), Proof: "sidecar"},
		Workflow: &receipt.Workflow{}, Outcome: receipt.Outcome{Status: receipt.StatusApproved},
	}
	require.NoError(t, json.Unmarshal(ask.Workflow, r.Workflow))
	r.Action = receipt.Action{Kind: "custody.approval", Name: r.Workflow.Step}
	canonical, err := jcs.Transform(ask.Statement)
	require.NoError(t, err)
	r.RequestDigest = receipt.Sum(canonical)
	for _, text := range ask.Prev {
		d, err := receipt.ParseDigest(text)
		require.NoError(t, err)
		r.Prev = append(r.Prev, d)
	}
	w.sidecar.mu.Lock()
	defer w.sidecar.mu.Unlock()
	return w.sidecar.sign(app, r)
}

// foreign is the approval with a signature that does not fit.
func (w *world) foreign(t *testing.T, good json.RawMessage) *receipt.Envelope {
	t.Helper()
	e, err := receipt.DecodeEnvelope(good)
	require.NoError(t, err)
	e.Signatures[0].Sig[0] ^= 1
	return e
}
