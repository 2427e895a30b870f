// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package guarded

import (
	"errors"
	"strings"
	"sync"

	"github.com/cenkalti/backoff/v4"
	"github.com/google/uuid"
)

const (
	// outboxProperty is the metadata by which Dapr gives a store an outbox, and outboxPrefix what the rows of it begin with
	// (Dapr pkg/runtime/pubsub/outbox.go). They have no prefix of an app.
	outboxProperty = "outboxpublishtopic"
	outboxPrefix   = "outbox-"
	// outboxMisses is how often Dapr means to try, in ten seconds.
	outboxMisses = 5
	// outboxRows bounds the rows whose misses are counted.
	outboxRows = 10_000
)

// errNoTransaction ends the search for the row of a transaction that was not done.
var errNoTransaction = errors.New("the transaction of this outbox row was not done")

// outbox counts how often Dapr tried in vain to find the row by which it sees that a transaction was done, or to delete it.
// After ten seconds Dapr 1.18.2 tries for ever and without a pause, since its backoff does not say Stop: where the
// transaction was denied or failed, each try leaves records. The zero outbox is ready.
type outbox struct {
	mu     sync.Mutex
	misses map[string]int
}

// tried is told of each try and gives the error of it, which ends the tries once there were enough. They begin anew when the
// message comes again. A nil outbox has no rows.
func (o *outbox) tried(key string, done bool, err error) error {
	id, is := strings.CutPrefix(key, outboxPrefix)
	if o == nil || !is || uuid.Validate(id) != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if done {
		delete(o.misses, key)
		return err
	}
	if o.misses == nil || len(o.misses) >= outboxRows {
		o.misses = map[string]int{}
	}
	if o.misses[key]++; o.misses[key] <= outboxMisses {
		return err
	}
	delete(o.misses, key)
	if err == nil {
		err = errNoTransaction
	}
	return backoff.Permanent(err)
}
