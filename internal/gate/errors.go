// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package gate

import (
	"errors"
	"fmt"
	"time"

	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/receipt"
)

// Why the gate can be closed. They are wrapped in a [ClosedError].
var (
	ErrNoPolicy   = errors.New("no policy is in force")
	ErrNoIdentity = errors.New("the door has no identity to sign with")
	ErrClock      = errors.New("the clock is outside the validity of the door's certificate")
	ErrNoRates    = errors.New("the calls cannot be counted against a rate")
	ErrJournal    = errors.New("the journal does not take the record")
	ErrNoPast     = errors.New("the rules ask for the chain, and those that were in force when the step came did not")
)

// DeniedError says that the action was decided and refused, and that the
// refusal is recorded under Reference. The caller is told the reference, and
// the reason only by the record.
type DeniedError struct {
	Reference string
	Decision  policy.Decision
	// RetryAfter is when the rate that is used up has room again. 0 where it is no
	// rate that denies.
	RetryAfter time.Duration
	// Answer is the receipt of the refusal with its certificates, where the action is a step of a chain, else nil.
	Answer *receipt.Envelope
}

func (e *DeniedError) Error() string {
	return fmt.Sprintf("denied (reference %s): %s", e.Reference, e.Decision.Reason)
}

// RepeatedError says that the step was passed on before, and that this attempt is
// recorded under Reference as refused.
type RepeatedError struct {
	Reference string
	Passed    Passed
}

func (e *RepeatedError) Error() string {
	return fmt.Sprintf("refused (reference %s): the step was passed on before", e.Reference)
}

// ClosedError says that the action could not be decided or recorded. Nothing
// may pass. The reference stands in the log only, since the record may be what
// failed.
type ClosedError struct {
	Reference string
	Cause     error
}

func (e *ClosedError) Error() string {
	return fmt.Sprintf("closed (reference %s): %v", e.Reference, e.Cause)
}

func (e *ClosedError) Unwrap() error { return e.Cause }

// SayingError says why an app must not say what it wants its sidecar to sign. It is for the app.
type SayingError struct{ Reason string }

func (e *SayingError) Error() string { return e.Reason }

// OtherContentError says that a step has a link already, which says something else.
type OtherContentError struct {
	// Digest is that of the link.
	Digest  receipt.Digest
	Differs string
}

func (e *OtherContentError) Error() string {
	return fmt.Sprintf("the step has the link %s already, with another %s: doing a step again must say the same, and another step needs another workflow.task", e.Digest, e.Differs)
}
