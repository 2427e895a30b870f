// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/linkpack"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/workflows/custody"
)

// ended gives the end of the chain that a timer of the history bears, nil where none does, and how many activities have
// made a statement.
func (w *world) ended(id string) (end *receipt.Envelope, statements int) {
	w.t.Helper()
	history, err := w.client.GetInstanceHistory(w.t.Context(), id)
	require.NoError(w.t, err)
	memory := &linkpack.Memory{}
	for _, e := range history.Events {
		if text, ok := strings.CutPrefix(e.GetTimerCreated().GetName(), "custody.end "); ok {
			last, err := memory.Read(text)
			require.NoError(w.t, err)
			require.Len(w.t, last.Links, 1)
			require.Empty(w.t, last.Borne, "results before have the certificates")
			require.Nil(w.t, end)
			end = last.Links[0]
		}
		if result := e.GetTaskCompleted().GetResult().GetValue(); result != "" {
			var out struct {
				Links string `json:"links"`
			}
			require.NoError(w.t, json.Unmarshal([]byte(result), &out))
			read, err := memory.Read(out.Links)
			require.NoError(w.t, err)
			memory.Learn(read)
		}
		if e.GetTaskScheduled().GetName() == "custody.state" {
			statements++
		}
	}
	return end, statements
}

func addOrder(t *testing.T, w *custody.Worker) {
	require.NoError(t, w.AddWorkflow("refund", func(ctx *custody.Context) (any, error) {
		if err := custody.Attest(ctx, "received", 1).Await(nil); err != nil {
			return nil, err
		}
		return echo(ctx, "charge", "x")
	}))
}

// The end of a chain takes no turn, and stands in the history.
func TestEndTakesNoTurn(t *testing.T) {
	w := newWorld(t, func(w *custody.Worker) { addOrder(t, w) })
	w.run("refund", "r1", nil, nil)
	links := w.sidecar.signed()
	w.verified("r1", links)
	end, statements := w.ended("r1")
	require.NotNil(t, end)
	require.Equal(t, links[len(links)-1].Digest(), end.Digest())
	require.Equal(t, 1, statements)
}

// Where the sidecar does not answer at once an activity ends the chain, and the same step has the same link.
func TestEndInAnActivity(t *testing.T) {
	for _, c := range []struct {
		name string
		// signs says that the sidecar has signed the end when it did not answer.
		signs bool
	}{{"refused", false}, {"answer lost", true}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, func(w *custody.Worker) { addOrder(t, w) })
			var asked atomic.Int32
			w.sidecar.attests = func(body []byte) bool {
				if !bytes.Contains(body, []byte("custody.end")) || asked.Add(1) > 1 {
					return true
				}
				if c.signs {
					w.sidecar.sayQuietly(body)
				}
				return false
			}
			w.run("refund", "r1", nil, nil)
			require.EqualValues(t, 2, asked.Load())
			w.verified("r1", w.sidecar.signed())
			end, statements := w.ended("r1")
			require.Nil(t, end)
			require.Equal(t, 2, statements)
		})
	}
}

// A chain without a link, whose start is not known, is ended by an activity.
func TestEndOfAWorkflowWithoutSteps(t *testing.T) {
	w := newWorld(t, func(w *custody.Worker) {
		require.NoError(t, w.AddWorkflow("nothing", func(*custody.Context) (any, error) { return nil, errors.New("nothing to do") }))
	})
	w.start("nothing", "n1", nil)
	require.Contains(t, w.end("n1").FailureDetails.ErrorMessage, "nothing to do")
	links := w.sidecar.signed()
	require.Len(t, links, 1)
	w.verified("n1", links)
	_, statements := w.ended("n1")
	require.Equal(t, 1, statements)
}
