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
	"time"

	"github.com/spf13/cobra"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/evidence"
	"github.com/dapr-custody/custody/internal/receipt"
)

const outcomeUnknown = "unknown"

type receiptsListFlags struct {
	journals             []string
	caller, tool, effect string
	since                string
	limit                int
	shadow               bool
	output               string
}

func newReceiptsListCommand() *cobra.Command {
	var flags receiptsListFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List decided calls, oldest first",
		Long: `Lists decided calls by the time of the decision. A call whose outcome is
"unknown" has an intent and no receipt: the guard was stopped before it could
write one, or is still at it.

The journals are checked, the signatures are not; "custody receipts verify"
does that.`,
		Example: `  custody receipts list
  custody receipts list --effect deny --since 1h
  custody receipts list --caller support-agent --tool get_order -o json
  custody receipts list --shadow --since 24h
  custody receipts list --journal /var/lib/custody/orders --limit 20`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.run(cmd.OutOrStdout(), cmd.ErrOrStderr(), time.Now())
		},
	}
	journalFlag(cmd, &flags.journals)
	f := cmd.Flags()
	f.StringVar(&flags.caller, "caller", "", "only calls of this SPIFFE ID, or of IDs that end in /NAME")
	f.StringVar(&flags.tool, "tool", "", "only calls of this tool, and requests that touch this table, function or key: NAME or SERVER/NAME")
	f.StringVar(&flags.effect, "effect", "", "only allow or only deny")
	f.BoolVar(&flags.shadow, "shadow", false, "only calls that policies in shadow mode would decide otherwise")
	f.StringVar(&flags.since, "since", "", "only calls decided since then: 90m, 24h, 7d or 2026-11-01T00:00:00Z (default: all)")
	f.IntVar(&flags.limit, "limit", 0, "only the last N; 0 is all")
	f.StringVarP(&flags.output, "output", "o", "table", "table or json")
	return cmd
}

// listRow is a decided call as list prints it.
type listRow struct {
	Time   time.Time `json:"time"`
	ID     string    `json:"id"`
	Caller string    `json:"caller,omitempty"`
	// Txn and Actors are those of the transaction token, where one came with the call.
	Txn     string        `json:"txn,omitempty"`
	Actors  []spiffeid.ID `json:"actors,omitempty"`
	Kind    string        `json:"kind"`
	Server  string        `json:"server,omitempty"`
	Name    string        `json:"name,omitempty"`
	Effect  string        `json:"effect,omitempty"`
	Outcome string        `json:"outcome"`
	Policy  string        `json:"policy,omitempty"`
	Rule    string        `json:"rule,omitempty"`
	Reason  string        `json:"reason,omitempty"`
	// Shadow is what the policies in shadow mode would have decided, where that is something else.
	Shadow *receipt.Shadow `json:"shadow,omitempty"`
	// Touched are the parts of a request that has several, TouchedMore counts those that the receipt does not name.
	Touched     []receipt.Touched  `json:"touched,omitempty"`
	TouchedMore int                `json:"touchedMore,omitempty"`
	Statement   *receipt.Statement `json:"statement,omitempty"`
	// Rows were returned or changed.
	Rows    int64  `json:"rows,omitempty"`
	Digest  string `json:"digest,omitempty"`
	App     string `json:"app,omitempty"`
	Journal string `json:"journal"`
	Seq     uint64 `json:"seq"`
}

func (f *receiptsListFlags) run(out, warnings io.Writer, now time.Time) error {
	if err := oneOf("-o", f.output, "table", "json"); err != nil {
		return err
	}
	if f.effect != "" {
		if err := oneOf("--effect", f.effect, receipt.EffectAllow, receipt.EffectDeny); err != nil {
			return err
		}
	}
	if f.limit < 0 {
		return usage(errors.New("--limit must not be negative; 0 is all"))
	}
	since, err := parseSince(f.since, now)
	if err != nil {
		return usage(err)
	}
	sources, err := journalSources(f.journals)
	if err != nil {
		return err
	}
	rows := []listRow{}
	wrong := walkJournals(sources, warnings, func(source journalSource, item *evidence.Item) error {
		if row := newListRow(source, item); f.wants(row, since) {
			rows = append(rows, row)
		}
		return nil
	})
	slices.SortStableFunc(rows, func(a, b listRow) int { return a.Time.Compare(b.Time) })
	if f.limit > 0 && len(rows) > f.limit {
		rows = rows[len(rows)-f.limit:]
	}
	if err := f.print(out, rows); err != nil {
		return err
	}
	return wrong
}

