// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package peer

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/dapr-custody/custody/internal/identity"
)

const (
	// again is the time between two looks meanwhile.
	again = 10 * time.Millisecond
	// opening is how long OpenFolder waits for files to come to rest.
	opening = 2 * time.Second
)

// Folder holds the WorkloadRegistration documents of a folder: *.yaml and *.yml, not
// of folders below, and without those whose names begin with a dot. It is looked at
// for each [Folder.Match], and read again if a file has come, gone or changed: all
// files are in force or none of what changed is. A file that someone writes to is
// not read. While the folder itself cannot be read, what was read last stays in force for
// [FolderGrace], and nothing after it until all files were read anew: an absent folder
// registers nobody. It is made by [OpenFolder] and safe for concurrent use.
type Folder struct {
	dir  string
	opts FolderOptions

	mu      sync.Mutex
	current *identity.Registrations
	digest  [sha256.Size]byte // of the files that current was made of
	seen    listing           // what was there when the files were last read
	wrong   error             // what was wrong with them
	there   time.Time         // when the folder could last be read
	told    string
}

// OpenFolder reads the folder. A folder that is missing, or that anyone but its owner
// may write to, and a file that is wrong are errors; an empty folder registers nobody.
func OpenFolder(dir string, opts FolderOptions) (*Folder, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("peer: %w", err)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	f := &Folder{dir: dir, opts: opts}
	for end := time.Now().Add(opening); ; time.Sleep(again) {
		err := f.read()
		switch {
		case err == nil:
			return f, nil
		case !errors.Is(err, errBusy), time.Now().After(end):
			return nil, fmt.Errorf("peer: registrations: %w", err)
		}
	}
}

// Match makes a caller of an attested process by the registrations in force; see
// [identity.Registrations.Match].
func (f *Folder) Match(p identity.Process) (identity.Caller, error) {
	f.mu.Lock()
	f.look()
	current := f.current
	f.mu.Unlock()
	return current.Match(p)
}

// Len is the number of registrations in force when the folder was last looked at.
func (f *Folder) Len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current.Len()
}

// look reads the folder if it changed, and tells of it. A file that is being written
// to is looked at next time.
func (f *Folder) look() {
	before := f.current
	err := f.read()
	if errors.Is(err, errBusy) {
		return
	}
	if errors.Is(err, errAway) {
		err = f.away(err)
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	if f.opts.Changed != nil && (text != f.told || f.current != before) {
		if err != nil {
			err = fmt.Errorf("peer: registrations: %w", err)
		}
		f.opts.Changed(f.current.Len(), err)
	}
	f.told = text
}

// read puts the files in force if the folder does not look as it did, or returns
// what is wrong with them.
func (f *Folder) read() error {
	seen, err := list(f.dir)
	if !errors.Is(err, errAway) {
		f.there = f.opts.Now()
	}
	if err != nil {
		f.seen = listing{}
		return err
	}
	if seen.look == f.seen.look && !f.seen.fresh {
		return f.wrong
	}
	next, digest, err := load(f.dir, seen)
	if errors.Is(err, errBusy) {
		f.seen = listing{}
		return err
	}
	f.seen, f.wrong = seen, err
	if err == nil && (f.current == nil || digest != f.digest) {
		f.current, f.digest = next, digest
	}
	return err
}

// away takes everything out of force once the folder could not be read for FolderGrace,
// and says what becomes of what it held.
func (f *Folder) away(err error) error {
	if passed := f.opts.Now().Sub(f.there); passed >= 0 && passed <= FolderGrace {
		return fmt.Errorf("%w: after %v nobody is registered", err, FolderGrace)
	}
	if f.current.Len() > 0 {
		// The digest of nothing, so that what comes back is in force even if it is what was there.
		f.current, f.digest = &identity.Registrations{}, [sha256.Size]byte{}
	}
	return fmt.Errorf("%w: nobody is registered until it can", err)
}
