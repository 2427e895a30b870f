// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/evidence"
	"github.com/dapr-custody/custody/internal/receipt"
)

func newReceiptsShowCommand() *cobra.Command {
	var journals []string
	var output string
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one decided call",
		Long: `Shows the receipt with this ID, or the intent if no receipt followed it. The
signature is not checked; "custody receipts verify" does that.

With -o json the signed statement is printed; with -o envelope the receipt as it
was signed, with its certificates, so that it verifies anywhere.`,
		Example: `  custody receipts show 01a20a95-42d2-7688-9d7e-d6419ca30185
  custody receipts show 01a20a95-42d2-7688-9d7e-d6419ca30185 -o envelope > receipt.json
  custody receipts verify --trust-bundle ca.crt --trust-domain custody.local receipt.json`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf("-o", output, "text", "json", "envelope"); err != nil {
				return err
			}
			sources, err := journalSources(journals)
			if err != nil {
				return err
			}
			item, err := findItem(sources, cmd.ErrOrStderr(), args[0])
			if err != nil {
				return err
			}
			return showItem(cmd.OutOrStdout(), item, output)
		},
	}
	journalFlag(cmd, &journals)
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text, json or envelope")
	return cmd
}

func dirsOf(sources []journalSource) string {
	dirs := make([]string, 0, len(sources))
	for _, source := range sources {
		dirs = append(dirs, source.Dir)
	}
	return strings.Join(dirs, ", ")
}

// findItem finds the one item with an ID. It reads all journals to the end, for the ID might be there twice.
func findItem(sources []journalSource, warnings io.Writer, id string) (*evidence.Item, error) {
	var found []*evidence.Item
	err := walkJournals(sources, warnings, func(_ journalSource, item *evidence.Item) error {
		if item.ID() == id {
			found = append(found, item)
		}
		return nil
	})
	switch {
	case len(found) == 1:
		return found[0], nil // what is wrong elsewhere was said
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, usage(fmt.Errorf("no receipt has the ID %q in %s; custody receipts list shows those that there are", id, dirsOf(sources)))
	}
	return nil, usage(fmt.Errorf("ID %q stands in %d places (%s and %s); give --journal", id, len(found), found[0].Source,
		found[1].Source))
}

func showItem(out io.Writer, item *evidence.Item, output string) error {
	if output == "text" {
		return showText(out, item)
	}
	if item.Receipt == nil {
		return usage(fmt.Errorf("%s has no receipt, only an intent: its outcome is unknown", item.ID()))
	}
	if output == "envelope" {
		_, err := out.Write(append(plainJSON(item.Envelope.AppendJSON(nil)), '\n'))
		return err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, item.Envelope.Payload, "", "  "); err != nil {
		return err
	}
	indented.WriteByte('\n')
	_, err := out.Write(plainJSON(indented.Bytes()))
	return err
}

func showText(out io.Writer, item *evidence.Item) error {
	t := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(t, "%s\t%s\n", name, plain(value))
		}
	}
	line("id", item.ID())
	if item.Receipt != nil {
		line("receipt", item.Envelope.Digest())
		showReceipt(line, item.Receipt)
	} else {
		showIntent(line, item.Intent)
	}
	line("found in", fmt.Sprintf("%s, segment %s, offset %d, record %d", item.Source, item.Segment, item.Offset, item.Seq))
	for _, f := range item.Findings {
		line("WRONG", f.Reason)
	}
	if item.Receipt != nil {
		line("signature", "not checked here; see custody receipts verify")
	}
	return t.Flush()
}

// showBehalf shows who stands behind a call.
func showBehalf(line func(name, value string), txn string, actors []spiffeid.ID) {
	line("transaction", txn)
	for i, id := range actors {
		name := "  through"
		if i == 0 {
			name = "  begun by"
		}
		line(name, id.String())
	}
}

func showReceipt(line func(name, value string), r *receipt.Receipt) {
	line("door", strings.TrimSpace(r.Door.SPIFFEID.String()+" "+r.Door.Name))
	line("caller", orNobody(r.Caller.SPIFFEID.String()))
	line("  proof", r.Caller.Proof)
	line("  certificate", r.Caller.CertificateDigest.String())
	showBehalf(line, r.Txn, r.Actors)
	line("action", actionText(r.Action.Kind, r.Action.Server, r.Action.Name))
	line("  to", r.To.String())
	line("  request", r.RequestDigest.String())
	line("  arguments", r.ArgumentsDigest.String())
	showParts(line, r)
	line("effect", r.Decision.Effect)
	line("  rule", ruleText(r.Decision.Policy, r.Decision.Rule))
	line("  reason", r.Decision.Reason)
	line("  set", r.Decision.SetDigest.String())
	if s := r.Decision.Shadow; s != nil {
		line("in shadow mode", s.Effect)
		line("  rule", ruleText(s.Policy, s.Rule))
		line("  reason", s.Reason)
	}
	showOutcome(line, r)
	if wf := r.Workflow; wf != nil {
		line("workflow", strings.TrimSpace(wf.Instance+" "+wf.Name))
		line("  step", wf.Step)
		line("  app", wf.App)
	}
	for _, d := range r.Prev {
		line("continues", d.String())
	}
	line("decided", r.Times.Decided.UTC().Format(time.RFC3339Nano))
	line("settled", r.Times.Settled.UTC().Format(time.RFC3339Nano))
	line("stands on", fmt.Sprintf("record %d of journal %s", r.Journal.Seq, r.Journal.ID))
}

// showParts shows what a request touched, and its statement.
func showParts(line func(name, value string), r *receipt.Receipt) {
	for _, t := range r.Touched {
		line("  touches", strings.TrimSpace(t.Kind+" "+t.Name))
	}
	if r.TouchedMore > 0 {
		line("  touches", fmt.Sprintf("%d more, which are not named", r.TouchedMore))
	}
	if s := r.Statement; s != nil {
		line("  statement", s.Digest.String())
		line("  fingerprint", s.Fingerprint)
		line("  text", s.Text)
	}
}

func showOutcome(line func(name, value string), r *receipt.Receipt) {
	line("outcome", r.Outcome.Status)
	line("  reason", r.Outcome.Reason)
	if r.Outcome.HTTPStatus != 0 {
		line("  HTTP status", strconv.Itoa(r.Outcome.HTTPStatus))
	}
	if r.Outcome.Rows > 0 {
		line("  rows", strconv.FormatInt(r.Outcome.Rows, 10))
	}
	line("  response", r.Outcome.ResponseDigest.String())
	line("  result", r.Outcome.ResultDigest.String())
	for _, kind := range slices.Sorted(maps.Keys(r.Outcome.Redacted)) {
		line("  redacted", fmt.Sprintf("%s, %d times", kind, r.Outcome.Redacted[kind]))
	}
}

func showIntent(line func(name, value string), i *receipt.Intent) {
	line("caller", orNobody(i.Caller.String()))
	showBehalf(line, i.Txn, i.Actors)
	line("action", actionText(i.Action.Kind, i.Action.Server, i.Action.Name))
	line("  request", i.RequestDigest.String())
	line("outcome", outcomeUnknown+": an intent was written, and no receipt followed it")
	line("decided", i.Decided.UTC().Format(time.RFC3339Nano))
}

func orNobody(id string) string {
	if id == "" {
		return "not established"
	}
	return id
}
