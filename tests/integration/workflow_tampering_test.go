// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dapr/durabletask-go/workflow"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"
)

var updateTampering = flag.Bool("update", false, "write what Dapr says of tampering anew, here and in docs/chain.md")

// The app whose store is Dapr's own, without anything of Custody, and the one whose store is state.custody before the same.
const (
	plainApp     = "fraud"
	witnessedApp = "intake"
)

// tampering is one way to change the rows of an instance.
type tampering struct {
	name, says string
	do         func(t *testing.T, s *tampered)
	// alone are the faults that Custody has to find in what the store has, anchored those that it has to find where
	// state.custody was the store.
	alone, anchored []string
}

// tampered is an instance to tamper with.
type tampered struct {
	rows, earlier, other stored
	oldKey               func(until time.Time) *x509svid.SVID
}

func (s *tampered) rollBack(*testing.T)   { s.rows = s.earlier.clone() }
func (s *tampered) swap(*testing.T)       { s.rows = s.other.clone() }
func (s *tampered) flip(t *testing.T)     { s.rows.flip(t) }
func (s *tampered) truncate(t *testing.T) { s.rows.truncate(t) }
func (s *tampered) mark(t *testing.T)     { s.rows.mark(t) }
func (s *tampered) unsign(t *testing.T)   { s.rows.unsign(t) }

func tamperings() []tampering {
	do := func(all ...func(*tampered, *testing.T)) func(*testing.T, *tampered) {
		return func(t *testing.T, s *tampered) {
			t.Helper()
			for _, one := range all {
				one(s, t)
			}
		}
	}
	without := func(prefix string) func(*testing.T, *tampered) {
		return func(_ *testing.T, s *tampered) { delete(s.rows, s.rows.last(prefix)) }
	}
	return []tampering{
		{"untouched", "nothing", do(), nil, nil},
		{"changed", "a bit of a history row", do((*tampered).flip), []string{"attestation", "events-changed"}, []string{"attestation", "events-changed"}},
		{"no-history-row", "the last history row deleted", without("history"), []string{"events-missing", "row-missing", "unsigned"}, []string{"events-missing", "row-missing", "unsigned"}},
		{"no-signature-row", "the last signature row deleted", without("signature"), []string{"row-missing", "unsigned"}, []string{"rolled-back", "row-missing", "unsigned"}},
		{"unsigned", "all signatures deleted, counts made to fit", do((*tampered).unsign), []string{"certificate"}, []string{"certificate", "rolled-back", "unsigned"}},
		{"truncated", "the end cut off, counts made to fit", do((*tampered).truncate), nil, []string{"rolled-back"}},
		{"forged", "cut off, changed, signed by a stolen older key", func(t *testing.T, s *tampered) {
			t.Helper()
			s.truncate(t)
			s.rows.forge(t, s.oldKey)
		}, nil, []string{"replaced", "rolled-back"}},
		{"marked", "the unsigned mark of tampering appended", do((*tampered).mark), []string{"tamper-marker"}, []string{"tamper-marker"}},
		{
			"changed-and-marked", "a bit of a history row, and the mark", do((*tampered).flip, (*tampered).mark),
			[]string{"attestation", "events-changed", "tamper-marker"},
			[]string{"attestation", "events-changed", "tamper-marker"},
		},
		{"rolled-back", "an earlier copy put back", do((*tampered).rollBack), nil, []string{"rolled-back"}},
		{"swapped", "the rows of another instance", do((*tampered).swap), []string{"attestation", "other-instance"}, []string{"attestation", "other-instance", "replaced"}},
		{"purged", "all rows deleted", func(_ *testing.T, s *tampered) { clear(s.rows) }, []string{"no-rows"}, []string{"no-rows", "purged"}},
	}
}

// TestTampering does each of them to the stores of sidecars that run, to workflows that have ended and to some that wait,
// while no worker is there, so that Dapr has to read the rows again. What Custody has to find is said here. What Dapr says
// is in testdata/tampering.md, and is not ours: the test fails where it changes.
func TestTampering(t *testing.T) {
	t.Parallel()
	w := startWorkflows(t)
	var lines []string
	views := map[string]*tamperedApp{}
	for _, name := range []string{plainApp, witnessedApp} {
		a := w.tamperedApp(name)
		a.prepare(t)
		a.leave(t)
		a.tamper(t)
		views[name] = a
	}
	plain, witnessed := views[plainApp], views[witnessedApp]
	said := map[string][2][]string{}
	for _, id := range plain.ids() {
		said[id] = [2][]string{plain.historyFaults(t, id), witnessed.chainFaults(t, id)}
	}
	dapr := plain.asked(t)
	for _, tt := range tamperings() {
		for _, id := range []string{"ended-" + tt.name, "waiting-" + tt.name} {
			t.Run(id, func(t *testing.T) {
				require.Equal(t, tt.alone, said[id][0], "the history alone")
				require.Equal(t, tt.anchored, said[id][1], "with the anchors of state.custody")
			})
		}
		cells := []string{tt.says, dapr["ended-"+tt.name], dapr["waiting-"+tt.name], verdict(tt.alone), verdict(tt.anchored)}
		lines = append(lines, "| "+strings.Join(cells, " | ")+" |")
	}
	requireTable(t, lines)
}

