// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package rate

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"time"
)

const (
	defaultMaxKeys = 100_000
	maxUnix        = 7_258_118_400 // the year 2200, far from where nanoseconds overflow
)

// Options say where buckets are kept, and how many.
type Options struct {
	// File keeps the buckets across restarts. It is made, for its owner only, if it is not there; its folder must be.
	// If empty, the buckets are kept for the life of the process only.
	File string
	// Now is the clock. Required.
	Now func() time.Time
	// MaxKeys is how many keys may be counted at a time. 0 is 100,000. A key takes about 150 bytes of memory, however long
	// it is, and 64 of the file.
	MaxKeys int
}

// Claim is one call that counts against a limit. Key is any text; what has the same key shares a bucket.
type Claim struct {
	Key   string
	Limit Limit
}

type digest = [sha256.Size]byte

// bucket is not in use if its limit is zero.
type bucket struct {
	key   digest
	full  int64 // when it is full again, in nanoseconds since 1970
	limit Limit
}

// Limiter counts. All its methods are safe for concurrent use.
type Limiter struct {
	now     func() time.Time
	maxKeys int

	mu      sync.Mutex
	closed  bool
	file    *os.File // nil if there is none
	slot    [slotSize]byte
	places  map[digest]int // in buckets, and in the slots of the file
	buckets []bucket
	free    []int // places not in use

	// No bucket is full before earliest, as long as the clock does not go back behind purged.
	earliest, purged int64
}

// New makes a limiter, and with a file takes up what the file holds. Another process that has the file is ErrLocked, a
// damaged file a *CorruptError. If the file holds more keys than MaxKeys, they all count, and new ones are refused
// until there are fewer.
func New(options Options) (*Limiter, error) {
	switch {
	case options.Now == nil:
		return nil, errors.New("rate: no clock was given")
	case options.MaxKeys < 0:
		return nil, fmt.Errorf("rate: %d is not a number of keys", options.MaxKeys)
	case options.MaxKeys == 0:
		options.MaxKeys = defaultMaxKeys
	}
	l := &Limiter{now: options.Now, maxKeys: options.MaxKeys, places: map[digest]int{}}
	if options.File == "" {
		return l, nil
	}
	if err := l.open(options.File); err != nil {
		return nil, err
	}
	return l, nil
}

// Persistent says whether the buckets outlive the process.
func (l *Limiter) Persistent() bool { return l.file != nil }

// charge is a claim in the course of Take.
type charge struct {
	key    digest
	limit  Limit
	place  int
	before int64 // full, before the call was taken out
	fresh  bool  // the key was not known before
}

// Take charges each claim one call if all of them have room, and none if not; two claims with one key need room for
// two. If a claim has no room, ok is false, which is the index of the first such claim, and retryAfter, more than 0, is
// how long it has none if nobody else takes what comes back. Otherwise which is -1.
//
// An error means that nobody knows whether there is room, or that the charge cannot be kept (ErrFull, ErrClock,
// ErrClosed, a limit that is none, a write that failed): ok is false, and the caller must refuse. After a failed write
// the file may hold a charge that was not allowed, never the other way round, and a later Take tries anew.
//
// Without claims ok is true. Nothing is written for a call that is refused.
func (l *Limiter) Take(claims ...Claim) (ok bool, which int, retryAfter time.Duration, err error) {
	var room [4]charge
	charges := room[:0]
	for i := range claims {
		if err := claims[i].Limit.validate(); err != nil {
			return false, -1, 0, err
		}
		charges = append(charges, charge{key: digestOf(claims[i].Key), limit: claims[i].Limit})
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false, -1, 0, fmt.Errorf("rate: %w", ErrClosed)
	}
	now, err := readClock(l.now)
	if err != nil {
		return false, -1, 0, err
	}
	for i := range charges {
		wait, err := l.charge(&charges[i], now)
		if err != nil {
			l.undo(charges[:i])
			return false, -1, 0, err
		}
		if wait > 0 {
			l.undo(charges[:i])
			return false, i, time.Duration(wait), nil
		}
	}
	if err := l.write(charges); err != nil {
		l.undo(charges)
		return false, -1, 0, err
	}
	return true, -1, 0, nil
}

