// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/dapr-custody/custody/internal/evidence"
)

type receiptsVerifyFlags struct {
	journals            []string
	bundle, trustDomain string
	output              string
}

func newReceiptsVerifyCommand() *cobra.Command {
	var flags receiptsVerifyFlags
	cmd := &cobra.Command{
		Use:   "verify --trust-bundle FILE [--trust-domain TD] [--journal DIR | FILE...]",
		Short: "Verify receipts offline",
		Long: `Verifies journals, or files of exported receipts, against a trust bundle:
certificates in PEM (the ca.crt of Sentry; retired roots may stand beside it)
or a SPIFFE bundle in JSON. Neither says what trust domain it is of, so
--trust-domain has to, except for the journals of a run of custody up, which
says it. --trust-domain '*' lets the bundle speak for every trust domain.

Of each receipt: the signature, the certificate at the time that the receipt
states, that the signer is the door, and that nothing in it contradicts itself.
Of a journal also: every byte, that each receipt stands on the records that it
was signed over, and that no call was allowed without an intent.

Not found are records that were cut off the end of a journal, and receipts that
a file lacks. A door that has been broken into can state a time of the past.`,
		Example: `  custody receipts verify --trust-bundle ca.crt
  custody receipts verify --trust-bundle ca.crt --trust-domain custody.local --journal /var/lib/custody/orders
  custody receipts verify --trust-bundle bundle.json --trust-domain example.org receipts.intoto.jsonl`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, files []string) error {
			return flags.run(cmd.OutOrStdout(), cmd.ErrOrStderr(), files)
		},
	}
	journalFlag(cmd, &flags.journals)
	f := cmd.Flags()
	f.StringVar(&flags.bundle, "trust-bundle", "", "file with the authorities of the trust domain (required)")
	f.StringVar(&flags.trustDomain, "trust-domain", "", "trust domain of the bundle")
	f.StringVarP(&flags.output, "output", "o", "text", "text or json")
	return cmd
}

// verifyResult is what verify prints with -o json.
type verifyResult struct {
	OK        bool               `json:"ok"`
	Receipts  int                `json:"receipts"`
	Good      int                `json:"good"`
	Unsettled int                `json:"unsettled"`
	Sources   []*evidence.Report `json:"sources"`
	// Absent are folders of runs in which there is no journal.
	Absent   []string `json:"absent,omitempty"`
	findings int
}

func (f *receiptsVerifyFlags) run(out, warnings io.Writer, files []string) error {
	if err := oneOf("-o", f.output, "text", "json"); err != nil {
		return err
	}
	switch {
	case f.bundle == "":
		return usage(errors.New("--trust-bundle is missing: name a file with the roots that you trust, such as Sentry's ca.crt"))
	case len(files) > 0 && len(f.journals) > 0:
		return usage(errors.New("name journals or files, not both"))
	}
	var sources []journalSource
	if len(files) == 0 {
		var err error
		if sources, err = journalSources(f.journals); err != nil {
			return err
		}
	}
	bundles, err := evidence.LoadTrustBundle(f.bundle, f.domain(sources))
	if errors.Is(err, evidence.ErrNoTrustDomain) {
		return usage(fmt.Errorf("%s does not say what trust domain it is of: give --trust-domain", f.bundle))
	} else if err != nil {
		return usage(err)
	}
	progress := newProgress(warnings)
	check := evidence.Check{Bundles: bundles, Progress: progress.step}
	result := &verifyResult{Sources: []*evidence.Report{}}
	err = errors.Join(result.journals(sources, check), result.files(files, check))
	progress.end()
	if err != nil {
		return usage(err)
	}
	return f.report(out, result)
}

// domain is the trust domain of the bundle: the one given, else the one that all journals of runs are in.
func (f *receiptsVerifyFlags) domain(sources []journalSource) string {
	if f.trustDomain != "" || len(sources) == 0 {
		return f.trustDomain
	}
	for _, s := range sources {
		if s.TrustDomain != sources[0].TrustDomain {
			return ""
		}
	}
	return sources[0].TrustDomain
}

