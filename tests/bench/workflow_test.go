// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/dapr/durabletask-go/api/protos"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/history"
	"github.com/dapr-custody/custody/internal/localdomain"
	"github.com/dapr-custody/custody/internal/policy"
)

// Each way has what it says, and nothing else.
func TestFlowFolder(t *testing.T) {
	t.Parallel()
	d := flowFolder(t.TempDir())
	require.NoError(t, d.write())
	file, err := localdomain.LoadRunFile(d.path)
	require.NoError(t, err)
	require.Len(t, file.Apps, 1+len(flows()))
	_, err = policy.Parse("bench.yaml", []byte(d.files["policies/bench.yaml"]))
	require.NoError(t, err)
	require.Contains(t, d.files["policies/bench.yaml"], "from: [plain, links, custody]")
	for _, f := range flows() {
		var c struct{ Spec struct{ Type string } }
		require.NoError(t, yaml.Unmarshal([]byte(d.files["resources-"+f.name+"/store.yaml"]), &c))
		require.Equal(t, map[bool]string{true: "state.custody", false: "state.sqlite"}[f.anchor], c.Spec.Type)
		require.Equal(t, f.signs, strings.Contains(d.files[f.name+".yaml"], "mcpcaller"))
		require.Equal(t, f.signs, d.files["resources-"+f.name+"/caller.yaml"] != "")
		require.Contains(t, d.files[f.name+".yaml"], "WorkflowHistorySigning, enabled: true")
	}
	require.Contains(t, d.files[flowServer+".yaml"], guardType)
}

func TestReadRows(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	event := func(e *protos.HistoryEvent) []byte {
		e.Timestamp = timestamppb.New(noon)
		raw, err := proto.Marshal(e)
		require.NoError(t, err)
		return raw
	}
	started := event(&protos.HistoryEvent{EventType: &protos.HistoryEvent_WorkflowStarted{WorkflowStarted: &protos.WorkflowStartedEvent{}}})
	done := event(&protos.HistoryEvent{EventType: &protos.HistoryEvent_TaskCompleted{TaskCompleted: &protos.TaskCompletedEvent{}}})
	line, err := json.Marshal(history.Rows{App: "plain", Instance: "plain-1", Rows: map[string][]byte{
		"history-000000": started, "history-000001": done, "signature-000000": []byte("1234"), "metadata": []byte("56"),
	}})
	require.NoError(t, err)
	got, err := readRows(strings.NewReader(string(line) + "\n"))
	require.NoError(t, err)
	events := len(started) + len(done)
	require.Equal(t, map[string]keptRows{"plain-1": {bytes: events + 6, events: events, signatures: 1, results: []time.Time{noon}}}, got)
	_, err = readRows(strings.NewReader(`{"rows":{"history-000000":"/w=="}}`))
	require.Error(t, err)
	_, err = readRows(strings.NewReader(string(line[:10])))
	require.Error(t, err)
}

// Ratios are of pairs, and the aim is judged by their median.
func TestCompareWorkflows(t *testing.T) {
	t.Parallel()
	w := &Workflow{Steps: 2, Runs: 3, Load: "0.1", Rows: []FlowRow{{Name: flowPlain}, {Name: flowCustody, Says: "all of it", Bytes: 900}}}
	for i, plain := range []float64{10, 100, 20} {
		w.Cells = append(
			w.Cells, FlowCell{flowCustody, i + 1, plain * (1.04 + 0.01*float64(i)), plain}, FlowCell{flowPlain, i + 1, plain, plain},
		)
	}
	w.compare()
	require.InDelta(t, 1.05, w.Rows[1].Ratio.Median, 1e-9)
	require.InDelta(t, 1, w.Rows[1].WithinRatio.Median, 1e-9)
	require.InDelta(t, 20, w.Rows[0].Millis.Median, 1e-9)
	require.Empty(t, w.Rows[0].Aim)
	require.Contains(t, w.Rows[1].Aim, "met")
	for i := range w.Cells {
		if w.Cells[i].Name == flowCustody {
			w.Cells[i].Millis *= 1.001
		}
	}
	w.compare()
	require.Contains(t, w.Rows[1].Aim, "missed")
	require.Contains(t, w.table(), "1.05 (1.04-1.06)")
}

func TestFillWithin(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	w := &Workflow{Steps: 3, Cells: []FlowCell{{Name: flowLinks, Round: 1}, {Name: flowPlain, Round: 1}}}
	results := []time.Time{noon, noon.Add(time.Millisecond), noon.Add(10 * time.Millisecond), noon.Add(time.Hour)}
	require.NoError(t, w.fillWithin(flowLinks, map[string]keptRows{"links-1": {results: results}}))
	require.InDelta(t, 5, w.Cells[0].Within, 1e-9)
	require.Zero(t, w.Cells[1].Within)
	require.Error(t, w.fillWithin(flowPlain, map[string]keptRows{"plain-1": {results: results[:2]}}))
}
