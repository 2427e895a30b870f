// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapr-custody/custody/internal/evidence"
	"github.com/dapr-custody/custody/internal/policy"
)

// policyReplay is what the replay command is asked.
type policyReplay struct {
	source     policySource
	journals   []string
	since      string
	unverified bool
	format     string
}

func newPolicyReplayCommand() *cobra.Command {
	replay := policyReplay{source: policySource{server: "*"}}
	cmd := &cobra.Command{
		Use:   "replay [--since T] NEW...",
		Short: "Decide what was decided anew, by policy files that are not in force yet",
		Long: `Takes every decision that the journals record, allowed calls and denied ones, has
the policy of NEW decide it, files or folders, and prints what would have been
decided otherwise:

  opens      was denied, NEW allows it
  may open   was denied, NEW denies or allows it, which depends on a condition
  reveals    was allowed and redacted; NEW allows it and redacts nothing
  may reveal was allowed and redacted; NEW redacts by other detectors or paths, or
             under a condition
  closes     was allowed, NEW denies it
  may close  was allowed, NEW denies or allows it, which depends on a condition

Records hold no arguments, addresses and sessions. A condition that asks for one
of them is not decided, and is named. The time of the call and the proof of the
caller are known, and so is that a call had no arguments. A decision by the very
rules of NEW stays as it was. So does a refusal because of a rate, unless NEW
denies too, or allows without a rate. What a door refused by itself, whatever the
policy, is left out and counted: messages that it could not understand, sessions
that are not there.

Requests to a state store or a database are decided part by part, as they were. Records
name the keys, tables and functions, 100 at most, and not the columns, filters, WHERE and
parameters of a statement: a rule that demands one of these is named too.

What an allow obliged to is not recorded, save how often something was taken out of
its answer, and by which detector or by a path. Which call made a task is not recorded
either, so nothing is said of what is redacted in answers of tasks. Under "allowed as
before, with" stands what NEW obliges to, whether or not that is new. Rates are not
counted, and answers are not known: nor is what NEW would take out of one, or whether
it would withhold one for its size.

The journals are those that --journal names, else those in CUSTODY_JOURNAL, else
those of the runs that "custody ps" lists. They are checked, the signatures are
not; "custody receipts verify" does that. A record that does not fit into its
journal ends the replay, unless --unverified takes it as it stands. App IDs in NEW
belong to the trust domain and namespace of the run, or of the flags.

Exit status: 0 nothing changes; 1 something changes or may change; 2 wrong flags,
a policy has an error, or a journal cannot be read or does not verify.`,
		Example: `  custody policy replay --since 24h candidate/
  custody policy replay --since 2026-11-01T00:00:00Z candidate.yaml -o json
  custody policy replay --since 7d --journal /var/lib/custody/orders candidate.yaml`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, paths []string) error {
			if err := policyFormat(replay.format); err != nil {
				return err
			}
			answer, err := replay.answer(cmd, paths, time.Now())
			if err != nil {
				return err
			}
			return answer.print(cmd.OutOrStdout(), replay.format)
		},
	}
	replay.source.addFlags(cmd)
	journalFlag(cmd, &replay.journals)
	flags := cmd.Flags()
	flags.StringVar(&replay.since, "since", "", "only decisions since then: 90m, 24h, 7d or 2026-11-01T00:00:00Z (default: all)")
	flags.BoolVar(&replay.unverified, "unverified", false, "take records too that do not fit into their journal")
	flags.StringVarP(&replay.format, "output", "o", "table", "table, json or yaml")
	return cmd
}

// parseSince reads a time, or how long ago it is. Empty is the beginning of time.
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		if at.After(now) {
			return at, fmt.Errorf("--since %s is in the future", text)
		}
		return at, nil
	}
	wrong := fmt.Errorf("--since %q is no duration such as 90m, 24h or 7d, and no time such as 2026-11-01T00:00:00Z", text)
	var ago time.Duration
	rest := text
	if days, more, found := strings.Cut(text, "d"); found {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return time.Time{}, wrong
		}
		ago, rest = time.Duration(n)*24*time.Hour, more
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 {
			return time.Time{}, wrong
		}
		ago += d
	}
	return now.Add(-ago), nil
}

func (p *policyReplay) answer(cmd *cobra.Command, paths []string, now time.Time) (*replayAnswer, error) {
	since, err := parseSince(p.since, now)
	if err != nil {
		return nil, usage(err)
	}
	sources, err := journalSources(p.journals)
	if err != nil {
		return nil, err
	}
	answer := &replayAnswer{Since: since, Sets: []string{}, Changes: []*replayChange{}, Obliged: []*replayObliged{}, groups: map[replayKey]*replayChange{}, obliged: map[replayKey]*replayObliged{}}
	candidates := map[[2]string]*candidate{}
	for _, source := range sources {
		belongs := p.belongs(cmd, source)
		key := [2]string{belongs.trustDomain, belongs.namespace}
		if candidates[key] == nil {
			found, err := belongs.compiled(cmd.ErrOrStderr(), paths...)
			if err != nil {
				return nil, err
			}
			candidates[key] = newCandidate(found.set)
			answer.Sets = append(answer.Sets, found.set.Digest())
		}
		if err := p.walk(source, cmd.ErrOrStderr(), candidates[key], answer); err != nil {
			return nil, usage(err)
		}
	}
	answer.sort()
	return answer, nil
}

// belongs says where app IDs belong in the policy of the door that wrote a journal.
func (p *policyReplay) belongs(cmd *cobra.Command, source journalSource) policySource {
	belongs := p.source
	if source.TrustDomain != "" && !cmd.Flags().Changed("trust-domain") {
		belongs.trustDomain = source.TrustDomain
	}
	if source.Namespace != "" && !cmd.Flags().Changed("namespace") {
		belongs.namespace = source.Namespace
	}
	return belongs
}

// walk replays one journal. What does not verify ends it, or goes to warnings.
func (p *policyReplay) walk(source journalSource, warnings io.Writer, c *candidate, answer *replayAnswer) error {
	progress := newProgress(warnings)
	defer progress.end()
	summary, err := evidence.Walk(source.Dir, func(item *evidence.Item) error {
		progress.step()
		if !decided(item) {
			return nil
		}
		if r := newRecorded(item); !r.at.Before(answer.Since) {
			answer.add(r, c)
		}
		return nil
	})
	if source.missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, finding := range summary.Findings {
		if !p.unverified {
			return unverifiedError(finding)
		}
		fmt.Fprintln(warnings, "custody: wrong:", plain(finding.String()))
	}
	answer.Unverified += len(summary.Findings)
	return nil
}

func unverifiedError(finding evidence.Finding) error {
	return errors.New("the journal does not verify: " + plain(finding.String()) +
		"; custody receipts verify says all that is wrong, and --unverified replays it nevertheless")
}

// dependsOn words the rules on whose conditions a decision depends.
func dependsOn(rules []policy.RuleInfo) []string {
	words := make([]string, 0, len(rules))
	for _, r := range rules {
		what := "the condition"
		if r.When == "" {
			what = "the demands"
		}
		words = append(words, fmt.Sprintf("%s of rule %s/%s (%s%s)", what, r.Policy, r.Rule, r.Effect, narrowing(r.When, r.Demands)))
	}
	return words
}
