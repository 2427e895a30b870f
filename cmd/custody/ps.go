// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/dapr-custody/custody/internal/localdomain"
)

func newPsCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "List the runs on this machine, their apps, ports and SPIFFE IDs",
		Example: `  custody ps
  custody ps -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			home, err := homeFolder()
			if err != nil {
				return err
			}
			runs, err := localdomain.Runs(home)
			if err != nil {
				return err
			}
			switch format {
			case "json":
				return psJSON(cmd.OutOrStdout(), runs)
			case "table":
				return psTable(cmd.OutOrStdout(), runs)
			}
			return fmt.Errorf("-o %q is not known; write table or json", format)
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "table", "table or json")
	return cmd
}

// psRun is a run as ps prints it.
type psRun struct {
	localdomain.Run
	Status string `json:"status"`
}

func psJSON(w io.Writer, runs []localdomain.Run) error {
	list := make([]psRun, 0, len(runs))
	for _, run := range runs {
		list = append(list, psRun{Run: run, Status: run.Status()})
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(list)
}

func psTable(w io.Writer, runs []localdomain.Run) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "RUN\tSTATUS\tAPP\tAPP PORT\tDAPR HTTP\tDAPR GRPC\tSPIFFE ID")
	for _, run := range runs {
		workloads := run.Workloads()
		if len(workloads) == 0 {
			fmt.Fprintf(t, "%s\t%s\t-\t-\t-\t-\t-\n", run.ID, run.Status())
		}
		for _, app := range workloads {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", run.ID, run.Status(), app.AppID,
				portText(app.AppPort), portText(app.DaprHTTPPort), portText(app.DaprGRPCPort), app.SPIFFEID)
		}
	}
	return t.Flush()
}

func portText(port int) string {
	if port == 0 {
		return "-"
	}
	return strconv.Itoa(port)
}
