// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// writeTable writes the report for the eyes.
func (r *Report) writeTable(w io.Writer) error {
	text := r.head()
	if len(r.Rows) > 0 {
		text += "\nMedians over the rounds\n" + aligned(r.rowTable())
	}
	if len(r.Ratios) > 0 {
		text += "\nRatios: the median over the rounds of the ratios within a round (lowest-highest)\n" + aligned(r.ratioTable())
	}
	if len(r.CPU) > 0 {
		text += "\nCPU time of the callee's daprd per call: the median over the rounds of the differences within a round (lowest-highest).\n" +
			"It holds whatever the process does and is noisy; go test -bench Guard ./middleware/mcpguard has the guard's own time.\n" +
			aligned(r.cpuTable())
	}
	if len(r.Changes) > 0 {
		text += fmt.Sprintf("\nPolicy change: ms from the end of the save or the command until a call that the new rules decide is answered\n"+
			"by the last of %d guards. The guards are made by mcpguard.Factory in %d processes, journals on, the server in memory.\n",
			guardCount, guardHosts) + aligned(r.changeTable())
	}
	if r.Workflow != nil {
		text += r.Workflow.table()
	}
	if r.Databases != nil {
		text += r.Databases.table(r.Connections)
	}
	if len(r.Notes) > 0 {
		text += "\n" + strings.Join(r.Notes, "\n") + "\n"
	}
	_, err := io.WriteString(w, text)
	return err
}

// head says what was on.
func (r *Report) head() string {
	s := r.Setup
	var text strings.Builder
	fmt.Fprintf(&text, "%s, %s, %d cores, Dapr %s, components-contrib %s\n", s.Go, s.Platform, s.Cores, s.Dapr, s.Contrib)
	fmt.Fprintf(&text, "Server: %s. Journals on %s.\nCalls: %s.\n", s.MCPServer, s.Disk, s.Request)
	fmt.Fprintf(&text, "Rounds: %d, each cell %g s; client, sidecars and server share the cores.\n\n", r.Rounds, r.CellSeconds)
	for _, on := range r.Variants {
		fmt.Fprintf(&text, "%-10s  %s", on.Variant, on.Says)
		if on.Daprd != "" {
			fmt.Fprintf(&text, " [%s, profile: %s]", on.Daprd, on.Profile)
		}
		text.WriteString("\n")
	}
	return text.String()
}

func (r *Report) rowTable() [][]string {
	rows := [][]string{{"variant", "connections", "p50 ms", "p99 ms", "requests/s", "callee CPU us/call", "caller CPU us/call"}}
	for _, row := range r.Rows {
		callee, caller := "-", "-"
		if row.CalleeCPU.Median > 0 {
			callee, caller = fmt.Sprintf("%.0f", row.CalleeCPU.Median), fmt.Sprintf("%.0f", row.CallerCPU.Median)
		}
		rows = append(rows, []string{
			row.Variant, strconv.Itoa(row.Connections), fmt.Sprintf("%.2f", row.P50.Median), fmt.Sprintf("%.2f", row.P99.Median),
			fmt.Sprintf("%.0f", row.PerSecond.Median), callee, caller,
		})
	}
	return rows
}

func (r *Report) ratioTable() [][]string {
	rows := [][]string{{"ratio", "connections", "p50", "p99", "requests/s", "aim"}}
	for _, c := range r.Ratios {
		rows = append(rows, []string{
			c.Of + " / " + c.To, strconv.Itoa(c.Connections), c.P50.ratio(), c.P99.ratio(), c.PerSecond.ratio(), c.Aim,
		})
	}
	return rows
}

func (r *Report) cpuTable() [][]string {
	rows := [][]string{{"difference", "connections", "us/call"}}
	for _, d := range r.CPU {
		rows = append(rows, []string{
			d.Of + " - " + d.To, strconv.Itoa(d.Connections),
			fmt.Sprintf("%+.0f (%+.0f to %+.0f)", d.Micros.Median, d.Micros.Lowest, d.Micros.Highest),
		})
	}
	return rows
}

func (r *Report) changeTable() [][]string {
	rows := [][]string{{"saved by", "load", "changes", "median", "p90", "p99", "max", "the command itself", "late", "aim"}}
	for _, c := range r.Changes {
		command, late := "-", "-"
		if c.Command > 0 {
			command, late = fmt.Sprintf("%.0f", c.Command), strconv.Itoa(c.Late)
		}
		rows = append(rows, []string{
			c.Saved, c.Load, strconv.Itoa(c.Changes), fmt.Sprintf("%.1f", c.Median), fmt.Sprintf("%.1f", c.P90), fmt.Sprintf("%.1f", c.P99),
			fmt.Sprintf("%.1f", c.Max), command, late, c.Aim,
		})
	}
	return rows
}

// table says what a step of a workflow takes.
func (w *Workflow) table() string {
	text := fmt.Sprintf("\nWorkflows of %d calls, one after the other, %d in each way, in turn. Dapr's history is signed; the server's guard\n"+
		"keeps its journal. ms/step is the whole time by the steps, also that of the turns with which a chain begins and ends;\n"+
		"within is that from one result to the next. Load of the machine: %s.\n", w.Steps, w.Runs, w.Load)
	rows := [][]string{{"workflow", "ms/step", "ratio to plain", "aim", "within", "ratio to plain", "sidecar CPU ms/step", "worker CPU ms/step", "server's sidecar CPU ms/step", "bytes/step", "of events"}}
	for _, r := range w.Rows {
		text += fmt.Sprintf("%-8s  %s\n", r.Name, r.Says)
		rows = append(rows, []string{
			r.Name, fmt.Sprintf("%.2f (%.2f-%.2f)", r.Millis.Median, r.Millis.Lowest, r.Millis.Highest), r.Ratio.ratio(), r.Aim,
			fmt.Sprintf("%.2f", r.Within.Median), r.WithinRatio.ratio(),
			fmt.Sprintf("%.2f", r.SidecarCPU), fmt.Sprintf("%.2f", r.WorkerCPU), fmt.Sprintf("%.2f", r.ServerCPU),
			strconv.Itoa(r.Bytes), strconv.Itoa(r.Events),
		})
	}
	return text + aligned(rows) + strings.Join(w.Notes, "\n") + "\n"
}

func (s Spread) ratio() string { return fmt.Sprintf("%.2f (%.2f-%.2f)", s.Median, s.Lowest, s.Highest) }

// aligned writes the rows in columns, two spaces apart. The first row is the head.
func aligned(rows [][]string) string {
	var widths [16]int
	for _, row := range rows {
		for i, field := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(field))
		}
	}
	var text strings.Builder
	for _, row := range rows {
		var line strings.Builder
		for i, field := range row {
			fmt.Fprintf(&line, "%-*s  ", widths[i], field)
		}
		text.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return text.String()
}
