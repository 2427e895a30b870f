// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/dapr-custody/custody/internal/journal"
	"github.com/dapr-custody/custody/internal/localdomain"
)

const journalVariable = "CUSTODY_JOURNAL"

// journalSource is a journal to read.
type journalSource struct {
	Dir string
	// App, TrustDomain and Namespace are known if the journal is that of a run.
	App         string
	TrustDomain string
	Namespace   string
	// found says that nobody named the journal. It may then not have been begun.
	found bool
}

// missing says whether err only means that a journal that nobody named was not begun.
func (s journalSource) missing(err error) bool {
	return s.found && (errors.Is(err, journal.ErrNoJournal) || errors.Is(err, fs.ErrNotExist))
}

func journalFlag(cmd *cobra.Command, into *[]string) {
	cmd.Flags().StringArrayVar(into, "journal", nil, "folder of a journal; may be repeated")
}

// journalSources finds the journals to read.
func journalSources(named []string) ([]journalSource, error) {
	if len(named) == 0 {
		named = filepath.SplitList(os.Getenv(journalVariable))
	}
	var sources []journalSource
	for _, dir := range named {
		sources = append(sources, journalSource{Dir: dir})
	}
	if len(sources) > 0 {
		return sources, nil
	}
	home, err := homeFolder()
	if err != nil {
		return nil, usage(err)
	}
	runs, err := localdomain.Runs(home)
	if err != nil {
		return nil, usage(err)
	}
	seen := map[string]bool{}
	for _, run := range runs {
		apps := map[string]localdomain.RunApp{}
		for _, app := range run.Workloads() {
			apps[app.AppID] = app
		}
		for _, j := range run.Journals {
			if !seen[j.Dir] { // a folder outside that of the run serves several runs
				app := apps[j.App]
				sources = append(sources, journalSource{
					Dir: j.Dir, App: j.App, TrustDomain: app.TrustDomain, Namespace: app.Namespace, found: true,
				})
			}
			seen[j.Dir] = true
		}
	}
	if len(sources) == 0 {
		return nil, usage(errors.New("no journal was found: give --journal DIR, set " + journalVariable +
			", or start a run with custody up"))
	}
	return sources, nil
}
