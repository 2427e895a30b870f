// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/dapr-custody/custody/internal/policy"
)

// whoCan is an answer of who-can.
type whoCan struct {
	Server string        `json:"server"`
	Tool   string        `json:"tool"`
	Grants []grantRow    `json:"grants"`
	Denied []deniedGrant `json:"denied"`
	Set    string        `json:"set"`
}

type grantRow struct {
	Caller string      `json:"caller"`
	Policy string      `json:"policy"`
	Rule   string      `json:"rule"`
	When   string      `json:"when,omitempty"`
	Source string      `json:"source"`
	Except []exceptRow `json:"except,omitempty"`
}

type exceptRow struct {
	Caller string `json:"caller"`
	Policy string `json:"policy"`
	Rule   string `json:"rule"`
	When   string `json:"when,omitempty"`
	Source string `json:"source"`
}

// deniedGrant is an allow that a deny takes back whole.
type deniedGrant struct {
	grantRow
	By exceptRow `json:"by"`
}

func newPolicyWhoCanCommand() *cobra.Command {
	var folder policyFolder
	var server, tool, format string
	cmd := &cobra.Command{
		Use:   "who-can --server S --tool T",
		Short: "List every caller that may call a tool, and the rule that allows it",
		Long: `Lists the callers and caller patterns to which a rule of the folder allows the
tool, with the condition of the rule if it has one. EXCEPT are the callers that a
deny takes out of a pattern, or out of some calls if it has a condition. What a
deny takes back whole comes after, under DENIED BY. Dapr's access control in Configurations
is not part of the folder.
` + policyFolderHelp + `

Exit status: 0 done, also if nobody may; 2 wrong flags, or a policy has an error.`,
		Example: `  custody policy who-can --server orders --tool update_order_status
  custody policy who-can --server orders --tool run_report --dir policies -o json`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := policyFormat(format); err != nil {
				return err
			}
			if server == "" || tool == "" {
				return usage(errors.New("name --server and --tool"))
			}
			set, err := folder.set(cmd)
			if err != nil {
				return err
			}
			return newWhoCan(set, server, tool).print(cmd.OutOrStdout(), format)
		},
	}
	folder.addFlags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&server, "server", "", "name of the MCP server")
	flags.StringVar(&tool, "tool", "", "tool that is called")
	flags.StringVarP(&format, "output", "o", "table", "table, json or yaml")
	return cmd
}

func newWhoCan(set *policy.Set, server, tool string) whoCan {
	answer := whoCan{Server: server, Tool: tool, Grants: []grantRow{}, Denied: []deniedGrant{}, Set: set.Digest()}
	for _, g := range set.WhoCan(policy.Action{Kind: policy.KindToolCall, Server: server, Name: tool}) {
		row := grantRow{Caller: g.Caller, Policy: g.Policy, Rule: g.Rule, When: g.When, Source: g.Source}
		whole := slices.IndexFunc(g.Except, func(e policy.Exception) bool { return e.All })
		for i, e := range g.Except {
			except := exceptRow{Caller: e.Caller, Policy: e.Policy, Rule: e.Rule, When: e.When, Source: e.Source}
			switch whole {
			case -1:
				row.Except = append(row.Except, except)
			case i:
				answer.Denied = append(answer.Denied, deniedGrant{grantRow: row, By: except})
			}
		}
		if whole < 0 {
			answer.Grants = append(answer.Grants, row)
		}
	}
	return answer
}

func (a whoCan) print(w io.Writer, format string) error {
	if format != "table" {
		return policyValue(w, format, a)
	}
	if len(a.Grants) == 0 {
		fmt.Fprintf(w, "nobody may call %s/%s\n", plain(a.Server), plain(a.Tool))
	} else {
		t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
		fmt.Fprintln(t, "CALLER\tALLOWED BY\tEXCEPT\tSOURCE")
		for _, g := range a.Grants {
			var except []string
			for _, e := range g.Except {
				except = append(except, e.Caller+" ("+e.Policy+"/"+e.Rule+under(e.When)+")")
			}
			fmt.Fprintf(t, "%s\t%s/%s%s\t%s\t%s\n", g.Caller, g.Policy, g.Rule, under(g.When), orDash(strings.Join(except, ", ")), g.Source)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	if len(a.Denied) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "CALLER\tALLOWED BY\tDENIED BY\tSOURCE")
	for _, d := range a.Denied {
		fmt.Fprintf(t, "%s\t%s/%s%s\t%s/%s\t%s\n", d.Caller, d.Policy, d.Rule, under(d.When), d.By.Policy, d.By.Rule, d.By.Source)
	}
	return t.Flush()
}

// under words a condition for a table; it is empty for none.
func under(when string) string {
	if when == "" {
		return ""
	}
	return " when " + plain(strings.Join(strings.Fields(when), " "))
}
