// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapr-custody/custody/internal/history"
)

func newWorkflowHistoryCommand() *cobra.Command {
	var flags storeFlags
	var output string
	cmd := &cobra.Command{
		Use:   "history INSTANCE [--component FILE] [--trust-bundle FILE]",
		Short: "Show the history of a workflow instance, and verify it",
		Long: `Shows each event of a workflow instance: when it happened, in which app, whose
sidecar signed it, and whether that holds. An event is verified if a signature
over it is valid and continues the one before, and its certificate chains to the
trust bundle and names the app of the instance; and, for the result of a task,
if the app that the task was given to attested it, which Dapr does not check.

Histories without signatures are shown as "not signed", which is not wrong.
Without a trust bundle signatures are "not checked". What only a log can tell
(that the history is not the newest) is for "custody chain verify" to say.`,
		Example: `  custody workflow history refund-7
  custody workflow history refund-7 --component statestore.yaml --trust-bundle ca.crt --trust-domain custody.local
  custody workflow history refund-7 -o json`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := policyFormat(output); err != nil {
				return err
			}
			bundles, err := flags.bundles()
			if err != nil {
				return err
			}
			rows, err := flags.one(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			in, err := history.Decode(rows)
			if err != nil {
				return usage(err)
			}
			view := newHistoryView(history.Verify(in, history.Options{Bundles: bundles}), bundles != nil)
			return view.print(cmd.OutOrStdout(), output)
		},
	}
	flags.add(cmd)
	flags.addBundle(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table, json or yaml")
	return cmd
}

const eventNotChecked = "not checked"

// historyView is a history as it is printed.
type historyView struct {
	OK        bool             `json:"ok"`
	App       string           `json:"app"`
	Namespace string           `json:"namespace"`
	Instance  string           `json:"instance"`
	Workflow  string           `json:"workflow,omitempty"`
	Status    string           `json:"status,omitempty"`
	Started   time.Time        `json:"started,omitzero"`
	Verified  int              `json:"verified"`
	Events    []eventView      `json:"events"`
	Faults    []*history.Fault `json:"faults"`
}

type eventView struct {
	Index    int       `json:"index"`
	Time     time.Time `json:"time,omitzero"`
	Event    string    `json:"event,omitempty"`
	Name     string    `json:"name,omitempty"`
	Detail   string    `json:"detail,omitempty"`
	Task     *int      `json:"task,omitempty"`
	App      string    `json:"app,omitempty"`
	Signer   string    `json:"signer,omitempty"`
	Attested string    `json:"attested,omitempty"`
	// Verified is "yes", "not signed", "not checked", or what is wrong.
	Verified string `json:"verified"`
}

// newHistoryView leaves out what is only wrong because nothing was to be checked against.
func newHistoryView(r *history.Report, checked bool) *historyView {
	v := &historyView{
		App: r.App, Namespace: r.Namespace, Instance: r.Instance, Workflow: r.Name, Status: r.Status, Started: r.Started,
		Verified: r.Verified, Events: []eventView{}, Faults: []*history.Fault{},
	}
	signed := false
	for _, f := range r.AllFaults() {
		if checked || f.Kind != history.TrustDomain {
			v.Faults = append(v.Faults, f)
		} else {
			signed = true
		}
	}
	v.OK = len(v.Faults) == 0
	for _, e := range r.Events {
		v.Events = append(v.Events, newEventView(e, checked, signed))
	}
	return v
}

func newEventView(e history.EventReport, checked, signed bool) eventView {
	row := eventView{
		Index: e.Index, Time: e.Time, Event: e.Type, Name: e.Name, Detail: e.Detail, App: e.App, Signer: e.Signer.String(),
		Attested: e.Attested.String(), Verified: "not signed",
	}
	if e.Task >= 0 {
		row.Task = &e.Task
	}
	switch {
	case e.Verified:
		row.Verified = "yes"
	case !checked && signed && (len(e.Faults) == 0 || e.Faults[0].Kind == history.TrustDomain):
		row.Verified = eventNotChecked
	case len(e.Faults) > 0:
		row.Verified = "NO: " + string(e.Faults[0].Kind)
	}
	return row
}

func (v *historyView) print(out io.Writer, output string) error {
	if output != "table" {
		if err := policyValue(out, output, v); err != nil {
			return err
		}
	} else if err := v.table(out); err != nil {
		return err
	}
	if !v.OK {
		return findings(len(v.Faults))
	}
	return nil
}

func (v *historyView) table(out io.Writer) error {
	fmt.Fprintf(out, "%s of app %s, workflow %s, %s since %s\n", plain(v.Instance), plain(v.App), dash(v.Workflow), dash(v.Status),
		timeText(v.Started))
	t := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "#\tTIME\tEVENT\tNAME\tTASK\tAPP\tSIGNER\tATTESTED BY\tVERIFIED")
	for _, e := range v.Events {
		task := "-"
		if e.Task != nil {
			task = strconv.Itoa(*e.Task)
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.Index, timeText(e.Time), dash(e.Event), dash(e.Name), task, dash(e.App),
			dash(e.Signer), dash(e.Attested), e.Verified)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, f := range v.Faults {
		fmt.Fprintf(out, "WRONG  %s\n", plain(f.Error()))
	}
	fmt.Fprintf(out, "%s: %d of %s verified\n", v.verdict(), v.Verified, count(len(v.Events), "event", "events"))
	if v.unchecked() {
		fmt.Fprintln(out, "Signatures were not checked: give --trust-bundle.")
	}
	return nil
}

func (v *historyView) unchecked() bool {
	return slices.ContainsFunc(v.Events, func(e eventView) bool { return e.Verified == eventNotChecked })
}

func (v *historyView) verdict() string {
	switch {
	case !v.OK:
		return "NOT GOOD"
	case v.unchecked():
		return "NOT CHECKED"
	case v.Verified == 0:
		return "NOT SIGNED"
	}
	return "GOOD"
}
