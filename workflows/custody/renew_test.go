// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/dapr/durabletask-go/workflow"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/workflows/custody"
)

// addLoop adds a workflow of two generations. The second charges what it is given.
func addLoop(t *testing.T, w *custody.Worker) {
	require.NoError(t, w.AddWorkflow("loop", func(ctx *custody.Context) (any, error) {
		var amount string
		if err := ctx.GetInput(&amount); err != nil {
			return nil, err
		}
		if amount == "" {
			if _, err := echo(ctx, "echo", "check"); err != nil {
				return nil, err
			}
			ctx.ContinueAsNew("12")
			return nil, nil
		}
		return echo(ctx, "charge", amount)
	}))
}

// given is the input of the last generation of an instance.
func (w *world) given(id string) []byte {
	w.t.Helper()
	history, err := w.client.GetInstanceHistory(w.t.Context(), id)
	require.NoError(w.t, err)
	for _, e := range history.Events {
		if e.GetExecutionStarted() != nil {
			return []byte(e.GetExecutionStarted().GetInput().GetValue())
		}
	}
	require.FailNow(w.t, "it has no start")
	return nil
}

// Who can start workflows cannot have one go on from a generation in another way than that signed: not with another input,
// nor as another generation, nor from another link.
func TestLaterGenerationIsNotForged(t *testing.T) {
	w := newWorld(t, func(w *custody.Worker) { addLoop(t, w) })
	w.run("loop", "l1", "", nil)
	signed := len(w.sidecar.signed())
	require.Equal(t, []string{"echo ok", "charge ok"}, steps(w.verified("l1", w.sidecar.signed())))
	good, charged := w.given("l1"), w.sidecar.calls("charge")
	attest := w.sidecar.other(t, good)
	for _, c := range []struct{ name, old, new, want string }{
		{"another input", `"value":"12"`, `"value":"9000"`, "states another input or generation"},
		{"no input", `,"value":"12"`, ``, "states another input or generation"},
		{"another generation", `"generation":1`, `"generation":2`, "it is of generation 0"},
		{"another start", `"started":"2`, `"started":"3`, "it is of the chain of instance"},
		{"another app", `ns/default/refunds`, `ns/default/fraud`, "it is of the chain of instance"},
		{"no links", `"links":`, `"other":`, "without what the one before signed last"},
		{"another link as head", `"heads":["sha256:`, `"heads":["sha256:` + attest[len("sha256:"):] + `","sha256:`, "without what the one before signed last"},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Contains(t, string(good), c.old)
			meta := w.again("l1", bytes.Replace(good, []byte(c.old), []byte(c.new), 1))
			require.Equal(t, "FAILED", meta.String())
			require.Contains(t, meta.FailureDetails.ErrorMessage, c.want)
			require.Equal(t, charged, w.sidecar.calls("charge"))
		})
	}
	// As it was signed, it is the same generation once more, and asks for the same steps.
	before := len(w.sidecar.signed())
	meta := w.again("l1", good)
	require.NotContains(t, meta.String(), "RUNNING")
	require.Equal(t, charged, w.sidecar.calls("charge"), "the guard knows the step")
	require.GreaterOrEqual(t, before, signed)
}

// other is the digest of a link that the input does not have as its head.
func (s *sidecar) other(t *testing.T, input []byte) string {
	for _, e := range s.signed() {
		if !bytes.Contains(input, []byte(e.Digest())) {
			return e.Digest()
		}
	}
	require.FailNow(t, "all links are heads")
	return ""
}

// again removes an instance and starts another of its ID, and waits for its end.
func (w *world) again(id string, input []byte) *workflow.WorkflowMetadata {
	w.t.Helper()
	require.NoError(w.t, w.client.PurgeWorkflowState(w.t.Context(), id))
	w.start("loop", id, json.RawMessage(input))
	return w.end(id)
}

// The last link of a generation is by the sidecar of the same app, and verifies.
func TestGenerationOfAnotherApp(t *testing.T) {
	w := newWorld(t, func(w *custody.Worker) { addLoop(t, w) })
	w.run("loop", "l1", "", nil)
	good := w.given("l1")
	for name, change := range map[string]func(r *receipt.Receipt){
		"signed by another app":         func(*receipt.Receipt) {},
		"of another app":                func(r *receipt.Receipt) { r.Workflow.App = "payments" },
		"another kind":                  func(r *receipt.Receipt) { r.Action.Kind = chain.KindAttest },
		"of another instance":           func(r *receipt.Receipt) { r.Workflow.Instance = "l2" },
		"of the chain of another start": func(r *receipt.Receipt) { r.Workflow.Chain.Started = r.Workflow.Chain.Started.Add(time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			var in map[string]json.RawMessage
			var carried map[string]json.RawMessage
			require.NoError(t, json.Unmarshal(good, &in))
			require.NoError(t, json.Unmarshal(in["custody.dev/chain"], &carried))
			forged := w.sidecar.forged(t, carried["links"], change)
			carried["links"] = json.RawMessage(`[{"digest":"` + forged.Digest() + `","envelope":` + string(forged.AppendJSON(nil)) + `}]`)
			carried["heads"] = json.RawMessage(`["` + forged.Digest() + `"]`)
			chained, err := json.Marshal(carried)
			require.NoError(t, err)
			charged := w.sidecar.calls("charge")
			meta := w.again("l1", []byte(`{"custody.dev/chain":`+string(chained)+`,"value":"12"}`))
			require.Equal(t, "FAILED", meta.String())
			require.Equal(t, charged, w.sidecar.calls("charge"))
		})
	}
}

// forged is the last of the links that are carried, changed and signed by the app payments.
func (s *sidecar) forged(t *testing.T, carried json.RawMessage, change func(*receipt.Receipt)) *receipt.Envelope {
	links, err := custody.ReadLinks(carried)
	require.NoError(t, err)
	e, err := receipt.DecodeEnvelope(links[len(links)-1].Envelope)
	require.NoError(t, err)
	r, err := e.UnsafeReceipt()
	require.NoError(t, err)
	r.Caller = receipt.Caller{SPIFFEID: s.id("payments"), Proof: "sidecar"}
	change(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	made := s.sign("payments", r)
	s.links = s.links[:len(s.links)-1] // nobody's sidecar did
	return made
}

// The children of a later generation have instance IDs of their own.
func TestChildrenOfGenerations(t *testing.T) {
	w := newWorld(t, func(w *custody.Worker) {
		require.NoError(t, w.AddWorkflow("parent", func(ctx *custody.Context) (any, error) {
			var n int
			if err := ctx.GetInput(&n); err != nil {
				return nil, err
			}
			one, two := custody.CallChild(ctx, "child", n), custody.CallChild(ctx, "child", -n)
			var first, second string
			if err := errors.Join(one.Await(&first), two.Await(&second)); err != nil {
				return nil, err
			}
			if n < 3 {
				ctx.ContinueAsNew(n + 1)
			}
			return []string{first, second}, nil
		}))
		require.NoError(t, w.AddWorkflow("child", func(ctx *custody.Context) (any, error) {
			return ctx.ID(), custody.Attest(ctx, "child", ctx.ID()).Await(nil)
		}))
	})
	var ids []string
	w.run("parent", "p1", 1, &ids)
	require.Equal(t, []string{"p1:g2:0000", "p1:g2:0001"}, ids)
	found := w.verified("p1", w.sidecar.signed())
	instances := map[string]bool{}
	for _, s := range found.Steps {
		if s.Name == "child" {
			instances[s.Instance] = true
		}
	}
	require.Len(t, instances, 6)
}