func verdict(faults []string) string {
	if len(faults) == 0 {
		return "good"
	}
	return "`" + strings.Join(faults, "`, `") + "`"
}

const tamperingHead = `| done to the rows | Dapr 1.18.2, of one that has ended | Dapr 1.18.2, of one that waits | Custody, of the rows alone | Custody, with the anchors of state.custody |
|---|---|---|---|---|
`

// requireTable compares with what was seen before, which docs/chain.md shows.
func requireTable(t *testing.T, lines []string) {
	t.Helper()
	table := tamperingHead + strings.Join(lines, "\n") + "\n"
	golden, docs := filepath.Join("testdata", "tampering.md"), filepath.Join("..", "..", "docs", "chain.md")
	text, err := os.ReadFile(docs)
	require.NoError(t, err)
	if *updateTampering {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		old, err := os.ReadFile(golden)
		if err == nil {
			require.NoError(t, os.WriteFile(docs, []byte(strings.Replace(string(text), string(old), table, 1)), 0o600))
		}
		require.NoError(t, os.WriteFile(golden, []byte(table), 0o600))
		return
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), table, "Dapr says something else than it did; run with -update, and look at what changed")
	require.Contains(t, string(text), table, "docs/chain.md shows another table")
}

// tamperedApp is an app with one instance for each tampering and state, and one beside each.
type tamperedApp struct {
	*workflows

	name, database string
	client         *workflow.Client
	stop           context.CancelFunc
	earlier        map[string]stored
}

func (w *workflows) tamperedApp(name string) *tamperedApp {
	a := &tamperedApp{workflows: w, name: name, database: w.database(), earlier: map[string]stored{}}
	if name == plainApp {
		a.database = w.others()
	}
	return a
}

// ids are the instances that are tampered with.
func (a *tamperedApp) ids() []string {
	var ids []string
	for _, state := range []string{"ended", "waiting"} {
		for _, tt := range tamperings() {
			ids = append(ids, state+"-"+tt.name)
		}
	}
	return ids
}

// otherThan is the instance whose rows are put in the place of those that are swapped.
func otherThan(id string) string { return strings.Replace(id, "-swapped", "-other", 1) }

func (a *tamperedApp) join(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	a.stop = stop
	a.client = a.workerUntil(ctx, a.name, func(r *workflow.Registry) {
		activity("check", "clean")(r)
		require.NoError(t, r.AddWorkflowN("small", small))
	})
}

// small is a workflow of two checks, with an event after each.
func small(ctx *workflow.WorkflowContext) (any, error) {
	var answers []string
	for _, event := range []string{"first", "second"} {
		var answer string
		if err := ctx.CallActivity("check", workflow.WithActivityInput(event)).Await(nil); err != nil {
			return nil, err
		}
		if err := ctx.WaitForExternalEvent(event, -1).Await(&answer); err != nil {
			return nil, err
		}
		answers = append(answers, answer)
	}
	return answers, nil
}

// leave ends the worker, and waits until the sidecar has noticed.
func (a *tamperedApp) leave(t *testing.T) {
	t.Helper()
	a.stop()
	require.Eventually(t, func() bool {
		_, body := a.get(t, "/v1.0/metadata")
		var metadata struct {
			Workflows struct{ ConnectedWorkers int }
		}
		require.NoError(t, json.Unmarshal(body, &metadata))
		return metadata.Workflows.ConnectedWorkers == 0
	}, time.Minute, 50*time.Millisecond)
}

// prepare brings all instances to where they are tampered with.
func (a *tamperedApp) prepare(t *testing.T) {
	t.Helper()
	a.join(t)
	db := openStore(t, a.database)
	for _, id := range append(a.ids(), "ended-other", "waiting-other") {
		_, err := a.client.ScheduleWorkflow(t.Context(), "small", workflow.WithInstanceID(id))
		require.NoError(t, err)
		a.checked(t, id, 1)
		a.earlier[id] = rowsOf(t, db, rowPrefix(a.name, id))
		a.raise(t, id, "first")
		a.checked(t, id, 2)
		if strings.HasPrefix(id, "ended") {
			a.raise(t, id, "second")
			done, err := a.client.WaitForWorkflowCompletion(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, workflow.StatusCompleted, done.RuntimeStatus)
		}
	}
}

func (a *tamperedApp) raise(t *testing.T, id, event string) {
	t.Helper()
	require.NoError(t, a.client.RaiseEvent(t.Context(), id, event, workflow.WithEventPayload(event)))
}

// checked waits until as many checks are in the stored history.
func (a *tamperedApp) checked(t *testing.T, id string, checks int) {
	t.Helper()
	require.Eventually(t, func() bool {
		history, err := a.client.GetInstanceHistory(t.Context(), id)
		if err != nil {
			return false // It may not have begun.
		}
		done := 0
		for _, e := range history.Events {
			if e.GetTaskCompleted() != nil {
				done++
			}
		}
		return done == checks
	}, time.Minute, 10*time.Millisecond, id)
}

