// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// journalSuffixVariable tells the guards of a daprd what to append to the names
// of their journal folders.
const journalSuffixVariable = "CUSTODY_JOURNAL_SUFFIX"

// withRegistryLock runs f while no other process of this home plans a run, so
// that of two runs which start at once the second sees what the first claimed.
func withRegistryLock(home string, f func() error) error {
	lock, err := os.OpenFile(filepath.Join(home, "runs.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("lock the registry of runs: %w", err)
	}
	for {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX) //nolint:gosec // a file descriptor fits
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return errors.Join(fmt.Errorf("lock the registry of runs: %w", err), lock.Close())
	}
	return errors.Join(f(), lock.Close())
}

// claimJournals notes the journals of an app.
func (d *Domain) claimJournals(m *member) error {
	found, err := journals(m.App, d.file.Dir())
	if err != nil {
		return err
	}
	m.journalSuffix, err = d.claim(found, "app "+m.ID)
	return err
}

// claim notes journals and gives what is added to their names. A journal has one
// writer; if another living run has one of these, their owner in this run writes
// beside it, to folders whose names end in the ID of this run.
func (d *Domain) claim(found []Journal, owner string) (suffix string, err error) {
	others, err := Runs(d.opts.Home)
	if err != nil {
		return "", err
	}
	for _, other := range others {
		if other.ID == d.run.ID || other.Ended != nil || !other.Alive() {
			continue
		}
		for _, theirs := range other.Journals {
			if slices.ContainsFunc(found, func(j Journal) bool { return j.Dir == theirs.Dir }) {
				suffix = "-" + d.run.ID
				d.say("note: run %s writes to the journal %s; %s of this run writes to %s%s",
					other.ID, theirs.Dir, owner, theirs.Dir, suffix)
			}
		}
	}
	for _, j := range found {
		j.Dir += suffix
		d.run.Journals = append(d.run.Journals, j)
	}
	return suffix, nil
}
