// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapr-custody/custody/internal/history"
)

func newWorkflowListCommand() *cobra.Command {
	var flags storeFlags
	var output string
	cmd := &cobra.Command{
		Use:   "list [--component FILE]",
		Short: "List the workflow instances of a store",
		Long: `Lists workflow instances by what their first and last events say. SIGNED tells
whether signatures are there; "custody workflow history" verifies them.`,
		Example: `  custody workflow list
  custody workflow list --component resources/statestore.yaml --app intake -o json`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := policyFormat(output); err != nil {
				return err
			}
			rows := []workflowRow{}
			err := flags.read(cmd.Context(), "", true, func(_ string, r history.Rows) error {
				rows = append(rows, newWorkflowRow(r))
				return nil
			})
			if err != nil {
				return err
			}
			if output != "table" {
				return policyValue(cmd.OutOrStdout(), output, rows)
			}
			return workflowTable(cmd.OutOrStdout(), rows)
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table, json or yaml")
	return cmd
}

// workflowRow is an instance as list prints it.
type workflowRow struct {
	Instance  string    `json:"instance"`
	App       string    `json:"app"`
	Namespace string    `json:"namespace"`
	Workflow  string    `json:"workflow,omitempty"`
	Status    string    `json:"status,omitempty"`
	Started   time.Time `json:"started,omitzero"`
	Updated   time.Time `json:"updated,omitzero"`
	Events    uint64    `json:"events"`
	Signed    bool      `json:"signed"`
}

func newWorkflowRow(r history.Rows) workflowRow {
	s := history.Summarize(r)
	return workflowRow{
		Instance: r.Instance, App: r.App, Namespace: r.Namespace, Workflow: s.Name, Status: s.Status, Started: s.Started,
		Updated: s.Updated, Events: s.Events, Signed: s.Signatures > 0,
	}
}

func workflowTable(out io.Writer, rows []workflowRow) error {
	t := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "INSTANCE\tAPP\tWORKFLOW\tSTATUS\tSTARTED\tEVENTS\tSIGNED")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", plain(r.Instance), plain(r.App), dash(r.Workflow), dash(r.Status),
			timeText(r.Started), r.Events, yesNo(r.Signed))
	}
	return t.Flush()
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
