// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package gate

import (
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/journal"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/receipt"
)

// mostSteps is how many steps are remembered that were passed on.
const mostSteps = 100_000

// Steps remembers which steps of workflows were passed on, so that none is twice: chain, instance, generation and task of
// the workflow, with the caller, name a step. It holds digests and places, and what else is asked for it reads from the
// journal.
//
// What it forgets is not lost sight of: a question that was signed before the newest step that is forgotten, and whose
// step is not known, is refused, since the step may be one of those. It is safe for concurrent use.
type Steps struct {
	dir          string
	most         int
	certificates *certificates

	mu         sync.Mutex
	byID       map[stepID]*passed
	byQuestion map[receipt.Digest]*passed
	byChain    map[chainID][]*passed // in their turns
	turns      uint64
	order      *list.List // of *passed, as they were passed on
	forgotten  time.Time  // when the newest of those that are not remembered was decided; zero if none
}

// stepID names a step of a caller, and chainID a chain.
type (
	stepID  [sha256.Size]byte
	chainID [sha256.Size]byte
)

// passed is a step that was passed on, or that is being decided.
type passed struct {
	id       stepID
	chain    chainID
	tool     receipt.Digest // of its name, which a caller chooses; zero for what calls none
	turn     uint64         // which it was of all that were asked for
	question receipt.Digest
	decided  time.Time
	intent   journal.Place
	// receipt and answer are zero until the step is settled.
	receipt journal.Place
	answer  receipt.Digest
	// deciding is closed when it is known whether the step is passed on; then it is nil.
	deciding chan struct{}
}

func newSteps(dir string) *Steps {
	return &Steps{
		dir: dir, most: mostSteps, byID: map[stepID]*passed{}, byQuestion: map[receipt.Digest]*passed{},
		byChain: map[chainID][]*passed{}, order: list.New(),
		certificates: newCertificates(dir),
	}
}

// idOf is a digest, for which each part is written with its length or in a fixed size.
func idOf(caller spiffeid.ID, w *receipt.Workflow) stepID {
	b := make([]byte, 0, 256)
	for _, s := range [...]string{caller.String(), w.Chain.App.String(), w.Chain.Instance, w.Instance} {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(w.Chain.Started.Unix()))
	b = binary.BigEndian.AppendUint32(b, uint32(w.Chain.Started.Nanosecond()))
	b = binary.BigEndian.AppendUint32(b, w.Generation)
	return sha256.Sum256(binary.BigEndian.AppendUint32(b, w.Task))
}

func toolOf(a receipt.Action) receipt.Digest {
	if a.Kind != policy.KindToolCall {
		return receipt.Digest{}
	}
	return receipt.Sum([]byte(a.Name))
}

func chainOf(c *receipt.Chain) chainID { return sha256.Sum256(c.AppendJSON(nil)) }

// forgottenError says that a step cannot be told from one that is no longer remembered.
type forgottenError struct{ before time.Time }

func (e *forgottenError) Error() string {
	return fmt.Sprintf("the question is from before %s, and whether its step was passed on before then is no longer known", stamp(e.before))
}

// take reserves a step for the one who gets it with own, which must be told by pass or release. Others get what is known
// of the step once that is decided.
func (s *Steps) take(ctx context.Context, asked *Step) (step *passed, own bool, err error) {
	var gone <-chan struct{}
	if ctx != nil {
		gone = ctx.Done()
	}
	for {
		step, own, err = s.tryTake(asked)
		if own || err != nil {
			return step, own, err
		}
		deciding := step.isDeciding(s)
		if deciding == nil {
			return step, false, nil
		}
		select {
		case <-deciding:
		case <-gone:
			return nil, false, ctx.Err()
		}
	}
}

func (s *Steps) tryTake(asked *Step) (step *passed, own bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.byID[asked.id]; known != nil {
		return known, false, nil
	}
	if before := s.forgotten.Add(skew); !s.forgotten.IsZero() && !asked.receipt.Times.Settled.After(before) {
		return nil, false, &forgottenError{before: before}
	}
	step = &passed{
		id: asked.id, chain: chainOf(asked.receipt.Workflow.Chain), tool: toolOf(asked.receipt.Action), question: asked.digest,
		deciding: make(chan struct{}),
	}
	s.byID[asked.id] = step
	s.enroll(step)
	return step, true, nil
}

// isDeciding gives what is closed when it is known whether the step is passed on; nil once it is passed on.
func (p *passed) isDeciding(s *Steps) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return p.deciding
}

// release says that the step is not passed on; who waits for it decides anew.
func (s *Steps) release(step *passed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byID, step.id)
	s.strike(step)
	close(step.deciding)
}

// pass says that the intent to pass the step on is written.
func (s *Steps) pass(step *passed, decided time.Time, intent journal.Place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	step.decided, step.intent = decided, intent
	if step.deciding != nil {
		close(step.deciding)
		step.deciding = nil
	}
	s.keep(step)
}

// keep is called with mu.
func (s *Steps) keep(step *passed) {
	s.byID[step.id], s.byQuestion[step.question] = step, step
	s.order.PushBack(step)
	for s.order.Len() > s.most {
		oldest := s.order.Remove(s.order.Front()).(*passed)
		delete(s.byID, oldest.id)
		delete(s.byQuestion, oldest.question)
		s.strike(oldest)
		s.forget(oldest.decided)
	}
}

func (s *Steps) forget(decided time.Time) {
	if decided.After(s.forgotten) {
		s.forgotten = decided
	}
}

// enroll is called with mu.
func (s *Steps) enroll(step *passed) {
	s.turns++
	step.turn = s.turns
	s.byChain[step.chain] = append(s.byChain[step.chain], step)
}

// strike is called with mu.
func (s *Steps) strike(step *passed) {
	rest := slices.DeleteFunc(s.byChain[step.chain], func(p *passed) bool { return p == step })
	if s.byChain[step.chain] = rest; len(rest) == 0 {
		delete(s.byChain, step.chain)
	}
}

// before counts the calls of a tool that were asked for before the step, for any step of its chain and by whomever, and
// were passed on or are being decided. It is an error where some of them may be forgotten.
func (s *Steps) before(step *passed, started time.Time, tool string) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if before := s.forgotten.Add(skew); !s.forgotten.IsZero() && !started.After(before) {
		return 0, &forgottenError{before: before}
	}
	n, named := 0, receipt.Sum([]byte(tool))
	for _, p := range s.byChain[step.chain] {
		if p.tool == named && p.turn < step.turn {
			n++
		}
	}
	return n, nil
}

// settle says that the receipt of the step is written.
func (s *Steps) settle(step *passed, at journal.Place, answer receipt.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	step.receipt, step.answer = at, answer
}

// knows reports whether the step was passed on.
func (s *Steps) knows(id stepID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.byID[id]
	return known != nil && known.deciding == nil
}

// Len is how many steps are remembered, and Since the time from which on none is forgotten; zero if that is all time.
func (s *Steps) Len() (n int, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.order.Len(), s.forgotten
}
