// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dapr-custody/custody/internal/policydir"
)

const stateNotRunning = "not running"

const ratesNote = "rates are counted per process: they begin anew when it ends, unless the component sets rateFile"

func newPolicyStatusCommand() *cobra.Command {
	var journals []string
	var format string
	cmd := &cobra.Command{
		Use:   "status [--journal DIR ...]",
		Short: "Show the policy that each guard on this machine has in force",
		Long: `Reads what the guards wrote about themselves: guard-status.json in the journal
folders that --journal names (--dir is the same; a door before a state store
has guard-status@STORE.json there), else that of every guard of the runs that
"custody ps" lists.

STATE is one of
  in force             the files as they stand are in force
  kept last good set   the files as they stand are broken; those before them are in force
  REFUSING: no policy  nothing could be loaded yet; every call is refused
  not running          the process of the guard is gone

A note says where rates of rules are counted per process, in json and yaml as
ratesPerProcess.

Exit status: 0 all is well; 1 a guard that runs reports an error; 2 wrong flags,
or what was named cannot be read.`,
		Example: `  custody policy status
  custody policy status --journal /var/lib/custody/orders -o json`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := policyFormat(format); err != nil {
				return err
			}
			guards, unread := findGuards(journals)
			if unread != nil && len(guards) == 0 {
				return usage(unread)
			}
			if err := printGuards(cmd.OutOrStdout(), guards, format, time.Now()); err != nil {
				return err
			}
			if unread != nil {
				return usage(unread)
			}
			return guardsError(guards)
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&journals, "journal", nil, "journal folder of a guard; may be repeated")
	flags.StringVarP(&format, "output", "o", "table", "table, json or yaml")
	flags.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "dir" {
			name = "journal"
		}
		return pflag.NormalizedName(name)
	})
	return cmd
}

// guardStatus is a status file with what the command knows besides.
type guardStatus struct {
	policydir.Status
	State string `json:"state"`
	// Source is the path of the status file.
	Source string `json:"source"`
	wrong  bool
}

// findGuards reads the status files of the journals, or else of all runs. What
// cannot be read is in the error and does not hide the others.
func findGuards(journals []string) ([]guardStatus, error) {
	var paths []string
	for _, dir := range journals {
		paths = append(paths, statusFiles(dir)...)
	}
	if len(journals) == 0 {
		home, err := homeFolder()
		if err != nil {
			return nil, err
		}
		if paths, err = filepath.Glob(filepath.Join(home, "runs", "*", "guards", "*.json")); err != nil {
			return nil, err
		}
	}
	guards := make([]guardStatus, 0, len(paths))
	var unread []error
	for _, path := range paths {
		status, err := policydir.ReadStatus(path)
		switch {
		case err == nil:
			guards = append(guards, newGuardStatus(path, status))
		case len(journals) > 0 || !errors.Is(err, fs.ErrNotExist):
			// The file of a run that ended in this moment is not missed.
			unread = append(unread, err)
		}
	}
	return guards, errors.Join(unread...)
}

// statusFiles are those of the guards that write to a journal. Where none is to be seen it is that which should be there,
// so that who reads it learns why it cannot be.
func statusFiles(journal string) []string {
	should := filepath.Join(journal, policydir.StatusFile)
	entries, err := os.ReadDir(journal)
	if err != nil {
		return []string{should}
	}
	var paths []string
	for _, entry := range entries {
		if policydir.StatusFileBeside(entry.Name()) == policydir.StatusFile {
			paths = append(paths, filepath.Join(journal, entry.Name()))
		}
	}
	if len(paths) == 0 {
		return []string{should}
	}
	return paths
}

func newGuardStatus(path string, status policydir.Status) guardStatus {
	g := guardStatus{Status: status, State: string(status.State()), Source: path}
	if !running(status.PID) {
		g.State = stateNotRunning
		return g
	}
	g.wrong = status.State() != policydir.StateInForce
	return g
}

// running reports whether there is a process of this number, of any user.
func running(pid int) bool {
	if pid <= 0 {
		return false
	}
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

func guardsError(guards []guardStatus) error {
	wrong := 0
	for _, g := range guards {
		if g.wrong {
			wrong++
		}
	}
	switch wrong {
	case 0:
		return nil
	case 1:
		return &exitError{code: exitNo, err: errors.New("one guard reports an error")}
	}
	return &exitError{code: exitNo, err: fmt.Errorf("%d guards report errors", wrong)}
}

func printGuards(w io.Writer, guards []guardStatus, format string, now time.Time) error {
	if format != "table" {
		return policyValue(w, format, guards)
	}
	if len(guards) == 0 {
		_, err := fmt.Fprintln(w, "no guard found: start a run with custody up, or name a journal folder with --journal")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "APP\tGUARD\tSET\tRULES\tAGE\tSTATE\tLAST ERROR")
	for _, g := range guards {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", orDash(g.App), orDash(g.Guard), orDash(head(g.Digest, 12)), g.Rules,
			age(g.LoadedAt, now), g.State, age(g.LastErrorAt, now))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, g := range guards {
		for _, line := range strings.Split(g.LastError, "\n") {
			if line == "" {
				continue
			}
			if _, err := fmt.Fprintf(w, "%s: error: %s\n", orDash(g.App), line); err != nil {
				return err
			}
		}
		if g.RatesPerProcess {
			if _, err := fmt.Fprintf(w, "%s: note: %s\n", orDash(g.App), ratesNote); err != nil {
				return err
			}
		}
		for _, line := range g.Warnings {
			if _, err := fmt.Fprintf(w, "%s: warning: %s\n", orDash(g.App), line); err != nil {
				return err
			}
		}
	}
	return nil
}

func head(s string, n int) string { return s[:min(n, len(s))] }

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// age is the time since then in one unit.
func age(then, now time.Time) string {
	if then.IsZero() {
		return "-"
	}
	d := max(now.Sub(then), 0)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}
