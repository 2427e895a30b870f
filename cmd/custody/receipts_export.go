// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bufio"
	"errors"

	"github.com/spf13/cobra"

	"github.com/dapr-custody/custody/internal/evidence"
)

func newReceiptsExportCommand() *cobra.Command {
	var journals []string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Print all receipts with their certificates, one on each line",
		Long: `Prints the receipts of journals as an in-toto bundle (.intoto.jsonl): one DSSE
envelope on each line, with the certificates that verify it. Intents without a
receipt are not in it. Nothing keeps lines from being removed from such a file;
keep the journal where that matters.`,
		Example: `  custody receipts export > receipts.intoto.jsonl
  custody receipts verify --trust-bundle ca.crt --trust-domain custody.local receipts.intoto.jsonl`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			sources, err := journalSources(journals)
			if err != nil {
				return err
			}
			out := bufio.NewWriter(cmd.OutOrStdout())
			var line []byte
			err = walkJournals(sources, cmd.ErrOrStderr(), func(_ journalSource, item *evidence.Item) error {
				if item.Receipt == nil {
					return nil
				}
				line = append(item.Envelope.AppendJSON(line[:0]), '\n')
				_, err := out.Write(line)
				return err
			})
			return errors.Join(err, out.Flush())
		},
	}
	journalFlag(cmd, &journals)
	return cmd
}
