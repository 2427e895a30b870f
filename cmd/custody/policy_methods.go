// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/dapr-custody/custody/internal/toolcall"
)

// methodRow is a method of MCP as the command prints it.
type methodRow struct {
	Method     string   `json:"method"`
	FromServer bool     `json:"fromServer,omitempty"`
	Default    string   `json:"default"`
	Filtered   bool     `json:"filtered,omitempty"`
	MatchedBy  []string `json:"matchedBy"`
	Revisions  []string `json:"revisions"`
}

func newPolicyMethodsCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "methods",
		Short: "List every method of MCP, and who may use it where no rule says otherwise",
		Long: `Lists what a client may send to a server and what a server may ask of a client, in
every revision of MCP that a guard understands. DEFAULT is

  named   nobody, unless a rule allows it
  reach   whoever some rule lets use a tool, prompt, resource or method of the server
  owner   the caller whose call made the task, as long as it may make that call

and "filtered" says that the answer shows a caller only what it may use. MATCHED BY
are the lists of a rule that name the method; a rule that denies it by methods holds
against every default.

Exit status: 0 done; 2 wrong flags.`,
		Example: `  custody policy methods
  custody policy methods -o json`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := policyFormat(format); err != nil {
				return err
			}
			return printMethods(cmd.OutOrStdout(), format)
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "table", "table, json or yaml")
	return cmd
}

func printMethods(w io.Writer, format string) error {
	var rows []methodRow
	for _, m := range toolcall.Methods() {
		rows = append(rows, methodRow{
			Method: m.Name, FromServer: m.FromServer, Default: m.Default.String(), Filtered: m.Filtered,
			MatchedBy: m.Lists, Revisions: m.Versions,
		})
	}
	if format != "table" {
		return policyValue(w, format, rows)
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "METHOD\tFROM\tDEFAULT\tMATCHED BY\tREVISIONS")
	for _, r := range rows {
		from, by := "client", r.Default
		if r.FromServer {
			from = "server"
		}
		if r.Filtered {
			by += ", filtered"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", r.Method, from, by, strings.Join(r.MatchedBy, ","), strings.Join(r.Revisions, ","))
	}
	return t.Flush()
}
