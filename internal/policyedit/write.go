// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policyedit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/dapr-custody/custody/internal/policy"
)

// replace puts the text of a file in place once it is known to compile with the others.
func (f *folder) replace(change *Change, old *file, name string, data []byte) error {
	updated := &file{name: name, path: filepath.Join(f.dir, name), data: data}
	if err := updated.parse(); err != nil {
		return err
	}
	if err := f.check(change, old, updated); err != nil {
		return err
	}
	change.File = updated.path
	return f.write(change, old, updated)
}

// check fills in what the folder will be with updated in place of old; updated is
// nil for a file that goes.
func (f *folder) check(change *Change, old, updated *file) error {
	change.Before = f.documents()
	for _, file := range f.files {
		if file != old {
			change.After = append(change.After, file.documents...)
		}
	}
	if updated != nil {
		change.After = append(change.After, updated.documents...)
	}
	_, warnings, err := policy.Compile(change.After, f.opts)
	for _, warning := range warnings {
		if updated != nil && warning.File == updated.path {
			change.Warnings = append(change.Warnings, warning)
		}
	}
	return err
}

// remove deletes a file.
func (f *folder) remove(change *Change, old *file) error {
	if err := f.check(change, old, nil); err != nil {
		return err
	}
	if err := untouched(old, old.path); err != nil {
		return err
	}
	change.File, change.At = old.path, time.Now()
	if err := os.Remove(old.path); err != nil {
		return fmt.Errorf("policyedit: %w", err)
	}
	change.Written = true
	return f.sync()
}

// untouched fails if the file is no longer the one that was read.
func untouched(old *file, path string) error {
	info, err := os.Stat(path)
	switch {
	case old == nil && errors.Is(err, fs.ErrNotExist):
		return nil
	case old != nil && err == nil && os.SameFile(info, old.info) && info.Size() == old.info.Size() &&
		info.ModTime().Equal(old.info.ModTime()):
		return nil
	}
	return prefixed(path, ErrChangedMeanwhile)
}

// write puts updated in the place of old, or into a new file, in one step.
func (f *folder) write(change *Change, old, updated *file) error {
	target := updated.path
	if old != nil {
		// A link stays a link: what it leads to is replaced.
		resolved, err := filepath.EvalSymlinks(target)
		if err != nil {
			return fmt.Errorf("policyedit: %w", err)
		}
		target = resolved
	}
	temp, err := os.CreateTemp(filepath.Dir(target), "."+filepath.Base(target)+".*")
	if err != nil {
		return fmt.Errorf("policyedit: %w", err)
	}
	_, err = temp.Write(updated.data)
	if err == nil {
		err = f.sameOwner(temp, old)
	}
	if err == nil {
		err = temp.Sync()
	}
	if err = errors.Join(err, temp.Close()); err == nil {
		err = untouched(old, updated.path)
	}
	if err == nil {
		change.At = time.Now()
		err = os.Rename(temp.Name(), target)
	}
	if err != nil {
		return fmt.Errorf("policyedit: %w", errors.Join(err, os.Remove(temp.Name())))
	}
	change.Written = true
	return f.sync()
}

// sameOwner gives a file the mode and owner of the one that it replaces. A new one
// is as readable as its neighbours.
func (f *folder) sameOwner(temp *os.File, old *file) error {
	mode := fs.FileMode(0o644)
	switch {
	case old != nil:
		mode = old.info.Mode().Perm()
	case len(f.files) > 0:
		mode = f.files[0].info.Mode().Perm()
	}
	if err := temp.Chmod(mode); err != nil || old == nil {
		return err
	}
	owner, ok := old.info.Sys().(*syscall.Stat_t)
	if !ok || (int(owner.Uid) == os.Geteuid() && int(owner.Gid) == os.Getegid()) {
		return nil
	}
	return temp.Chown(int(owner.Uid), int(owner.Gid))
}

// sync has the change of the folder itself on the disk.
func (f *folder) sync() error {
	if err := f.lock.Sync(); err != nil {
		return fmt.Errorf("policyedit: the change is made, but the disk does not confirm it: %w", err)
	}
	return nil
}
