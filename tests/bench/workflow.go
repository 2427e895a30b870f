// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/dapr/durabletask-go/workflow"
)

// The ways to do the same workflow. All of them have Dapr's signed history, and
// call the same tool of the same guarded server.
const (
	flowPlain   = "plain"
	flowLinks   = "links"
	flowCustody = "custody"
)

// flow is one of them; it is an app with a worker and a store of its own.
type flow struct {
	name   string
	signs  bool // mcpcaller in the sidecar, and workflows/custody in the worker
	anchor bool // state.custody before the store
	says   string
}

func flows() []flow {
	return []flow{
		{name: flowPlain, says: "an activity that calls the tool with the official MCP SDK; state.sqlite"},
		{name: flowLinks, signs: true, says: "workflows/custody and mcpcaller: question, answer and end are signed; state.sqlite"},
		{name: flowCustody, signs: true, anchor: true, says: "the same, and state.custody before sqlite: the history is anchored"},
	}
}

// aimWorkflow is how much longer a step may take with all of Custody.
const aimWorkflow = 1.05

// Workflow is what a step of a workflow takes, with Custody and without.
type Workflow struct {
	Steps int        `json:"steps"`
	Runs  int        `json:"runs"`
	Load  string     `json:"load"`
	Rows  []FlowRow  `json:"rows"`
	Notes []string   `json:"notes"`
	Cells []FlowCell `json:"cells"`
}

// FlowRow is one of the ways, over all rounds. The times are of a step.
type FlowRow struct {
	Name   string `json:"name"`
	Says   string `json:"says"`
	Millis Spread `json:"millis"`
	// Ratio is to plain, in pairs of one round.
	Ratio Spread `json:"ratio"`
	// Within is the time from one result to the next, and WithinRatio the same to
	// plain: without the turns with which a chain begins and ends.
	Within      Spread `json:"withinMillis"`
	WithinRatio Spread `json:"withinRatio"`
	Aim         string `json:"aim,omitempty"`
	// CPU time of the app's sidecar, its worker and the server's sidecar.
	SidecarCPU float64 `json:"sidecarCPUMillis"`
	WorkerCPU  float64 `json:"workerCPUMillis"`
	ServerCPU  float64 `json:"serverCPUMillis"`
	// Bytes are those of the rows that Dapr has of the instance, Events those of
	// the history's events alone.
	Bytes  int `json:"bytes"`
	Events int `json:"eventBytes"`
	// Kept counts the instances whose rows were read.
	Kept int `json:"kept"`
}

// FlowCell is one run of one workflow.
type FlowCell struct {
	Name   string  `json:"name"`
	Round  int     `json:"round"`
	Millis float64 `json:"millis"`
	Within float64 `json:"withinMillis"`
}

// measureWorkflows fills in the section on workflows.
func (r *Report) measureWorkflows(ctx context.Context, s settings, progress io.Writer) (err error) {
	fmt.Fprintln(progress, "starting the sidecars and workers of the workflows")
	b, err := startFlows(ctx, s, progress)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	w := &Workflow{Steps: s.steps, Runs: s.workflows}
	if w.Load, err = loadAverage(); err != nil {
		return err
	}
	if err = w.measure(ctx, b, progress); err != nil {
		return err
	}
	now, err := loadAverage()
	if err != nil {
		return err
	}
	w.Load += " before, " + now + " after"
	if err = w.summarise(ctx, b); err != nil {
		return err
	}
	r.Workflow = w
	return nil
}

// measure runs each way in turn, round by round. The first of each is not counted.
func (w *Workflow) measure(ctx context.Context, b *flowBench, progress io.Writer) error {
	for round := range w.Runs + 1 {
		for _, f := range rotated(b.flows, round) {
			before, err := f.cpu(b.serverPID)
			if err != nil {
				return err
			}
			took, err := f.run(ctx, flowInstance(f.name, round), w.Steps)
			if err != nil {
				return fmt.Errorf("workflow %s: %w", f.name, err)
			}
			after, err := f.cpu(b.serverPID)
			if err != nil {
				return err
			}
			if round == 0 {
				continue
			}
			for i := range after {
				f.spent[i] += after[i] - before[i]
			}
			cell := FlowCell{Name: f.name, Round: round, Millis: millis(took) / float64(w.Steps)}
			w.Cells = append(w.Cells, cell)
			fmt.Fprintf(progress, "round %d of %d  workflow %-8s %7.2f ms a step\n", round, w.Runs, f.name, cell.Millis)
		}
	}
	return nil
}

func flowInstance(name string, round int) string { return name + "-" + strconv.Itoa(round) }

