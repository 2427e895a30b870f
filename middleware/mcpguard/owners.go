// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard

import (
	"container/list"
	"errors"
	"fmt"
	"sync"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/policy"
)

// maxOwned bounds what one guard remembers of each kind. What was unused for the
// longest time is forgotten first; a client whose session that was is told, as the
// protocol foresees, that it is gone, and opens another.
const maxOwned = 100_000

// maxID bounds the length of an ID that a server gives.
const maxID = 1024

var (
	errUnknown = errors.New("is not known here")
	errForeign = errors.New("belongs to another caller")
)

// memory is what a guard remembers between requests. It lives as long as the
// process: after a restart every session, task and chain is unknown.
type memory struct {
	// sessions are those of MCP (revisions before 2026-07-28).
	sessions *owners[struct{}]
	tasks    *owners[task]
	chains   *chains
}

func newMemory(bundles x509bundle.Source) *memory {
	return &memory{
		sessions: newOwners[struct{}]("the session", maxOwned), tasks: newOwners[task]("the task", maxOwned), chains: newChains(bundles),
	}
}

// task is a call that the server answers later.
type task struct {
	// action is the call, and obligations what its allow obliged to.
	action      policy.Action
	obligations *policy.Obligations
}

// owners remembers which caller a server gave which ID, with something about it.
type owners[V any] struct {
	what   string
	mu     sync.Mutex
	byID   map[string]*list.Element
	recent *list.List
	most   int
}

type owned[V any] struct {
	id    string
	owner spiffeid.ID
	value V
}

func newOwners[V any](what string, most int) *owners[V] {
	return &owners[V]{what: what, byID: map[string]*list.Element{}, recent: list.New(), most: most}
}

// check returns what is known of the ID if it is the caller's.
func (o *owners[V]) check(id string, caller spiffeid.ID) (V, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var none V
	element, ok := o.byID[id]
	if !ok {
		return none, fmt.Errorf("%s %w", o.what, errUnknown)
	}
	known := element.Value.(owned[V])
	if known.owner != caller {
		return none, fmt.Errorf("%s %w", o.what, errForeign)
	}
	o.recent.MoveToFront(element)
	return known.value, nil
}

// open gives the ID to the caller. One that another caller holds already is not
// given away, and what is known of one that the caller holds stays.
func (o *owners[V]) open(id string, caller spiffeid.ID, value V) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if element, ok := o.byID[id]; ok {
		if element.Value.(owned[V]).owner != caller {
			return fmt.Errorf("%s %w", o.what, errForeign)
		}
		return nil
	}
	o.byID[id] = o.recent.PushFront(owned[V]{id: id, owner: caller, value: value})
	if o.recent.Len() > o.most {
		oldest := o.recent.Back()
		o.recent.Remove(oldest)
		delete(o.byID, oldest.Value.(owned[V]).id)
	}
	return nil
}

// end forgets the ID.
func (o *owners[V]) end(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if element, ok := o.byID[id]; ok {
		o.recent.Remove(element)
		delete(o.byID, id)
	}
}
