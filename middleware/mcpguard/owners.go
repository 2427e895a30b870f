// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard

import (
	"container/list"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/policy"
)

// maxOwned bounds what one guard remembers of each kind. Of the caller that has most
// what was unused for the longest time is forgotten first, so that no caller pushes
// out what is another's; a client whose session that was is told, as the protocol
// foresees, that it is gone, and opens another.
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
	// asked are the requests of the server that passed to a client.
	asked  *owners[struct{}]
	chains *chains
}

func newMemory(bundles x509bundle.Source) *memory {
	return &memory{
		sessions: newOwners[struct{}]("the session", maxOwned), tasks: newOwners[task]("the task", maxOwned),
		asked: newOwners[struct{}]("the request", maxOwned), chains: newChains(bundles),
	}
}

// askedID names a request of the server to a caller in a session: servers number them anew in each.
func askedID(caller spiffeid.ID, session string, id []byte) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s", caller, session, id))
	return string(sum[:])
}

// task is a call that the server answers later.
type task struct {
	// action is the call, and obligations what its allow obliged to.
	action      policy.Action
	obligations *policy.Obligations
}

// owners remembers which caller a server gave which ID, with something about it.
type owners[V any] struct {
	what string
	most int

	mu   sync.Mutex
	byID map[string]*list.Element
	of   map[spiffeid.ID]*list.List // of owned[V], the newest first
}

type owned[V any] struct {
	id    string
	owner spiffeid.ID
	value V
}

func newOwners[V any](what string, most int) *owners[V] {
	return &owners[V]{what: what, most: most, byID: map[string]*list.Element{}, of: map[spiffeid.ID]*list.List{}}
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
	o.of[caller].MoveToFront(element)
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
	own := o.of[caller]
	if own == nil {
		own = list.New()
		o.of[caller] = own
	}
	o.byID[id] = own.PushFront(owned[V]{id: id, owner: caller, value: value})
	if len(o.byID) > o.most {
		o.forget(o.largest().Back())
	}
	return nil
}

// largest is called with mu. There is one.
func (o *owners[V]) largest() *list.List {
	var most *list.List
	for _, own := range o.of {
		if most == nil || own.Len() > most.Len() {
			most = own
		}
	}
	return most
}

// end forgets the ID.
func (o *owners[V]) end(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if element, ok := o.byID[id]; ok {
		o.forget(element)
	}
}

// forget is called with mu.
func (o *owners[V]) forget(element *list.Element) {
	known := element.Value.(owned[V])
	own := o.of[known.owner]
	own.Remove(element)
	if own.Len() == 0 {
		delete(o.of, known.owner)
	}
	delete(o.byID, known.id)
}
