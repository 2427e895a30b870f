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
	Server string `json:"server"`
	// One of them says what is asked about.
	Tool     string `json:"tool,omitempty"`
	Prompt   string `json:"prompt,omitempty"`
	Resource string `json:"resource,omitempty"`
	dataAction
	Grants []grantRow    `json:"grants"`
	Denied []deniedGrant `json:"denied"`
	Set    string        `json:"set"`
}

type grantRow struct {
	Caller string `json:"caller"`
	Policy string `json:"policy"`
	Rule   string `json:"rule"`
	When   string `json:"when,omitempty"`
	// Demands are what the rule demands of the use of a table.
	Demands []string    `json:"demands,omitempty"`
	Source  string      `json:"source"`
	Except  []exceptRow `json:"except,omitempty"`
}

type exceptRow struct {
	Caller string `json:"caller"`
	Policy string `json:"policy"`
	Rule   string `json:"rule"`
	When   string `json:"when,omitempty"`
	// Demands are which use of a table it denies.
	Demands []string `json:"demands,omitempty"`
	Source  string   `json:"source"`
}

// deniedGrant is an allow that a deny takes back whole.
type deniedGrant struct {
	grantRow
	By exceptRow `json:"by"`
}

func newPolicyWhoCanCommand() *cobra.Command {
	var folder policyFolder
	var format string
	asked := whoCan{Grants: []grantRow{}, Denied: []deniedGrant{}}
	cmd := &cobra.Command{
		Use:   "who-can --server S --tool T",
		Short: "List every caller that may call a tool, get a prompt, read a resource or reach a table or key, and the rule that allows it",
		Long: `Lists the callers and caller patterns to which a rule of the folder allows the
tool, or what other flags name in its place: a prompt, a resource, a table or function
of a database, a key of a state store. The condition of the rule is printed if it has
one, and in brackets what it demands of the use of a table. EXCEPT are the callers that a
deny takes out of a pattern, or out of some calls if it has a condition or names columns. What a
deny takes back whole comes after, under DENIED BY. Dapr's access control in Configurations
is not part of the folder.
` + policyFolderHelp + `

Exit status: 0 done, also if nobody may; 2 wrong flags, or a policy has an error.`,
		Example: `  custody policy who-can --server orders --tool update_order_status
  custody policy who-can --server orders --resource file:///docs/returns.md
  custody policy who-can --server orders-db --sql select --table shop.orders
  custody policy who-can --server cart-store --state get --key cart-1
  custody policy who-can --server orders --tool run_report --dir policies -o json`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := policyFormat(format); err != nil {
				return err
			}
			action, err := asked.action()
			if err != nil {
				return usage(err)
			}
			set, err := folder.set(cmd)
			if err != nil {
				return err
			}
			asked.ask(set, action)
			return asked.print(cmd.OutOrStdout(), format)
		},
	}
	folder.addFlags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&asked.Server, "server", "", "name of the MCP server, state store or database")
	flags.StringVar(&asked.Tool, "tool", "", "tool that is called")
	flags.StringVar(&asked.Prompt, "prompt", "", "prompt that is asked for")
	flags.StringVar(&asked.Resource, "resource", "", "URI of the resource that is read")
	asked.addFlags(flags)
	flags.StringVarP(&format, "output", "o", "table", "table, json or yaml")
	return cmd
}

func (a *whoCan) action() (policy.Action, error) {
	q := policyQuestion{server: a.Server, tool: a.Tool, prompt: a.Prompt, resource: a.Resource, data: a.dataAction}
	action, err := q.action()
	if err != nil && !a.given() {
		return action, errors.New("name --server and one of --tool, --prompt, --resource, " + dataWays)
	}
	return action, err
}

// ask fills in the answer.
func (a *whoCan) ask(set *policy.Set, action policy.Action) {
	a.Set = set.Digest()
	for _, g := range set.WhoCan(action) {
		row := grantRow{Caller: g.Caller, Policy: g.Policy, Rule: g.Rule, When: g.When, Demands: g.Demands, Source: g.Source}
		whole := slices.IndexFunc(g.Except, func(e policy.Exception) bool { return e.All })
		for i, e := range g.Except {
			except := exceptRow{Caller: e.Caller, Policy: e.Policy, Rule: e.Rule, When: e.When, Demands: e.Demands, Source: e.Source}
			switch whole {
			case -1:
				row.Except = append(row.Except, except)
			case i:
				a.Denied = append(a.Denied, deniedGrant{grantRow: row, By: except})
			}
		}
		if whole < 0 {
			a.Grants = append(a.Grants, row)
		}
	}
}

func (a *whoCan) print(w io.Writer, format string) error {
	if format != "table" {
		return policyValue(w, format, a)
	}
	if len(a.Grants) == 0 {
		fmt.Fprintf(w, "nobody may %s\n", plain(a.what()))
	} else {
		t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
		fmt.Fprintln(t, "CALLER\tALLOWED BY\tEXCEPT\tSOURCE")
		for _, g := range a.Grants {
			var except []string
			for _, e := range g.Except {
				except = append(except, e.Caller+" ("+e.Policy+"/"+e.Rule+narrowing(e.When, e.Demands)+")")
			}
			fmt.Fprintf(t, "%s\t%s/%s%s\t%s\t%s\n", g.Caller, g.Policy, g.Rule, narrowing(g.When, g.Demands), orDash(strings.Join(except, ", ")), g.Source)
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
		fmt.Fprintf(t, "%s\t%s/%s%s\t%s/%s\t%s\n", d.Caller, d.Policy, d.Rule, narrowing(d.When, d.Demands), d.By.Policy, d.By.Rule, d.By.Source)
	}
	return t.Flush()
}

func (a *whoCan) what() string {
	switch {
	case a.Prompt != "":
		return "get prompt " + a.Prompt + " of " + a.Server
	case a.Resource != "":
		return "read " + a.Resource + " of " + a.Server
	case a.given():
		return a.dataAction.what(a.Server)
	default:
		return "call " + a.Server + "/" + a.Tool
	}
}

// under words a condition for a table; it is empty for none.
func under(when string) string {
	if when == "" {
		return ""
	}
	return " when " + plain(strings.Join(strings.Fields(when), " "))
}
