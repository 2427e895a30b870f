// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package budget bounds what each caller of a server has in flight: how many requests, and how many bytes of them and of
// their answers.
//
// A caller that has no room is refused and takes none from others. What is refused is told by at most one record a second
// for each caller, with how many there were. It bounds what is held at one moment, not how much is asked for in an hour.
package budget

import (
	"sync"
	"sync/atomic"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Limits of one caller. Zero allows nothing.
type Limits struct {
	// Requests is how many may be under way.
	Requests int
	// Bytes is how many the messages of these requests and their answers may have, together.
	Bytes int64
	// Readers is how many messages may be on their way in. Those above it wait, so that what is not counted yet because
	// it is not whole is bounded too. 0 means one.
	Readers int
}

// Accounts are those of all callers. It is made by New and safe for concurrent use.
type Accounts struct {
	limits Limits

	mu sync.Mutex
	of map[spiffeid.ID]*Account
}

// New makes accounts that all have the same limits.
func New(limits Limits) *Accounts {
	limits.Readers = max(limits.Readers, 1)
	return &Accounts{limits: limits, of: map[spiffeid.ID]*Account{}}
}

// Of is the account of a caller. All that are nobody, the zero ID, share one.
func (a *Accounts) Of(id spiffeid.ID) *Account {
	a.mu.Lock()
	defer a.mu.Unlock()
	account := a.of[id]
	if account == nil {
		account = &Account{limits: a.limits, readers: make(chan struct{}, a.limits.Readers)}
		a.of[id] = account
	}
	return account
}

// Close has recorded what was refused and is not yet told.
func (a *Accounts) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, account := range a.of {
		account.refusals.close()
	}
}

// Account is what one caller has in flight.
type Account struct {
	limits   Limits
	requests atomic.Int64
	bytes    atomic.Int64
	readers  chan struct{}
	refusals refusals
}

// Full reports whether another request would be refused.
func (a *Account) Full() bool {
	return a.requests.Load() >= int64(a.limits.Requests) || a.bytes.Load() >= a.limits.Bytes
}

// Begin begins a request, and reports whether there is room for it. Either way it must be ended.
func (a *Account) Begin() (Use, bool) {
	if a.requests.Add(1) > int64(a.limits.Requests) {
		a.requests.Add(-1)
		return Use{account: a}, false
	}
	return Use{account: a, counted: true}, true
}

// Use is what one request uses. It belongs to one goroutine. The zero Use is one that has ended.
type Use struct {
	account *Account
	counted bool
	reading bool
	bytes   int64
}

// Read waits until a message may come in, or until nobody waits for it any more.
func (u *Use) Read(done <-chan struct{}) {
	if u.account == nil || u.reading {
		return
	}
	select {
	case u.account.readers <- struct{}{}:
		u.reading = true
	case <-done:
	}
}

// Arrived says that the message is there.
func (u *Use) Arrived() {
	if u.reading {
		<-u.account.readers
		u.reading = false
	}
}

// Hold reports whether there is room for more bytes, and counts them then until the request ends.
func (u *Use) Hold(n int) bool {
	switch {
	case u.account == nil:
		return false
	case u.account.bytes.Add(int64(n)) > u.account.limits.Bytes && n > 0:
		u.account.bytes.Add(-int64(n))
		return false
	}
	u.bytes += int64(n)
	return true
}

// End gives back all that the request used. A second one does nothing.
func (u *Use) End() {
	u.Arrived()
	if u.account == nil {
		return
	}
	if u.counted {
		u.account.requests.Add(-1)
	}
	u.account.bytes.Add(-u.bytes)
	*u = Use{}
}
