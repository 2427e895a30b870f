// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/dapr-custody/custody/internal/localdomain"
)

func newDownCommand() *cobra.Command {
	var file string
	var all bool
	cmd := &cobra.Command{
		Use:   "down [RUN-ID]",
		Short: "Stop a run, also one that was left behind, and remove its folder",
		Long: `Stops a run: the one with the ID, the runs of a file with -f, all with --all,
else the only one there is. A run whose custody process was killed is cleaned
up: only processes that the run itself started are touched.

Exit status: 0 stopped; 1 there is no such run, or it could not be stopped; 2
wrong flags, or the runs cannot be read.`,
		Example: `  custody down
  custody down orders-5a2705eb
  custody down -f examples/orders/dapr.yaml
  custody down --all`,
		Annotations: map[string]string{changes: ""},
		Args:        usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			id := ""
			if len(args) == 1 {
				id = args[0]
			}
			if all && (id != "" || file != "") || id != "" && file != "" {
				return usage(errors.New("name a run, a file or --all, only one of them"))
			}
			runs, err := chooseRuns(id, file, all)
			if errors.Is(err, localdomain.ErrNoRun) {
				return errors.New("there is no such run to stop; custody ps lists those that there are")
			}
			if err != nil {
				return usage(err)
			}
			if len(runs) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "there is no run to stop")
			}
			var failed []error
			for _, run := range runs {
				if err := localdomain.Down(cmd.Context(), run); err != nil {
					failed = append(failed, err)
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "stopped %s\n", run.ID)
			}
			return errors.Join(failed...)
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "stop the runs of this run file")
	cmd.Flags().BoolVar(&all, "all", false, "stop all runs")
	return cmd
}

func chooseRuns(id, file string, all bool) ([]localdomain.Run, error) {
	home, err := homeFolder()
	if err != nil {
		return nil, err
	}
	runs, err := localdomain.Runs(home)
	if err != nil || all {
		return runs, err
	}
	if file != "" {
		if info, err := os.Stat(file); err == nil && info.IsDir() {
			file = filepath.Join(file, "dapr.yaml")
		}
		if file, err = filepath.Abs(file); err != nil {
			return nil, err
		}
	}
	return localdomain.FindRuns(runs, id, file)
}
