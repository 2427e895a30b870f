// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policydir

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/dapr-custody/custody/internal/policy"
)

// patience is how long a look at the directory can hold up those who ask for the
// Set. It is counted from the beginning of the look, so that a load of seconds
// holds nobody up for more than that.
const patience = 20 * time.Millisecond

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
	// asked holds one value while someone waits for a look.
	asked chan struct{}

	mu sync.Mutex
	// began is when the look under way began, zero if there is none.
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

// inForce lets go of those who wait: there is nothing more to come of this look. It
// may be called twice in one.
func (t *turns) inForce() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.looking.CompareAndSwap(true, false) {
		close(t.over)
		t.over = make(chan struct{})
	}
}

// end ends a look, and what follows from it.
func (t *turns) end() {
	t.inForce()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.began = time.Time{}
}

// ask wants a look, and returns what is closed when it is over, and how much of
// patience is left for it.
func (t *turns) ask() (<-chan struct{}, time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case t.asked <- struct{}{}:
	default:
	}
	if t.began.IsZero() {
		return t.over, patience
	}
	return t.over, patience - time.Since(t.began)
}

// Current returns the Set in force. It is nil, which refuses everything, until
// the directory could be loaded once.
//
// Where the system has told of a change of the directory, and it takes no longer
// than 20 ms to load it, Current waits for that and returns the Set after the
// change. On Linux the system tells before the call that closes, moves or removes a
// file has returned. A file that is at rest only later is not waited for.
func (w *Watcher) Current() *policy.Set {
	if w.events != nil && (w.events.pending() || w.turns.looking.Load()) {
		w.catchUp()
	}
	return w.current.Load()
}

// catchUp waits until there is nothing new in the directory, or patience has ended.
func (w *Watcher) catchUp() {
	deadline := time.Now().Add(patience)
	for w.events.pending() || w.turns.looking.Load() {
		over, left := w.turns.ask()
		if left = min(left, time.Until(deadline)); left <= 0 {
			return
		}
		timer := time.NewTimer(left)
		select {
		case <-over:
		case <-w.done:
		case <-timer.C:
		}
		timer.Stop()
	}
}
