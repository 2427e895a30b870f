// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/dapr-custody/custody/internal/evidence"
)

func newReceiptsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "receipts",
		Short: "List, show, verify and export the receipts of decided calls",
		Long: `Reads the journals in which guards keep their receipts. Nothing is changed, and
no server is asked.

Which journals: those that --journal names (it may be repeated), else those in
the variable CUSTODY_JOURNAL (separated like PATH), else those of the runs that
"custody ps" lists.

Exit status: 0 all is well; 1 something is wrong with a receipt or a journal;
2 wrong flags, or what was named cannot be read.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newReceiptsListCommand(),
		newReceiptsShowCommand(),
		newReceiptsVerifyCommand(),
		newReceiptsExportCommand(),
	)
	usageFlags(cmd)
	return cmd
}

func findings(n int) error {
	return &exitError{code: exitNo, err: errors.New(count(n, "thing is", "things are") + " wrong")}
}

// walkJournals gives every item of the journals to visit. What is wrong with them goes to warnings and into the error.
func walkJournals(sources []journalSource, warnings io.Writer, visit func(journalSource, *evidence.Item) error) error {
	wrong := 0
	for _, source := range sources {
		summary, err := evidence.Walk(source.Dir, func(item *evidence.Item) error { return visit(source, item) })
		if source.missing(err) {
			continue
		}
		if err != nil {
			return usage(err)
		}
		for _, finding := range summary.Findings {
			fmt.Fprintln(warnings, "custody: wrong:", plain(finding.String()))
		}
		wrong += len(summary.Findings)
	}
	if wrong > 0 {
		return findings(wrong)
	}
	return nil
}

// plain keeps what came from a request from steering the terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

// plainJSON is plain for JSON, which stays what it is: it may have what steers a terminal in texts alone, which say the same
// by escapes.
func plainJSON(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r < utf8.RuneSelf && r != 0x7f, unicode.IsPrint(r):
			out = append(out, text[:size]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		text = text[size:]
	}
	return out
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return plain(s)
}

func count(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

func oneOf(flag, value string, allowed ...string) error {
	for _, a := range allowed {
		if value == a {
			return nil
		}
	}
	return usage(errors.New(flag + " " + plain(value) + " is not known; write " + strings.Join(allowed, " or ")))
}