func (f *receiptsListFlags) print(out io.Writer, rows []listRow) error {
	if f.output == "json" {
		return policyJSON(out, rows)
	}
	return listTable(out, rows)
}

func newListRow(source journalSource, item *evidence.Item) listRow {
	row := listRow{ID: item.ID(), Outcome: outcomeUnknown, App: source.App, Journal: item.Source, Seq: item.Seq}
	var caller fmt.Stringer
	var action receipt.Action
	if r := item.Receipt; r != nil {
		caller, action, row.Time = r.Caller.SPIFFEID, r.Action, r.Times.Decided
		row.Effect, row.Outcome, row.Digest = r.Decision.Effect, r.Outcome.Status, item.Envelope.Digest()
		row.Policy, row.Rule, row.Reason = r.Decision.Policy, r.Decision.Rule, r.Decision.Reason
		row.Shadow, row.Txn, row.Actors = r.Decision.Shadow, r.Txn, r.Actors
		row.Touched, row.TouchedMore, row.Statement, row.Rows = r.Touched, r.TouchedMore, r.Statement, r.Outcome.Rows
	} else {
		caller, action, row.Time = item.Intent.Caller, item.Intent.Action, item.Intent.Decided
		row.Txn, row.Actors = item.Intent.Txn, item.Intent.Actors
	}
	row.Caller, row.Kind, row.Server, row.Name = caller.String(), action.Kind, action.Server, action.Name
	return row
}

func (f *receiptsListFlags) wants(row listRow, since time.Time) bool {
	switch {
	case f.caller != "" && row.Caller != f.caller && !strings.HasSuffix(row.Caller, "/"+f.caller):
		return false
	case f.tool != "" && !row.names(f.tool):
		return false
	case f.shadow && row.Shadow == nil:
		return false
	case f.effect != "" && row.Effect != f.effect:
		return false
	case row.Time.Before(since):
		return false
	}
	return true
}

// names reports whether the call or a part of it is of this name.
func (r listRow) names(name string) bool {
	of := func(each string) bool { return each == name || r.Server+"/"+each == name }
	return of(r.Name) || slices.ContainsFunc(r.Touched, func(t receipt.Touched) bool { return of(t.Name) })
}

func listTable(out io.Writer, rows []listRow) error {
	t := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "TIME\tID\tCALLER\tACTION\tEFFECT\tOUTCOME\tPOLICY/RULE")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Time.UTC().Format("2006-01-02T15:04:05.000Z"), r.ID, dash(r.Caller),
			plain(actionText(r.Kind, r.Server, r.Name)+r.more()), dash(r.Effect), r.Outcome, plain(r.ruleAndShadow()))
	}
	return t.Flush()
}

// more counts the parts beside the one that the call is named by.
func (r listRow) more() string {
	if n := len(r.Touched) + r.TouchedMore - 1; n > 0 {
		return fmt.Sprintf(" and %d more", n)
	}
	return ""
}

func actionText(kind, server, name string) string {
	if server == "" && name == "" {
		return kind
	}
	return kind + " " + server + "/" + name
}

// ruleAndShadow names the rule, and what would be decided with shadow policies enforced.
func (r listRow) ruleAndShadow() string {
	text := dash(ruleText(r.Policy, r.Rule))
	if r.Shadow == nil {
		return text
	}
	return text + " (in shadow mode: " + strings.TrimSpace(r.Shadow.Effect+" "+ruleText(r.Shadow.Policy, r.Shadow.Rule)) + ")"
}

func ruleText(policy, rule string) string {
	if rule == "" {
		return policy
	}
	return policy + "/" + rule
}
