// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package budget

import (
	"sync"
	"time"
)

// window is how long one record speaks for all refusals that follow it.
const window = time.Second

// refusals are those of one caller.
type refusals struct {
	mu sync.Mutex
	// open is set while a record speaks for what follows, reference is that record's, and more what followed.
	open      bool
	reference string
	more      int
	record    func(count int) string
	timer     *time.Timer
}

// Refused tells of a request that was refused, and gives the reference of the record that speaks for it. The first one is
// recorded at once; those of the second after it are recorded at its end, together.
func (a *Account) Refused(record func(count int) (reference string)) (reference string) {
	r := &a.refusals
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open {
		r.more++
		r.record = record
		return r.reference
	}
	r.reference = record(1)
	r.open = true
	r.timer = time.AfterFunc(window, r.pass)
	return r.reference
}

// pass ends the time of a record. What followed it gets one of its own, which speaks for the next second.
func (r *refusals) pass() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.open {
		return
	}
	if r.more == 0 {
		r.open, r.record = false, nil
		return
	}
	r.reference = r.record(r.more)
	r.more = 0
	r.timer.Reset(window)
}

func (r *refusals) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.open {
		return
	}
	r.timer.Stop()
	if r.more > 0 {
		r.record(r.more)
	}
	r.open, r.more, r.record = false, 0, nil
}
