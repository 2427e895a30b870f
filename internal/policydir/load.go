// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policydir

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dapr-custody/custody/internal/policy"
)

const (
	// maxFiles bounds the files of one directory; each holds one policy at least.
	maxFiles = policy.MaxDocuments
	// maxTotal bounds the bytes of all files together.
	maxTotal = 256 << 20
)

// awayError says that there is no directory whose files could be listed.
type awayError struct{ cause error }

func (e *awayError) Error() string { return "the policy directory cannot be read: " + e.cause.Error() }
func (e *awayError) Unwrap() error { return e.cause }

// look takes the events, loads the directory, and returns how long to wait until the
// next look.
func (w *Watcher) look() time.Duration {
	w.turns.begin()
	defer w.turns.end()
	return w.takeAndLoad()
}

// lookIfWanted looks unless nothing has happened since the last look.
func (w *Watcher) lookIfWanted() (next time.Duration, looked bool) {
	// Those who ask from here on ask again.
	w.turns.begin()
	defer w.turns.end()
	if !w.events.pending() && !w.turns.unrest.Load() {
		return 0, false
	}
	return w.takeAndLoad(), true
}

func (w *Watcher) takeAndLoad() time.Duration {
	if w.events != nil {
		w.seen(w.events.take())
	}
	return w.load()
}

// load looks at the directory, puts what has changed in force, and returns how
// long to wait until the next look.
func (w *Watcher) load() time.Duration {
	next := w.opts.Rescan
	err := w.watch()
	var found map[string]content
	if err == nil {
		found, err = scan(w.opts.Dir)
	}
	var busy *busyError
	if err != nil {
		w.unknown()
	}
	if errors.As(err, &busy) {
		return w.busy(busy)
	}
	w.busySince = time.Time{}
	w.turns.unrest.Store(false)
	if err != nil {
		next = min(next, w.absent(err))
		w.report(err)
		return next
	}
	w.away = time.Time{}
	w.take(found)
	if wait := w.forget(found); wait > 0 {
		next = min(next, wait)
	}
	w.settleOn()
	return next
}

// busy waits for a file to come to rest, and says so if that takes long.
func (w *Watcher) busy(err *busyError) time.Duration {
	now := time.Now()
	if w.busySince.IsZero() {
		w.busySince = now
		w.turns.unrest.Store(true)
		return retry
	}
	if now.Sub(w.busySince) >= w.opts.Rescan {
		// It is no save that ends soon: nobody needs to look for it at each call.
		w.turns.unrest.Store(false)
		w.report(err)
	}
	return settle
}

// unknown begins the grace time of all files anew: where the directory cannot be
// read, no file is known to be away.
func (w *Watcher) unknown() {
	for _, f := range w.files {
		f.missing = time.Time{}
	}
}

// absent takes the Set out of force if the directory has been away for long, and
// returns how long to wait until the next look.
func (w *Watcher) absent(err error) time.Duration {
	next := w.opts.Rescan
	if w.watched == nil {
		next = absent
	}
	var away *awayError
	now := time.Now()
	switch {
	case !errors.As(err, &away):
		w.away = time.Time{}
	case w.away.IsZero():
		w.away = now
	case now.Sub(w.away) >= w.opts.Absence && w.current.Load() != nil:
		w.refuse()
	}
	return next
}

// refuse takes the Set out of force. Of the files nothing is known any more, so that
// none comes back with the directory that is not in it.
func (w *Watcher) refuse() {
	w.current.Store(nil)
	w.files = map[string]*file{}
	w.failure = nil
	w.now.documents, w.now.compiled = nil, nil
	old := w.now.status
	w.now.status = Status{App: old.App, Guard: old.Guard, Dir: old.Dir, Tools: old.Tools, PID: old.PID}
}

// seen begins the grace time of a file anew that was there between two looks.
func (w *Watcher) seen(events happened) {
	if events.unwatched {
		w.watched = nil
	}
	for _, name := range events.appeared {
		if f := w.files[name]; f != nil {
			f.missing = time.Time{}
		}
	}
}

// watch sees to it that events come from the directory that is there now: it may
// be a link that was changed, or have been made anew.
func (w *Watcher) watch() error {
	info, err := os.Stat(w.opts.Dir)
	if err != nil {
		w.watched = nil
		return &awayError{err}
	}
	if !info.IsDir() {
		w.watched = nil
		return &awayError{fmt.Errorf("%s is not a directory", w.opts.Dir)}
	}
	if w.events == nil || (w.watched != nil && os.SameFile(w.watched, info)) {
		return nil
	}
	w.watched = nil
	if w.eventsError = w.events.add(w.opts.Dir); w.eventsError == nil {
		w.watched = info
	}
	return nil
}

