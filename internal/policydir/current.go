// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policydir

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/dapr-custody/custody/internal/policy"
)

// happened is what events tell.
type happened struct {
	// any says that there was something.
	any bool
	// unwatched says that no more events will come from the directory.
	unwatched bool
	// appeared are the names of what came into the directory.
	appeared []string
}

// turns lets those who ask for the Set wait for the look at the directory that
// finds what has happened before they asked.
type turns struct {
	// looking is set from before a look takes the events until what it found is in force.
	looking atomic.Bool
	// unrest is set while a file is not at rest, as long as that may be a save.
	unrest atomic.Bool
	// asked holds one value while someone waits for a look.
	asked chan struct{}

	mu sync.Mutex
	// began is when the look under way began.
	began time.Time
	// over is closed at the end of the look under way, or of the next one.
	over chan struct{}
}

func newTurns() *turns { return &turns{asked: make(chan struct{}, 1), over: make(chan struct{})} }

// begin begins a look. It comes before the events are taken.
func (t *turns) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.began = time.Now()
	t.looking.Store(true)
}

// end ends a look, and lets go of those who wait for it.
func (t *turns) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.looking.Store(false)
	close(t.over)
	t.over = make(chan struct{})
}

// wanted reports whether there may be something that is not in force, apart from
// events that are pending.
func (t *turns) wanted() bool { return t.looking.Load() || t.unrest.Load() }

// ask wants a look, and returns what is closed when it is over. If a look is under
// way already, it returns that one, and for how long it has been.
func (t *turns) ask() (over <-chan struct{}, underWay bool, since time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case t.asked <- struct{}{}:
	default:
	}
	if t.looking.Load() {
		return t.over, true, time.Since(t.began)
	}
	return t.over, false, 0
}

// Current returns the Set in force. It is nil, which refuses everything, until
// the directory could be loaded once, and while it has been away for long.
//
// Where the system has told of a change of the directory, Current waits until it is
// loaded, and returns the Set after the change, unless that takes longer than
// Options.Patience. On Linux the system tells before the call that closes, moves or
// removes a file has returned.
func (w *Watcher) Current() *policy.Set {
	if w.events != nil && (w.events.pending() || w.turns.wanted()) {
		w.catchUp()
	}
	return w.current.Load()
}

// catchUp waits for a look that began after it was called, or for one before that
// has left nothing to be done.
func (w *Watcher) catchUp() {
	deadline := time.Now().Add(w.opts.Patience)
	for range 2 {
		over, underWay, since := w.turns.ask()
		// A load of seconds, or one that hangs, holds nobody up for longer than Patience.
		left := min(time.Until(deadline), w.opts.Patience-since)
		if left <= 0 || !w.await(over, left) || !underWay || !w.events.pending() && !w.turns.wanted() {
			return
		}
	}
}

// await reports whether over was closed in time.
func (w *Watcher) await(over <-chan struct{}, atMost time.Duration) bool {
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case <-over:
		return true
	case <-w.ended:
	case <-timer.C:
	}
	return false
}