// run runs one workflow to its end.
func (f *flowApp) run(ctx context.Context, instance string, steps int) (time.Duration, error) {
	began := time.Now()
	if _, err := f.client.ScheduleWorkflow(ctx, flowName, workflow.WithInstanceID(instance), workflow.WithInput(steps)); err != nil {
		return 0, err
	}
	done, err := f.client.WaitForWorkflowCompletion(ctx, instance)
	took := time.Since(began)
	switch {
	case err != nil:
		return 0, err
	case done.FailureDetails != nil:
		return 0, fmt.Errorf("it failed: %s", done.FailureDetails.GetErrorMessage())
	}
	return took, nil
}

// times gives a number of each of the runs in one way, in the order of rounds.
func (w *Workflow) times(name string, number func(FlowCell) float64) []float64 {
	var times []float64
	for _, c := range w.Cells {
		if c.Name == name {
			times = append(times, number(c))
		}
	}
	return times
}

func whole(c FlowCell) float64  { return c.Millis }
func within(c FlowCell) float64 { return c.Within }

// summarise reads what the stores and journals have, and fills in the rows.
func (w *Workflow) summarise(ctx context.Context, b *flowBench) error {
	for _, f := range b.flows {
		row := FlowRow{Name: f.name, Says: f.says}
		perStep := func(d time.Duration) float64 { return millis(d) / float64(w.Steps*w.Runs) }
		row.SidecarCPU, row.WorkerCPU, row.ServerCPU = perStep(f.spent[0]), perStep(f.spent[1]), perStep(f.spent[2])
		kept, err := b.rows(ctx, f)
		if err != nil {
			return err
		}
		if row.Kept = len(kept); row.Kept != w.Runs+1 {
			return fmt.Errorf("workflow %s: the store has %d instances of %d", f.name, row.Kept, w.Runs+1)
		}
		signatures := 0
		for _, one := range kept {
			row.Bytes += one.bytes
			row.Events += one.events
			signatures += one.signatures
		}
		row.Bytes /= w.Steps * row.Kept
		row.Events /= w.Steps * row.Kept
		if err := w.fillWithin(f.name, kept); err != nil {
			return err
		}
		w.Rows = append(w.Rows, row)
		if err := w.check(b, f, signatures); err != nil {
			return fmt.Errorf("workflow %s: %w", f.name, err)
		}
	}
	w.compare()
	return nil
}

// fillWithin takes the time from the first result to the last out of the history.
func (w *Workflow) fillWithin(name string, kept map[string]keptRows) error {
	for i := range w.Cells {
		c := &w.Cells[i]
		if c.Name != name {
			continue
		}
		results := kept[flowInstance(name, c.Round)].results
		if len(results) < w.Steps {
			return fmt.Errorf("workflow %s: the history has %d results of %d", name, len(results), w.Steps)
		}
		c.Within = millis(results[w.Steps-1].Sub(results[0])) / float64(w.Steps-1)
	}
	return nil
}

// compare fills in what follows from the cells.
func (w *Workflow) compare() {
	for i := range w.Rows {
		row := &w.Rows[i]
		of, to := w.times(row.Name, whole), w.times(flowPlain, whole)
		row.Millis, row.Ratio = spread(of), spread(ratios(of, to))
		of, to = w.times(row.Name, within), w.times(flowPlain, within)
		row.Within, row.WithinRatio = spread(of), spread(ratios(of, to))
		if row.Name != flowCustody {
			continue
		}
		row.Aim = fmt.Sprintf("at most %.2f: %s", aimWorkflow, verdict(row.Ratio.Median <= aimWorkflow))
	}
}

// ratios are of pairs, which are of one round: every way is run once in each.
func ratios(of, to []float64) []float64 {
	of = slices.Clone(of)
	for i := range of {
		of[i] /= to[i]
	}
	return of
}

// check makes sure that what is said to be on was on.
func (w *Workflow) check(b *flowBench, f *flowApp, signatures int) error {
	runs := w.Runs + 1
	if signatures == 0 {
		return errors.New("its history is not signed")
	}
	links, err := receipts(b.journal("links", f.name), f.signs)
	if err != nil {
		return err
	}
	want := 0
	if f.signs {
		want = runs * (w.Steps + 1)
	}
	if links != want {
		return fmt.Errorf("the sidecar has signed %d links, and not %d", links, want)
	}
	anchors, err := receipts(b.journal("anchors", f.name), f.anchor)
	if err != nil {
		return err
	}
	if f.anchor && anchors != signatures || !f.anchor && anchors != 0 {
		return fmt.Errorf("%d anchors of %d signatures", anchors, signatures)
	}
	w.Notes = append(w.Notes, fmt.Sprintf("%s: %d workflows, %d signatures of Dapr's over their history, %d links by the app's sidecar, %d anchors.",
		f.name, runs, signatures, links, anchors))
	return nil
}
