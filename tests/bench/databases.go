// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
)

// The ways to a database. All but waySidecar are components of one sidecar.
const (
	wayPlain   = "dapr-notls"
	wayDapr    = "dapr"
	wayCustody = "custody" // through the component server
	waySidecar = "sidecar" // state.custody within a sidecar that is told of no component server
)

// guardedWays are those before which policy decides.
func guardedWays() []string { return []string{wayCustody, waySidecar} }

func sqlWays() []string { return []string{wayPlain, wayDapr, wayCustody} }

func stateWays() []string { return append(sqlWays(), waySidecar) }

// aimDatabase is how much longer a point select may take through the component server.
const aimDatabase = 1.15

const (
	pointSelect = "SELECT id, name, price FROM shop.items WHERE id = $1"
	// refusedSelect is of a table that the rules do not name.
	refusedSelect = "SELECT id FROM shop.secrets WHERE id = $1"
)

// operation is what is asked of all ways in turn.
type operation struct {
	name   string
	status int
	ways   []string
	// request gives method, path and body for a way, and refused those which the rules do not allow.
	request, refused func(way string) (method, path, body string)
	aim              float64
}

func operations() []operation {
	invoke := func(sql string) func(string) (string, string, string) {
		return func(way string) (string, string, string) {
			return http.MethodPost, "bindings/sql-" + way, fmt.Sprintf(`{"operation":"query","metadata":{"sql":%q,"params":"[42]"}}`, sql)
		}
	}
	get := func(key string) func(string) (string, string, string) {
		return func(way string) (string, string, string) { return http.MethodGet, "state/state-" + way + "/" + key, "" }
	}
	set := func(key string) func(string) (string, string, string) {
		return func(way string) (string, string, string) {
			return http.MethodPost, "state/state-" + way, fmt.Sprintf(`[{"key":%q,"value":{"size":12,"colour":"oak"}}]`, key)
		}
	}
	return []operation{
		{name: "select", status: http.StatusOK, ways: sqlWays(), request: invoke(pointSelect), refused: invoke(refusedSelect), aim: aimDatabase},
		// The set comes first, for what is got.
		{name: "set", status: http.StatusNoContent, ways: stateWays(), request: set("mine"), refused: set("other")},
		{name: "get", status: http.StatusOK, ways: stateWays(), request: get("mine"), refused: get("other")},
	}
}

// wire is a whole HTTP request to a sidecar.
func wire(address string, of func(string) (string, string, string), way string) []byte {
	method, path, body := of(way)
	return fmt.Appendf(nil, "%s /v1.0/%s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		method, path, address, len(body), body)
}

// Databases is what requests to a database take, by Dapr's own components and through the component server.
type Databases struct {
	Load   string  `json:"load"`
	Says   string  `json:"says"`
	Rows   []Row   `json:"rows"`
	Ratios []Ratio `json:"ratios"`
	Cells  []Cell  `json:"cells"`
	Note   string  `json:"note"`
}

const databasesSay = `One sidecar with bindings.postgres and state.postgresql (v2) as Dapr has them, and bindings.custody-postgres and state.custody
over postgresql through the component server, to one scratch PostgreSQL (fsync off), 5 connections each.
custody: callers by unix-peer, policy, intent and signed receipt in the journal (durability group); TLS to the database.
sidecar: state.custody with policyDir within another sidecar, without a component server, which does the same; callers by its SVID.
dapr: nothing of these, TLS to the database. dapr-notls: without that. The custody binding connects by client certificate, all
else by password. set and get are of one key of a state store.
`

// measureDatabases fills in the section on databases.
func (r *Report) measureDatabases(ctx context.Context, s settings, progress io.Writer) (err error) {
	fmt.Fprintln(progress, "starting PostgreSQL, the component server and a sidecar")
	b, err := startDatabases(ctx, s)
	if err != nil {
		return errors.Join(err, b.stop())
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	d := &Databases{Says: databasesSay}
	if d.Load, err = loadAverage(); err != nil {
		return err
	}
	for _, o := range operations() {
		if err = b.check(ctx, o); err != nil {
			return err
		}
	}
	if err = d.measure(ctx, b, s, progress); err != nil {
		return err
	}
	now, err := loadAverage()
	if err != nil {
		return err
	}
	d.Load += " before, " + now + " after"
	d.summarise(r.Connections)
	r.Databases = d
	d.Note, err = b.readJournals()
	return err
}

func (d *Databases) measure(ctx context.Context, b *databaseBench, s settings, progress io.Writer) error {
	for round := range s.rounds {
		for _, connections := range s.connections {
			for _, o := range operations() {
				for _, way := range rotated(o.ways, round) {
					cell, err := b.cell(ctx, o, way, connections, s.duration)
					if err != nil {
						return err
					}
					cell.Round = round + 1
					d.Cells = append(d.Cells, cell)
					fmt.Fprintf(progress, "round %d of %d  %2d connections  %-18s  p50 %7.2f ms  p99 %7.2f ms  %6.0f requests/s\n",
						cell.Round, s.rounds, connections, cell.Variant, cell.P50, cell.P99, cell.PerSecond)
				}
			}
		}
	}
	return nil
}

func (d *Databases) summarise(connections []int) {
	for _, o := range operations() {
		for _, n := range connections {
			for _, way := range o.ways {
				d.Rows = append(d.Rows, rowOf(d.Cells, o.name+" "+way, n))
			}
			d.compare(o, n)
		}
	}
}

// compare holds each guarded way of an operation against the ways of Dapr alone.
func (d *Databases) compare(o operation, connections int) {
	for _, of := range guardedWays() {
		if !slices.Contains(o.ways, of) {
			continue
		}
		for _, to := range []string{wayDapr, wayPlain} {
			c := comparison{of: o.name + " " + of, to: o.name + " " + to}
			compared := c.ratio(d.Cells, connections)
			if o.aim > 0 && to == wayDapr {
				compared.Aim = aimed(compared.P50.Median, o.aim)
			}
			d.Ratios = append(d.Ratios, compared)
		}
	}
}

func aimed(got, aim float64) string {
	return fmt.Sprintf("p50 at most %.2f: %s", aim, verdict(got <= aim))
}

func (d *Databases) table(connections []int) string {
	text := fmt.Sprintf("\nDatabases. Load of the machine: %s.\n%s", d.Load, d.Says)
	rows := [][]string{{"request", "connections", "p50 ms", "p99 ms", "requests/s", "component server CPU us", "sidecar CPU us"}}
	for _, row := range d.Rows {
		rows = append(rows, []string{
			row.Variant, strconv.Itoa(row.Connections), fmt.Sprintf("%.2f", row.P50.Median), fmt.Sprintf("%.2f", row.P99.Median),
			fmt.Sprintf("%.0f", row.PerSecond.Median), fmt.Sprintf("%.0f", row.CalleeCPU.Median), fmt.Sprintf("%.0f", row.CallerCPU.Median),
		})
	}
	ratios := [][]string{{"ratio", "connections", "p50", "p99", "requests/s", "aim"}}
	for _, c := range d.Ratios {
		if slices.Contains(connections, c.Connections) {
			ratios = append(ratios, []string{
				c.Of + " / " + c.To, strconv.Itoa(c.Connections), c.P50.ratio(), c.P99.ratio(), c.PerSecond.ratio(), c.Aim,
			})
		}
	}
	return text + aligned(rows) + "\n" + aligned(ratios) + d.Note + "\n"
}
