// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package policydir keeps a policy.Set in step with a directory of policy files.
//
// It reads *.yaml and *.yml of one directory, not of those below it, and follows
// symbolic links, as Kubernetes uses them for mounted ConfigMaps. Names that begin
// with a dot are passed over. What it guarantees:
//
//   - Current changes from one whole Set to another and is never in between. If
//     the files cannot be read and compiled as they stand, all of them, the last
//     good Set stays in force; if there is none, Current is nil, which refuses
//     everything.
//   - A directory that is away, or cannot be listed, holds nothing that anybody could
//     take back: once it has been so for Options.Absence, Current is nil until files
//     in it are good.
//   - A file is taken only when it is at rest. On Linux, for files that this
//     process owns, the kernel is asked whether anyone has the file open for
//     writing, and holds writers off for the moment of reading (a read lease,
//     fcntl(2)). Elsewhere a file counts as at rest a few milliseconds after its
//     last change.
//   - A file that vanishes stays in force for a grace time, since editors and
//     rename-style saves make files vanish for a moment, and a deny rule that
//     vanishes opens the door.
//   - On Linux a change is in force for every Current that begins after the call
//     that closed, moved or removed the file has returned, as long as it can be
//     loaded in Options.Patience; Current waits for that. Elsewhere it is in force a
//     few milliseconds later. Where no event tells of it, as with the target of a
//     link and with truncate(2), it is found within a second.
//
// It does not make a change of several files one change: replace a link to a
// directory, as Kubernetes does, or put rules that belong together into one file.
// A save made of several openings of the file counts as several saves; an empty
// file is an error, and so keeps what was there. What a directory held before
// Open is not known, so a file that is away at that moment is not missed.
package policydir

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dapr-custody/custody/internal/policy"
)

const (
	// settle is the least time between two looks. The first event is followed at
	// once, and what comes right after it is read together.
	settle = 2 * time.Millisecond
	// retry is the first wait for a file that is open for writing: most saves end
	// within it.
	retry = 300 * time.Microsecond
	// absent is the time between two looks for a directory that is away or cannot
	// be watched, of which no event tells.
	absent          = 20 * time.Millisecond
	defaultGrace    = 250 * time.Millisecond
	defaultAbsence  = 5 * time.Second
	defaultRescan   = time.Second
	defaultPatience = 20 * time.Millisecond
)

// Options of a Watcher.
type Options struct {
	// Dir is the directory. If it is empty, the Set is made of Extra alone.
	Dir string
	// Extra are documents from elsewhere, in force together with the files.
	Extra []policy.Document
	// ExtraWarnings are told in the Status together with those of the files.
	ExtraWarnings []policy.Warning
	// Compile says where app IDs belong. It is required.
	Compile policy.CompileOptions
	// Check looks for what the documents in force may get wrong; what it returns is
	// told with the warnings. It is called once a Set is in force, and by Recheck, and
	// the Status waits for it. It may be nil.
	Check func([]policy.Document) []policy.Warning
	// OnChange is called with the Status when it is a new one: once before Open
	// returns, then from one goroutine. What is in force does not wait for it, and of
	// the changes during a call only the last is told. It must not call Close.
	OnChange func(Status)
	// App and Guard are the names to show in the Status.
	App   string
	Guard string
	// Tools is the path of the tool catalogue to show in the Status, empty for none.
	Tools string
	// RatesKept says that whoever asks the Set keeps what it counted against rates
	// when its process ends. Where it does not, the Status says so.
	RatesKept bool
	// Grace is how long a file must stay away to count as removed. 0 means 250 ms.
	Grace time.Duration
	// Absence is how long the Set stays in force while the directory is away. 0 means 5 s.
	Absence time.Duration
	// Rescan is the longest time between two looks at the directory. 0 means 1 s.
	Rescan time.Duration
	// Patience is how long loading a change may hold up Current. 0 means 20 ms.
	Patience time.Duration
}

// Watcher holds the Set that is in force. It is made by Open and safe for
// concurrent use.
type Watcher struct {
	opts    Options
	current atomic.Pointer[policy.Set]
	status  atomic.Pointer[Status]
	// stop ends run, which closes ended, which ends tell, which closes done.
	stop, ended, done chan struct{}
	once              sync.Once
	// news holds one value while there may be something to tell.
	news   chan struct{}
	latest atomic.Pointer[bulletin]
	// events is nil where there is no directory, and where the system does not tell.
	events *events
	turns  *turns

	// What follows belongs to Open and then to the goroutine of run.

	// eventsError says why changes are found by looking only.
	eventsError error
	watched     os.FileInfo
	files       map[string]*file
	busySince   time.Time
	// away is since when the directory is, zero while it is there.
	away time.Time
	// applied and failed identify the files that were put in force, and those that
	// last failed to compile, with failure.
	applied, failed [sha256.Size]byte
	failure         error
	// now is what is to be told next.
	now bulletin

	// told belongs to Open and then to the goroutine of tell.
	told *bulletin
}

// file is one policy file as last read.
type file struct {
	digest    [sha256.Size]byte
	documents []policy.Document
	err       error
	// missing is when the file was first seen to be gone, zero if it is there.
	missing time.Time
}

