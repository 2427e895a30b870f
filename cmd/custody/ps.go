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
		Long: `Lists the runs of custody up on this machine, with their apps, ports and SPIFFE
IDs. STATUS is one of

  starting  not every part of it answers yet
  running   all does
  left      its custody process is gone without having cleaned up: custody down does
  kept      it has ended, and --keep kept its folder: custody down removes it

Exit status: 0 done; 2 wrong flags, or the runs cannot be read.`,
		Example: `  custody ps
  custody ps -o json`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("-o", format, "table", "json"); err != nil {
				return err
			}
			home, err := homeFolder()
			if err != nil {
				return usage(err)
			}
			runs, err := localdomain.Runs(home)
			if err != nil {
				return usage(err)
			}
			if format == "json" {
				return psJSON(cmd.OutOrStdout(), runs)
			}
			return psTable(cmd.OutOrStdout(), runs)
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