func (r *verifyResult) journals(sources []journalSource, check evidence.Check) error {
	for _, source := range sources {
		report, err := evidence.VerifyJournal(source.Dir, check)
		if source.missing(err) {
			r.Absent = append(r.Absent, source.Dir)
			continue
		}
		if err != nil {
			return err
		}
		for _, before := range r.Sources {
			if report.Journal != "" && before.Journal == report.Journal {
				report.Findings = append(report.Findings, evidence.Finding{
					Source: source.Dir, Reason: fmt.Sprintf("%s holds journal %s too: one of them is a copy, or was put back", before.Source, report.Journal),
				})
			}
		}
		r.add(report)
	}
	return nil
}

func (r *verifyResult) files(files []string, check evidence.Check) error {
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		report, err := evidence.VerifyFile(name, file, check)
		if err = errors.Join(err, file.Close()); err != nil {
			return err
		}
		r.add(report)
	}
	return nil
}

func (r *verifyResult) add(report *evidence.Report) {
	r.Sources = append(r.Sources, report)
	r.Receipts += report.Receipts
	r.Good += report.Good
	r.Unsettled += report.Unsettled
	r.findings += len(report.Findings)
}

func (f *receiptsVerifyFlags) report(out io.Writer, result *verifyResult) error {
	result.OK = result.findings == 0
	show := result.text
	if f.output == "json" {
		show = result.json
	}
	if err := show(out); err != nil {
		return err
	}
	if !result.OK {
		return findings(result.findings)
	}
	return nil
}

func (r *verifyResult) json(out io.Writer) error {
	return policyJSON(out, r)
}

func (r *verifyResult) text(out io.Writer) error {
	var lines []byte
	for _, s := range r.Sources {
		for _, finding := range s.Findings {
			lines = fmt.Appendf(lines, "WRONG  %s\n", plain(finding.String()))
		}
		lines = fmt.Appendf(lines, "%s: %d of %s good", plain(s.Source), s.Good, count(s.Receipts, "receipt", "receipts"))
		if s.Journal != "" {
			lines = fmt.Appendf(lines, ", %s without outcome, %s", count(s.Unsettled, "intent", "intents"),
				count(int(s.Records), "record", "records"))
		}
		if s.Torn > 0 {
			lines = fmt.Appendf(lines, ", and %d bytes of a record that was not written to its end", s.Torn)
		}
		lines = append(lines, '\n')
	}
	for _, dir := range r.Absent {
		lines = fmt.Appendf(lines, "note: %s\n", absentText(dir))
	}
	verdict := "GOOD"
	if !r.OK {
		verdict = "NOT GOOD"
	}
	lines = fmt.Appendf(lines, "%s: %d of %s verified, %s without outcome\n", verdict, r.Good,
		count(r.Receipts, "receipt", "receipts"), count(r.Unsettled, "intent", "intents"))
	_, err := out.Write(lines)
	return err
}

// absentText says of the folder of a run that it has no journal.
func absentText(dir string) string {
	return plain(dir) + " holds no journal: nothing was recorded there, or it was taken away"
}

// progress counts on a terminal, once verifying takes more than two seconds.
type progress struct {
	out     io.Writer // nil if there is no terminal
	started time.Time
	shown   time.Time
	n       int
}

func newProgress(out io.Writer) *progress {
	p := &progress{started: time.Now()}
	if file, ok := out.(*os.File); ok {
		if _, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS); err == nil {
			p.out = out
		}
	}
	return p
}

func (p *progress) step() {
	p.n++
	if p.out == nil || p.n%64 != 0 {
		return
	}
	if now := time.Now(); now.Sub(p.started) > 2*time.Second && now.Sub(p.shown) > 200*time.Millisecond {
		p.shown = now
		fmt.Fprintf(p.out, "\r%d receipts", p.n)
	}
}

func (p *progress) end() {
	if !p.shown.IsZero() {
		fmt.Fprint(p.out, "\r\033[K")
	}
}