func (a *tamperedApp) tamper(t *testing.T) {
	t.Helper()
	db := openStore(t, a.database)
	for _, state := range []string{"ended", "waiting"} {
		for _, tt := range tamperings() {
			id := state + "-" + tt.name
			prefix := rowPrefix(a.name, id)
			s := &tampered{
				rows: rowsOf(t, db, prefix), earlier: a.earlier[id], other: rowsOf(t, db, rowPrefix(a.name, otherThan(id))),
				oldKey: func(until time.Time) *x509svid.SVID { return a.oldKey(a.name, until) },
			}
			tt.do(t, s)
			if tt.name != "untouched" {
				replaceRows(t, db, prefix, s.rows)
			}
		}
	}
}

// historyFaults are what is wrong with what the store has.
func (a *tamperedApp) historyFaults(t *testing.T, id string) []string {
	t.Helper()
	return a.faults(t, "", "workflow", "history", id, "--app", a.name, "-o", "json")
}

// chainFaults are what is wrong with the history by the journal of state.custody too. That no link is there is left out.
func (a *tamperedApp) chainFaults(t *testing.T, id string) []string {
	t.Helper()
	return a.faults(t, "history/", "chain", "verify", id, "--app", a.name, "-o", "json")
}

func (a *tamperedApp) faults(t *testing.T, prefix string, args ...string) []string {
	t.Helper()
	out, code := a.custody(args...)
	require.Less(t, code, 2, out)
	var view struct{ Faults []struct{ Kind string } }
	require.NoError(t, json.NewDecoder(strings.NewReader(out)).Decode(&view), out)
	var kinds []string
	for _, f := range view.Faults {
		if kind, ok := strings.CutPrefix(f.Kind, prefix); ok {
			kinds = append(kinds, kind)
		}
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

func (a *tamperedApp) get(t *testing.T, path string) (int, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", a.app(a.name).DaprHTTPPort, path), nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, body
}

// asked is what Dapr says of each instance, once a worker is there again; and of one that waited, what comes of it when
// both events are raised.
func (a *tamperedApp) asked(t *testing.T) map[string]string {
	t.Helper()
	a.join(t)
	defer a.stop()
	a.raise(t, "waiting-other", "second") // Once it has ended, the sidecar is ready.
	_, err := a.client.WaitForWorkflowCompletion(t.Context(), "waiting-other")
	require.NoError(t, err)
	said := map[string]string{}
	for _, id := range a.ids() {
		said[id] = a.told(t, id)
	}
	var all sync.WaitGroup
	after := make([]string, len(a.ids()))
	for i, id := range a.ids() {
		if strings.HasPrefix(id, "waiting") {
			all.Go(func() { after[i] = a.goOn(t, id) })
		}
	}
	all.Wait()
	for i, id := range a.ids() {
		if after[i] == stillRunning {
			after[i] += a.status(t, id)
		}
		said[id] = strings.NewReplacer(id, "ID", "|", "\\|", "\n", " ").Replace(said[id] + after[i])
	}
	return said
}

// goesOn is how long an instance is given to end after its events.
const goesOn = 15 * time.Second

const stillRunning = "; after the events: "

func (a *tamperedApp) goOn(t *testing.T, id string) string {
	ctx, cancel := context.WithTimeout(t.Context(), goesOn)
	defer cancel()
	for _, event := range []string{"first", "second"} {
		if err := a.client.RaiseEvent(ctx, id, event, workflow.WithEventPayload("again")); err != nil {
			return "; events refused"
		}
	}
	done, err := a.client.WaitForWorkflowCompletion(ctx, id, workflow.WithFetchPayloads(true))
	switch {
	case err != nil:
		return stillRunning
	case done.FailureDetails != nil:
		return stillRunning + "FAILED, " + done.FailureDetails.GetErrorType()
	}
	return stillRunning + done.String() + " with " + done.Output.GetValue()
}

// told is what Dapr says to GET, and of the history by gRPC.
func (a *tamperedApp) told(t *testing.T, id string) string {
	t.Helper()
	status := a.status(t, id)
	history, err := a.client.GetInstanceHistory(t.Context(), id)
	if err == nil {
		return fmt.Sprintf("%s, %d events", status, len(history.Events))
	}
	_, why, found := strings.Cut(err.Error(), " desc = ")
	require.True(t, found, err)
	if code, both := strings.CutSuffix(status, why); both { // what is said before it names the places that it came by
		return code[:len("500 ")] + why
	}
	return status + ", and of the history " + why
}

func (a *tamperedApp) status(t *testing.T, id string) string {
	t.Helper()
	code, body := a.get(t, "/v1.0/workflows/dapr/"+id)
	var said struct {
		RuntimeStatus, Message string
		Properties             map[string]string
	}
	require.NoError(t, json.Unmarshal(body, &said), string(body))
	text := fmt.Sprintf("%d %s", code, said.RuntimeStatus+said.Message)
	if kind := said.Properties["dapr.workflow.failure.error_type"]; kind != "" {
		text += " with " + kind
	}
	return text
}