// Open loads the directory and begins to watch it. A directory that is missing or
// broken is no error: Current is then nil, Status says why, and the Set comes into
// force once the directory is mended. Open fails only if Options.Compile is not
// usable.
func Open(opts Options) (*Watcher, error) {
	if _, _, err := policy.Compile(nil, opts.Compile); err != nil {
		return nil, fmt.Errorf("policydir: %w", err)
	}
	if opts.Dir != "" {
		dir, err := filepath.Abs(opts.Dir)
		if err != nil {
			return nil, fmt.Errorf("policydir: %w", err)
		}
		opts.Dir = dir
	}
	opts.Grace = cmp.Or(opts.Grace, defaultGrace)
	opts.Absence = cmp.Or(opts.Absence, defaultAbsence)
	opts.Rescan = cmp.Or(opts.Rescan, defaultRescan)
	opts.Patience = cmp.Or(opts.Patience, defaultPatience)
	w := &Watcher{
		opts: opts, stop: make(chan struct{}), ended: make(chan struct{}), done: make(chan struct{}), news: make(chan struct{}, 1),
		turns: newTurns(), files: map[string]*file{},
	}
	w.now.status = Status{App: opts.App, Guard: opts.Guard, Dir: opts.Dir, Tools: opts.Tools, PID: os.Getpid()}
	first := w.now.status
	w.status.Store(&first)
	if opts.Dir == "" {
		if err := w.apply(nil, nil); err != nil {
			w.report(err)
		}
		w.tell()
		close(w.done)
		return w, nil
	}
	w.events, w.eventsError = newEvents()
	next := w.look()
	for w.current.Load() == nil && w.now.status.LastError == "" {
		<-time.After(next)
		next = w.look()
	}
	w.tell()
	go w.run(next)
	go w.tellAll()
	return w, nil
}

// Status returns what is in force and what is wrong. It may be a moment behind
// Current.
func (w *Watcher) Status() Status { return *w.status.Load() }

// Recheck has Options.Check called soon, and the Status published anew if there
// are other warnings then. It does not wait, and does nothing once the watch has
// ended or where there is no directory.
func (w *Watcher) Recheck() {
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// Close ends the watch. The Set in force stays.
func (w *Watcher) Close() error {
	var err error
	w.once.Do(func() {
		close(w.stop)
		<-w.done
		if w.events != nil {
			err = w.events.close()
		}
	})
	if err != nil {
		return fmt.Errorf("policydir: %w", err)
	}
	return nil
}

// run looks at the directory when something happened, when someone waits for it, and
// once every Rescan.
func (w *Watcher) run(next time.Duration) {
	defer close(w.ended)
	timer := time.NewTimer(next)
	defer timer.Stop()
	due := time.Now().Add(next)
	var last time.Time
	ready := w.ready()
	looked := func(next time.Duration) {
		last = time.Now()
		due = last.Add(next)
		timer.Reset(next)
		ready = w.ready()
	}
	for {
		select {
		case <-w.stop:
			return
		case <-ready:
			if !w.events.pending() { // The last look took them.
				continue
			}
			// It gives values until the events are taken.
			ready = nil
			// A look that is due already is not put off, or steady writing would starve it.
			if at := last.Add(settle); at.Before(due) {
				due = at
				timer.Reset(time.Until(at))
			}
		case <-w.turns.asked:
			if next, did := w.lookIfWanted(); did {
				looked(next)
			}
		case <-timer.C:
			looked(w.look())
		}
	}
}

// ready gives a value while there are events.
func (w *Watcher) ready() <-chan struct{} {
	if w.events == nil {
		return nil
	}
	return w.events.ready
}

// apply compiles the documents of all files and puts them in force, or says why
// not and leaves the Set as it is.
func (w *Watcher) apply(documents []policy.Document, names []string) error {
	documents = append(append([]policy.Document(nil), documents...), w.opts.Extra...)
	set, warnings, err := policy.Compile(documents, w.opts.Compile)
	if err != nil {
		return err
	}
	w.current.Store(set)
	w.now.documents, w.now.compiled, w.now.eventsError = documents, warnings, w.eventsError
	status := &w.now.status
	status.Digest = set.Digest()
	status.LoadedAt = time.Now()
	status.Policies, status.Rules = set.Size()
	status.RatesPerProcess = set.HasRates() && !w.opts.RatesKept
	status.Files = names
	status.LastError, status.LastErrorAt = "", time.Time{}
	w.publish()
	return nil
}

// report notes that the files cannot be put in force.
func (w *Watcher) report(err error) {
	status := &w.now.status
	text := reason(err)
	if status.LastError == text {
		return
	}
	status.LastError, status.LastErrorAt = text, time.Now()
	w.publish()
}

// recovered notes that the files are again what is in force.
func (w *Watcher) recovered() {
	status := &w.now.status
	if status.LastError == "" {
		return
	}
	status.LastError, status.LastErrorAt = "", time.Time{}
	w.publish()
}

// publish has told what is to be told.
func (w *Watcher) publish() {
	latest := w.now
	w.latest.Store(&latest)
	w.Recheck()
}
