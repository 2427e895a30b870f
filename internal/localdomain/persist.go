// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// openPersisted takes the folder that outlives the run: its lock, the authority and where the Scheduler keeps its jobs.
// Without one the authority and the jobs go with the run.
func (d *Domain) openPersisted() error {
	dir := d.opts.Persist
	if dir == "" {
		return nil
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("--persist: %w", err)
	}
	if err := private(dir); err != nil {
		return fmt.Errorf("--persist: %w", err)
	}
	if err := d.lockPersisted(dir); err != nil {
		return fmt.Errorf("--persist: %w", err)
	}
	sentry, err := controlPlaneID("dapr-sentry")
	if err != nil {
		return err
	}
	a, renewed, err := openAuthority(dir, sentry, d.opts.Now())
	if err != nil {
		return fmt.Errorf("--persist: %w", err)
	}
	if renewed {
		d.say("note: the issuer in %s was near its end; the root has signed another one, good until %s", dir, a.issuer.cert.NotAfter.UTC().Format("2006-01-02"))
	}
	return a.give(d.path("sentry"))
}

// lockPersisted has one run at a time use the folder: the Scheduler's jobs have one writer.
func (d *Domain) lockPersisted(dir string) error {
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return errors.Join(fmt.Errorf("another run uses %s; stop it, or use another folder", dir), lock.Close())
	}
	d.persisted = lock
	return nil
}

// closePersisted lets another run use the folder.
func (d *Domain) closePersisted() error {
	if d.persisted == nil {
		return nil
	}
	return d.persisted.Close()
}

// schedulerData is where the Scheduler keeps the jobs, reminders and timers of workflows among them.
func (d *Domain) schedulerData() string {
	if d.opts.Persist == "" {
		return d.path("scheduler")
	}
	return filepath.Join(d.opts.Persist, "scheduler")
}
