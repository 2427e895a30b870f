// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dapr-custody/custody/internal/dossier"
)

func newChainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "chain",
		Short: "Show, verify and export the chain of custody of a workflow",
		Long: `A chain is what the steps of a workflow signed (docs/chain.md). These commands
put it together from Dapr's history in the actor state store and from the
journals of the sidecars, and verify it: Dapr's signatures, the links, that each
step has its link and each link its step, that each signer is the app of its
step, certificates at the time that the signed history or the log vouches for,
and the anchors of the history in the journals.

What is read: the stores of --component FILE, else those of the runs that
"custody ps" lists; the journals of --journal DIR, else those of CUSTODY_JOURNAL,
else those of the runs. Where the argument is a file, it is a chain that
"custody chain export" wrote, and nothing else is read.

A chain goes on in child workflows, whose apps may have stores of their own: give
--component for each, or for the folders that they are in. An instance of an app
has to be in one of them.

Exit status: 0 all is well; 1 something is wrong with the chain; 2 wrong flags,
or what was named cannot be read.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newChainShowCommand(), newChainVerifyCommand(), newChainExportCommand())
	usageFlags(cmd)
	return cmd
}

// chainFlags say what is put together, and against what it is verified.
type chainFlags struct {
	storeFlags

	journals []string
	anchored bool
}

func (f *chainFlags) add(cmd *cobra.Command) {
	f.storeFlags.add(cmd)
	f.addBundle(cmd)
	journalFlag(cmd, &f.journals)
}

// verified puts a chain together, or reads it from a file, and verifies it.
func (f *chainFlags) verified(ctx context.Context, argument string) (*dossier.Report, error) {
	bundles, err := f.bundles()
	if err != nil {
		return nil, err
	}
	if bundles == nil {
		return nil, usage(errors.New("--trust-bundle is missing: name a file with the roots that you trust, such as Sentry's ca.crt"))
	}
	d, notes, err := f.dossier(ctx, argument)
	if err != nil {
		return nil, err
	}
	report := d.Verify(dossier.Options{Bundles: bundles, Anchored: f.anchored})
	report.Notes = append(report.Notes, notes...)
	return report, nil
}

func (f *chainFlags) dossier(ctx context.Context, argument string) (*dossier.Dossier, []string, error) {
	info, err := os.Stat(argument)
	if err != nil || !info.Mode().IsRegular() {
		d, notes, failed := f.gather(ctx, argument)
		if failed != nil && errors.Is(err, fs.ErrNotExist) && strings.ContainsAny(argument, "./") {
			failed = fmt.Errorf("%w (and there is no file %s)", failed, argument)
		}
		return d, notes, failed
	}
	if info.Size() > dossier.MaxBytes {
		return nil, nil, usage(fmt.Errorf("%s has more than %d bytes", argument, dossier.MaxBytes))
	}
	text, err := os.ReadFile(argument)
	if err != nil {
		return nil, nil, usage(err)
	}
	d, err := dossier.Decode(text)
	if err != nil {
		return nil, nil, usage(fmt.Errorf("%s: %w", argument, err))
	}
	return d, nil, nil
}

func newChainShowCommand() *cobra.Command {
	var flags chainFlags
	var output, graph string
	cmd := &cobra.Command{
		Use:   "show INSTANCE|FILE",
		Short: "Show the steps of a chain, one on each line",
		Long: `Shows who did what, in which order, and whether it holds. HISTORY names the
events of Dapr's history by which the step was scheduled and its result
recorded. --graph prints a picture in the language of Mermaid or Graphviz.`,
		Example: `  custody chain show refund-7
  custody chain show refund-7 --component intake/statestore.yaml --component fraud/statestore.yaml
  custody chain show refund-7 --graph mermaid > refund-7.mmd
  custody chain show refund-7.chain.json --trust-bundle ca.crt --trust-domain custody.local -o json`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := policyFormat(output); err != nil {
				return err
			}
			if graph != "" {
				if err := oneOf("--graph", graph, "mermaid", "dot"); err != nil {
					return err
				}
			}
			report, err := flags.verified(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			switch out := cmd.OutOrStdout(); {
			case graph != "":
				err = chainGraph(out, report, graph)
			case output != "table":
				err = policyValue(out, output, newChainView(report))
			default:
				err = chainTable(out, report)
			}
			return errors.Join(err, chainVerdict(report))
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table, json or yaml")
	cmd.Flags().StringVar(&graph, "graph", "", "print a picture instead: mermaid or dot")
	return cmd
}

func newChainVerifyCommand() *cobra.Command {
	var flags chainFlags
	var output string
	cmd := &cobra.Command{
		Use:   "verify INSTANCE|FILE",
		Short: "Verify a chain, and say exactly what is wrong",
		Long: `Verifies all that is known of a chain. With a FILE that "custody chain export"
wrote, nothing else is needed but the roots: no Dapr, no network, no server.

The trust bundle is certificates in PEM, a SPIFFE bundle, or roots in JSON with
the time until which each was good, so that what a retired root vouched for in
its time still holds, and nothing later does:
  {"roots": [{"pem": "...", "validUntil": "2026-06-30T00:00:00Z"}]}

--anchored demands that a journal knows the history; without, a history that
nobody anchored is good, and may be an earlier copy.`,
		Example: `  custody chain verify refund-7
  custody chain verify refund-7 --app intake --component intake/resources --component fraud/resources --journal intake/journal
  custody chain verify refund-7.chain.json --trust-bundle ca.crt --trust-domain custody.local --anchored`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf("-o", output, "text", "json", "yaml"); err != nil {
				return err
			}
			report, err := flags.verified(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if output == "text" {
				chainText(cmd.OutOrStdout(), report)
			} else if err := policyValue(cmd.OutOrStdout(), output, newChainView(report)); err != nil {
				return err
			}
			return chainVerdict(report)
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&flags.anchored, "anchored", false, "a history that no journal knows is wrong")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text, json or yaml")
	return cmd
}

func newChainExportCommand() *cobra.Command {
	var flags chainFlags
	var file string
	cmd := &cobra.Command{
		Use:   "export INSTANCE",
		Short: "Write all that a chain needs to be verified into one file",
		Long: `Writes the rows of the histories, the links, the anchors and the heads of the
journals as they are, whether they verify or not. The file holds what the
workflow was given and what it answered: keep it as you keep those.`,
		Example: `  custody chain export refund-7 --file refund-7.chain.json
  custody chain export refund-7 --component intake/resources --component fraud/resources --file refund-7.chain.json
  custody chain verify refund-7.chain.json --trust-bundle ca.crt --trust-domain custody.local`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.export(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), args[0], file)
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&file, "file", "", "file to write; - or nothing prints it")
	return cmd
}