// take parses the files whose content is new.
func (w *Watcher) take(found map[string]content) {
	for name, c := range found {
		known := w.files[name]
		if known == nil || known.digest != c.digest {
			known = &file{digest: c.digest}
			known.documents, known.err = policy.Parse(filepath.Join(w.opts.Dir, name), c.data)
			w.files[name] = known
		}
		known.missing = time.Time{}
	}
}

// forget drops the files that have stayed away, and returns how long it takes
// until the next one may be dropped, 0 for none. A file whose content now has
// another name is dropped at once.
func (w *Watcher) forget(found map[string]content) time.Duration {
	present := map[[sha256.Size]byte]bool{}
	for _, c := range found {
		present[c.digest] = true
	}
	now := time.Now()
	var next time.Duration
	for name, f := range w.files {
		if _, ok := found[name]; ok {
			continue
		}
		if f.missing.IsZero() {
			f.missing = now
		}
		wait := w.opts.Grace - now.Sub(f.missing)
		if wait <= 0 || present[f.digest] {
			delete(w.files, name)
			continue
		}
		if next == 0 || wait < next {
			next = wait
		}
	}
	return next
}

// settleOn puts the files in force if they differ from what is.
func (w *Watcher) settleOn() {
	names := make([]string, 0, len(w.files))
	for name := range w.files {
		names = append(names, name)
	}
	slices.Sort(names)
	state := sha256.New()
	var documents []policy.Document
	var problems []error
	for _, name := range names {
		f := w.files[name]
		fmt.Fprintf(state, "%d:%s%x", len(name), name, f.digest)
		documents = append(documents, f.documents...)
		if f.err != nil {
			problems = append(problems, f.err)
		}
	}
	id := [sha256.Size]byte(state.Sum(nil))
	switch {
	case w.current.Load() != nil && id == w.applied:
		w.recovered()
	case len(problems) > 0:
		w.report(errors.Join(problems...))
	case w.failure != nil && id == w.failed:
		w.report(w.failure)
	default:
		if w.failure = w.apply(documents, names); w.failure != nil {
			w.failed = id
			w.report(w.failure)
			return
		}
		w.applied = id
	}
}

// content is a policy file as it stands in the directory.
type content struct {
	data   []byte
	digest [sha256.Size]byte
	info   os.FileInfo
}

// busyError says that a file was not at rest.
type busyError struct{ path, why string }

func (e *busyError) Error() string {
	return e.path + ": " + e.why + ": close it so that the policy can be read"
}

// scan reads all policy files of dir as they stood together at one moment.
func scan(dir string) (map[string]content, error) {
	names, err := List(dir)
	if err != nil {
		return nil, err
	}
	found := make(map[string]content, len(names))
	var problems []error
	total := 0
	for _, name := range names {
		c, err := read(filepath.Join(dir, name))
		var busy *busyError
		switch {
		case errors.As(err, &busy):
			return nil, err
		case errors.Is(err, errDirectory):
			continue
		case err != nil:
			problems = append(problems, err)
			continue
		}
		found[name] = c
		if total += len(c.data); total > maxTotal {
			return nil, fmt.Errorf("%s: the policy files have more than %d bytes together", dir, maxTotal)
		}
	}
	if err := unchanged(dir, names, found); err != nil {
		return nil, err
	}
	return found, errors.Join(problems...)
}

// unchanged fails if a file was replaced, added or removed since it was read.
func unchanged(dir string, names []string, found map[string]content) error {
	again, err := List(dir)
	if err != nil {
		return err
	}
	if !slices.Equal(names, again) {
		return &busyError{dir, "files come and go"}
	}
	for name, c := range found {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err != nil || !os.SameFile(info, c.info) || !same(info, c.info) {
			return &busyError{path, "it changes all the time"}
		}
	}
	return nil
}

func same(a, b os.FileInfo) bool { return a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) }

// List returns the names of the policy files of a directory in order: *.yaml and
// *.yml, without those that begin with a dot.
func List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, &awayError{err}
	}
	var names []string
	for _, entry := range entries {
		if !entry.IsDir() && IsPolicyFile(entry.Name()) {
			names = append(names, entry.Name())
		}
	}
	if len(names) > maxFiles {
		return nil, fmt.Errorf("%s holds %d policy files, the limit is %d", dir, len(names), maxFiles)
	}
	return names, nil
}

// IsPolicyFile reports whether a file of that name is read as policy: *.yaml and
// *.yml in any case, so that no rule is passed over for its spelling, and nothing
// that begins with a dot or looks like what an editor leaves (#name#; name~ and
// name.swp have another ending).
func IsPolicyFile(name string) bool {
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "#") {
		return false
	}
	ext := strings.ToLower(filepath.Ext(name))
	return ext == ".yaml" || ext == ".yml"
}

// vanished reports whether err means that the entry itself is gone, and not the
// file that a link leads to.
func vanished(path string, err error) bool {
	if !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	_, err = os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}