// digestOf does not allocate for keys of usual length.
func digestOf(key string) digest {
	var room [512]byte
	return sha256.Sum256(append(room[:0], key...))
}

func readClock(now func() time.Time) (int64, error) {
	t := now()
	if s := t.Unix(); s <= 0 || s >= maxUnix {
		return 0, fmt.Errorf("rate: %w: %s", ErrClock, t.Format(time.RFC3339))
	}
	return t.UnixNano(), nil
}

// charge takes one call out of a bucket, or says how long there is none.
func (l *Limiter) charge(c *charge, now int64) (wait int64, err error) {
	place, known := l.places[c.key]
	if !known {
		if place, err = l.add(c.key, now); err != nil {
			return 0, err
		}
	}
	c.place, c.fresh = place, !known
	interval, window := c.limit.interval(), c.limit.window()
	b := &l.buckets[place]
	switch {
	case c.fresh:
		c.before = now
	case b.limit != c.limit:
		c.before = b.limit.carry(b.full, now, c.limit)
	default:
		c.before = min(b.full, now+window) // more only if the clock was set back
	}
	next := max(c.before, now) + interval
	if next-now > window {
		// The change of a limit and of the clock count from their first sight on, also where there is no room.
		l.set(c.place, c.before, c.limit)
		return next - now - window, nil
	}
	l.set(c.place, next, c.limit)
	return 0, nil
}

// undo goes backwards, because two charges may be of one bucket.
func (l *Limiter) undo(charges []charge) {
	for i := len(charges) - 1; i >= 0; i-- {
		if c := &charges[i]; c.fresh {
			l.remove(c.place)
		} else {
			l.set(c.place, c.before, c.limit)
		}
	}
}

func (l *Limiter) set(place int, full int64, limit Limit) {
	b := &l.buckets[place]
	b.full, b.limit = full, limit
	l.earliest = min(l.earliest, full)
}

// add gives a new key a place.
func (l *Limiter) add(key digest, now int64) (place int, err error) {
	if len(l.places) >= l.maxKeys {
		l.purge(now)
		if len(l.places) >= l.maxKeys {
			return 0, fmt.Errorf("rate: %w: the limit is %d", ErrFull, l.maxKeys)
		}
	}
	if last := len(l.free) - 1; last >= 0 {
		place, l.free = l.free[last], l.free[:last]
	} else {
		place = len(l.buckets)
		l.buckets = append(l.buckets, bucket{})
	}
	l.buckets[place].key = key
	l.places[key] = place
	return place, nil
}

// remove leaves the slot in the file as it is: at worst it says again what was true once, and a bucket is emptier.
func (l *Limiter) remove(place int) {
	delete(l.places, l.buckets[place].key)
	l.buckets[place] = bucket{}
	l.free = append(l.free, place)
}

// purge forgets the buckets that are full. It looks at them all, and so only if one can be.
func (l *Limiter) purge(now int64) {
	if l.purged <= now && now < l.earliest {
		return
	}
	l.purged, l.earliest = now, math.MaxInt64
	for place := range l.buckets {
		b := &l.buckets[place]
		if b.limit == (Limit{}) {
			continue
		}
		b.full = min(b.full, now+b.limit.window())
		if b.full <= now {
			l.remove(place)
		} else {
			l.earliest = min(l.earliest, b.full)
		}
	}
}

// Close syncs the file and lets it go. A second call, and every Take after it, is ErrClosed.
func (l *Limiter) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return fmt.Errorf("rate: %w", ErrClosed)
	}
	l.closed = true
	if l.file == nil {
		return nil
	}
	if err := errors.Join(l.file.Sync(), l.file.Close()); err != nil {
		return fmt.Errorf("rate: close: %w", err)
	}
	return nil
}
