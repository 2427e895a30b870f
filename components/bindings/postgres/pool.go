// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dapr-custody/custody/internal/database"
)

// Why there is no session.
var (
	errClosed = errors.New("the door is closed")
	errBusy   = errors.New("all connections that the database document lets be opened are in use")
)

// pool holds the sessions of one role at one database, never more than its document says. One that was opened for somebody
// is used for nobody else.
type pool struct {
	at  *database.Database
	ca  Minter
	now func() time.Time
	// complain takes what fails behind the requests.
	complain func(what string, err error)

	busy chan struct{} // one for each session that is out

	mu      sync.Mutex
	resting []*session // least recently used first
	sweeper *time.Timer
	closed  bool
	closing sync.WaitGroup // sessions that still say goodbye to the server
}

func newPool(at *database.Database, ca Minter, now func() time.Time, complain func(string, error)) *pool {
	return &pool{at: at, ca: ca, now: now, complain: complain, busy: make(chan struct{}, at.Limits.MaxConnections)}
}

// take gives a session, which has to be given back with put. It waits for one as long as a statement may take.
func (p *pool) take(ctx context.Context, w who) (*session, error) {
	if err := p.enter(ctx); err != nil {
		return nil, err
	}
	s, spare := p.rested(w)
	if s != nil {
		return s, nil
	}
	for _, other := range spare {
		other.close()
	}
	s, err := p.connect(ctx, w)
	if err != nil {
		<-p.busy
		return nil, err
	}
	return s, nil
}

func (p *pool) enter(ctx context.Context) error {
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	if closed {
		return errClosed
	}
	select {
	case p.busy <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(p.at.Limits.StatementTimeout)
	defer timer.Stop()
	select {
	case p.busy <- struct{}{}:
		return nil
	case <-timer.C:
		return errBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rested takes a session of theirs that is still good, or says which of others' have to end to make room.
func (p *pool) rested(w who) (s *session, spare []*session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	for i := len(p.resting) - 1; i >= 0; i-- {
		s := p.resting[i]
		if s.who != w {
			continue
		}
		p.resting = slices.Delete(p.resting, i, i+1)
		if s.idle(now) {
			return s, nil
		}
		spare = append(spare, s)
	}
	if over := len(p.resting) + len(p.busy) - cap(p.busy); over > 0 {
		spare = append(spare, p.resting[:over]...)
		p.resting = slices.Delete(p.resting, 0, over)
	}
	return nil, spare
}

// put takes a session back, and ends it unless it can be used again.
func (p *pool) put(s *session) {
	s.fresh, s.used = false, p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case s.conn.IsClosed():
		// The server is still being asked to cancel: until then the connection counts.
		p.closing.Add(1)
		go func() {
			defer p.closing.Done()
			s.cancelAgain()
			<-p.busy
		}()
		return
	case p.closed || !s.idle(s.used):
		p.discard(s)
	default:
		p.resting = append(p.resting, s)
		if p.sweeper == nil {
			p.sweeper = time.AfterFunc(p.at.Limits.IdleTimeout, p.sweep)
		}
	}
	<-p.busy
}

// sweep ends sessions that nobody has used for long, and those whose certificate is over.
func (p *pool) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	p.resting = slices.DeleteFunc(p.resting, func(s *session) bool {
		over := now.Sub(s.used) >= p.at.Limits.IdleTimeout || !s.idle(now)
		if over {
			p.discard(s)
		}
		return over
	})
	p.sweeper = nil
	if len(p.resting) > 0 && !p.closed {
		p.sweeper = time.AfterFunc(p.at.Limits.IdleTimeout, p.sweep)
	}
}

// renew ends all sessions that rest: the server was started anew, or what they have prepared means something else now.
func (p *pool) renew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.resting {
		p.discard(s)
	}
	p.resting = nil
}

// discard ends a session without waiting for it.
func (p *pool) discard(s *session) {
	p.closing.Add(1)
	go func() {
		defer p.closing.Done()
		s.close()
	}()
}

// close ends all sessions. Those that are out end when they are put back.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	if p.sweeper != nil {
		p.sweeper.Stop()
	}
	p.mu.Unlock()
	p.renew()
	for range cap(p.busy) {
		p.busy <- struct{}{}
	}
	p.closing.Wait()
}

// use runs do in a session of theirs. A session that had been used before and turns out to be broken is replaced once, since
// do commits last: what broke before has changed nothing.
func (p *pool) use(ctx context.Context, w who, do func(*session) error) error {
	for {
		s, err := p.take(ctx, w)
		if err != nil {
			return &unreachedError{err}
		}
		used := !s.fresh
		err = do(s)
		p.put(s)
		var broken *brokenError
		if !used || ctx.Err() != nil || !errors.As(err, &broken) || broken.unknown {
			return err
		}
		p.renew()
	}
}

// unreachedError says that no session was to be had. Nothing was sent to the database.
type unreachedError struct{ cause error }

func (e *unreachedError) Error() string {
	return fmt.Sprintf("no session with the database: %v", e.cause)
}
func (e *unreachedError) Unwrap() error { return e.cause }
