// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package guarded

import (
	"errors"
	"fmt"

	"github.com/cenkalti/backoff/v4"

	"github.com/dapr-custody/custody/internal/gate"
)

// do has the request decided and done. Behind a door of the store's own its error is what the app may read: Dapr hands
// it on as it is. The reason has the record, or the log where there is no record. What was denied or withheld Dapr is told
// not to try again: it would do so where Resiliency says so, and without end for the row of an outbox.
func (r *request) do(call func() (*answer, error)) error {
	err := r.decide(call)
	if err == nil || r.store.access == nil || !r.store.access.plain {
		return err
	}
	var (
		denied *gate.DeniedError
		closed *gate.ClosedError
	)
	switch {
	case errors.As(err, &denied):
		return backoff.Permanent(&refusal{fmt.Sprintf("policy denied this (reference %s)", denied.Reference), err})
	case errors.Is(err, ErrWithheld):
		return backoff.Permanent(err)
	case errors.As(err, &closed):
		r.store.log.Errorf("%s: %v", r.store.name, err)
		return &refusal{fmt.Sprintf("this could not be decided and recorded (reference %s)", closed.Reference), err}
	}
	return err
}

// refusal says less than its cause.
type refusal struct {
	text  string
	cause error
}

func (r *refusal) Error() string { return r.text }

func (r *refusal) Unwrap() error { return r.cause }
