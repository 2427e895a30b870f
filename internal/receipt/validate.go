// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package receipt

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

const (
	// MaxPrev is the largest number of receipts that one continues.
	MaxPrev = 1024
	// MaxActors is the largest number of workloads through whose hands an action came.
	MaxActors = 4
	// MaxTouched is the largest number of parts of a request that a receipt names.
	MaxTouched = 100
)

const (
	maxID = 128
	// maxRedacted bounds the kinds of what was redacted.
	maxRedacted = 64
)

// validate holds for every receipt that is signed and for every receipt that is accepted.
func (r *Receipt) validate() error {
	switch {
	case !validID(r.ID):
		return payloadError("id %.140q is not 1 to 128 letters, digits, '.', '_' or '-'", r.ID)
	case r.Door.SPIFFEID.IsZero():
		return payloadError("door.spiffeID is missing")
	case r.Caller != Caller{} && r.Caller.SPIFFEID.IsZero():
		return payloadError("caller.spiffeID is missing beside other members of caller")
	case r.Action.Kind == "":
		return payloadError("action.kind is missing")
	case r.RequestDigest.IsZero():
		return payloadError("requestDigest is missing")
	case !validID(r.Journal.ID):
		return payloadError("journal.id %.140q is not 1 to 128 letters, digits, '.', '_' or '-'", r.Journal.ID)
	case r.Journal.Chain.IsZero():
		return payloadError("journal.chain is missing")
	}
	if err := validateBehalf(r.Txn, r.Actors); err != nil {
		return err
	}
	if err := r.validateParts(); err != nil {
		return err
	}
	if err := validatePrev(r.Prev); err != nil {
		return err
	}
	if err := r.Workflow.validate(); err != nil {
		return err
	}
	if err := r.validateTo(); err != nil {
		return err
	}
	if err := r.Times.validate(); err != nil {
		return err
	}
	return r.validateOutcome()
}

// validateParts holds for what was touched and for the statement.
func (r *Receipt) validateParts() error {
	switch {
	case len(r.Touched) > MaxTouched:
		return payloadError("touched has more than %d members", MaxTouched)
	case r.TouchedMore < 0 || r.TouchedMore > 0 && len(r.Touched) == 0:
		return payloadError("touchedMore %d does not go with %d members of touched", r.TouchedMore, len(r.Touched))
	case slices.ContainsFunc(r.Touched, func(t Touched) bool { return t.Kind == "" }):
		return payloadError("touched has a member without a kind")
	case r.Statement != nil && r.Statement.Digest.IsZero():
		return payloadError("statement.digest is missing")
	}
	return nil
}

func (r *Receipt) validateOutcome() error {
	switch r.Outcome.Status {
	case StatusDenied, StatusOK, StatusToolError, StatusRPCError, StatusHTTPError, StatusIncomplete, StatusWithheld, StatusFailed,
		StatusAsked, StatusStated, StatusApproved, StatusAnchored:
	default:
		return payloadError("outcome.status %.40q is not known", r.Outcome.Status)
	}
	denied := r.Outcome.Status == StatusDenied
	switch {
	case r.Decision.Effect != EffectAllow && r.Decision.Effect != EffectDeny:
		return payloadError("decision.effect %.40q is neither allow nor deny", r.Decision.Effect)
	case denied != (r.Decision.Effect == EffectDeny):
		return payloadError("effect %q does not go with outcome %q", r.Decision.Effect, r.Outcome.Status)
	case r.Decision.Shadow != nil && r.Decision.Shadow.Effect != EffectAllow && r.Decision.Shadow.Effect != EffectDeny:
		return payloadError("decision.shadow.effect %.40q is neither allow nor deny", r.Decision.Shadow.Effect)
	case len(r.Outcome.Redacted) > maxRedacted:
		return payloadError("outcome.redacted has more than %d members", maxRedacted)
	case r.Outcome.Rows < 0:
		return payloadError("outcome.rows %d is less than 0", r.Outcome.Rows)
	case r.Outcome.HTTPStatus != 0 && (r.Outcome.HTTPStatus < 100 || r.Outcome.HTTPStatus > 999):
		return payloadError("outcome.httpStatus %d is not an HTTP status", r.Outcome.HTTPStatus)
	}
	return nil
}

func validateBehalf(txn string, actors []spiffeid.ID) error {
	switch {
	case txn == "" && len(actors) == 0:
		return nil
	case txn == "" || len(actors) == 0:
		return payloadError("txn and actors do not stand together")
	case !validID(strings.ReplaceAll(txn, ":", "-")):
		return payloadError("txn %.140q is not 1 to 128 letters, digits, '.', '_', ':' or '-'", txn)
	case len(actors) > MaxActors:
		return payloadError("actors has more than %d members", MaxActors)
	case slices.ContainsFunc(actors, spiffeid.ID.IsZero):
		return payloadError("actors has an empty member")
	}
	return nil
}

func validatePrev(prev []Digest) error {
	if len(prev) > MaxPrev {
		return payloadError("prev has more than %d digests", MaxPrev)
	}
	if slices.ContainsFunc(prev, Digest.IsZero) {
		return payloadError("prev has an empty digest")
	}
	return nil
}

// validateTo keeps To to questions: there it is what ties the answer to an identity, elsewhere it would say nothing.
func (r *Receipt) validateTo() error {
	question := r.Outcome.Status == StatusAsked && r.Workflow != nil && r.Workflow.Chain != nil
	switch {
	case question && r.To.IsZero():
		return payloadError("to is missing in a question of a chain")
	case !question && !r.To.IsZero():
		return payloadError("to is set in what is no question of a chain")
	}
	return nil
}

func (w *Workflow) validate() error {
	switch {
	case w == nil:
		return nil
	case w.Instance == "":
		return payloadError("workflow.instance is missing")
	case w.Chain == nil:
		return nil
	case w.App == "":
		return payloadError("workflow.app is missing in a link of a chain")
	case w.Chain.App.IsZero():
		return payloadError("workflow.chain.app is missing")
	case w.Chain.Instance == "":
		return payloadError("workflow.chain.instance is missing")
	case !validTime(w.Chain.Started):
		return payloadError("workflow.chain.started is missing or not in the years 1 to 9999")
	}
	return nil
}

func (t Times) validate() error {
	switch {
	case !validTime(t.Decided):
		return payloadError("times.decided is missing or not in the years 1 to 9999")
	case !validTime(t.Settled):
		return payloadError("times.settled is missing or not in the years 1 to 9999")
	case t.Settled.Round(0).Before(t.Decided): // by what is written, and not by how long the process has run
		return payloadError("times.decided %s is after times.settled %s",
			t.Decided.UTC().Format(timeLayout), t.Settled.UTC().Format(timeLayout))
	}
	return nil
}

func validTime(t time.Time) bool {
	year := t.UTC().Year()
	return !t.IsZero() && year >= 1 && year <= 9999
}

// validID keeps IDs to characters that need no quoting in a file name, a header, a shell or a table.
func validID(id string) bool {
	if id == "" || len(id) > maxID {
		return false
	}
	for i := range len(id) {
		c := id[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

func payloadError(format string, args ...any) error {
	return fmt.Errorf("receipt: %w: "+format, append([]any{ErrPayload}, args...)...)
}
