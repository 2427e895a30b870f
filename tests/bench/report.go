// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/dapr-custody/custody/internal/journal"
)

// Report is what a run says.
type Report struct {
	Setup       Setup        `json:"setup"`
	Rounds      int          `json:"rounds"`
	CellSeconds float64      `json:"cellSeconds"`
	Connections []int        `json:"connections"`
	Variants    []On         `json:"variants"`
	Notes       []string     `json:"notes"`
	Rows        []Row        `json:"rows"`
	Ratios      []Ratio      `json:"ratios"`
	CPU         []Difference `json:"calleeCPU"`
	Cells       []Cell       `json:"cells"`
	Changes     []Change     `json:"changes"`
	Workflow    *Workflow    `json:"workflow,omitempty"`
	Databases   *Databases   `json:"databases,omitempty"`
}

// Row is a variant at a number of connections, over all rounds.
type Row struct {
	Variant     string `json:"variant"`
	Connections int    `json:"connections"`
	P50         Spread `json:"p50Millis"`
	P99         Spread `json:"p99Millis"`
	PerSecond   Spread `json:"perSecond"`
	CalleeCPU   Spread `json:"calleeCPUMicros"`
	CallerCPU   Spread `json:"callerCPUMicros"`
}

// Ratio compares two variants in pairs of one round.
type Ratio struct {
	Of          string `json:"of"`
	To          string `json:"to"`
	Connections int    `json:"connections"`
	P50         Spread `json:"p50"`
	P99         Spread `json:"p99"`
	PerSecond   Spread `json:"perSecond"`
	Aim         string `json:"aim,omitempty"`
}

// Difference is what one variant costs the callee's sidecar more than another.
type Difference struct {
	Of          string `json:"of"`
	To          string `json:"to"`
	Connections int    `json:"connections"`
	Micros      Spread `json:"micros"`
}

// countRecords counts the intents and the receipts of a journal.
func countRecords(dir string) (intents, receipts int, err error) {
	err = journal.Read(dir, func(record journal.Record) error {
		switch record.Kind {
		case journal.KindIntent:
			intents++
		case journal.KindReceipt:
			receipts++
		}
		return nil
	})
	return intents, receipts, err
}

// readJournals counts what the guards wrote. A call without its two records
// would be a call that was not guarded.
func (r *Report) readJournals(b *bench) error {
	for _, t := range b.targets {
		if !t.journal {
			continue
		}
		intents, receipts, err := countRecords(t.journalDir)
		if err != nil {
			return err
		}
		// One of the calls was refused before anything was measured: it has a
		// receipt and no intent.
		if intents != t.calls-1 || receipts != t.calls {
			return fmt.Errorf("%s: %d intents and %d receipts for %d calls, one of them refused", t.name, intents, receipts, t.calls)
		}
		r.Notes = append(r.Notes, fmt.Sprintf("%s: the journal holds %d intents and %d signed receipts for %d calls, one of them refused.",
			t.name, intents, receipts, t.calls))
	}
	return nil
}

// summarise fills in what follows from the cells.
func (r *Report) summarise(all []variant) {
	has := func(name string) bool {
		return slices.ContainsFunc(all, func(v variant) bool { return v.name == name })
	}
	for _, v := range all {
		for _, n := range r.Connections {
			r.Rows = append(r.Rows, rowOf(r.Cells, v.name, n))
		}
	}
	for _, c := range comparisons() {
		if !has(c.of) || !has(c.to) {
			continue
		}
		for _, n := range r.Connections {
			compared := c.ratio(r.Cells, n)
			if n == aimConnections {
				compared.Aim = c.aim(compared)
			}
			r.Ratios = append(r.Ratios, compared)
			if c.to == plain && c.of != direct {
				r.CPU = append(r.CPU, Difference{c.of, c.to, n, paired(r.Cells, c, n, calleeCPU, difference)})
			}
		}
	}
}

// rowOf is what a variant took at a number of connections.
func rowOf(cells []Cell, name string, connections int) Row {
	self := comparison{of: name, to: name}
	alone := func(number func(Cell) float64) Spread {
		return paired(cells, self, connections, number, func(of, _ float64) float64 { return of })
	}
	return Row{name, connections, alone(p50), alone(p99), alone(perSecond), alone(calleeCPU), alone(callerCPU)}
}

// ratio compares at a number of connections, without the aim.
func (c comparison) ratio(cells []Cell, connections int) Ratio {
	return Ratio{
		Of: c.of, To: c.to, Connections: connections,
		P50:       paired(cells, c, connections, p50, ratio),
		P99:       paired(cells, c, connections, p99, ratio),
		PerSecond: paired(cells, c, connections, perSecond, ratio),
	}
}

// aim says whether the medians are as they should be.
func (c comparison) aim(got Ratio) string {
	if c.p50AtMost == 0 {
		return ""
	}
	met := got.P50.Median <= c.p50AtMost && got.PerSecond.Median >= c.perSecondAtLeast
	return fmt.Sprintf("p50 at most %.2f, requests/s at least %.2f: %s", c.p50AtMost, c.perSecondAtLeast, verdict(met))
}

func verdict(met bool) string {
	if met {
		return "met"
	}
	return "missed"
}

func (r *Report) writeJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(r)
}
