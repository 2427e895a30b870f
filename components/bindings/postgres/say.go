// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/sqlguard"
)

// What a caller is told. The reason of a refusal goes to the record only.
const (
	sayDenied  = "Denied by policy."
	sayUsedUp  = "Denied by policy: as many requests as a rule allows were made; try again later."
	sayNoToken = "Refused: the transaction token that comes with the request is not good here."
	sayClosed  = "The guard of this database cannot decide or record now; nothing is let through."
	sayLarge   = "Refused: the statement is larger than may be sent to this database."
	saySyntax  = "Refused: the statement is not one that PostgreSQL's parser takes."
	sayRefused = "Refused: the statement is not one that may be sent to this database."
	sayNoWay   = "The database cannot be reached."
	sayChanged = "The definitions of the database changed meanwhile, and nothing was done; try again."
	sayFailed  = "error executing query: "
)

// refusal is why the door itself does not let a request pass: for the record, and for the caller.
type refusal struct{ reason, say string }

// refusalOf is that of a text which sqlguard does not let pass.
func refusalOf(err error) *refusal {
	r := &refusal{reason: fmt.Sprintf("%.300s", err.Error()), say: sayRefused}
	switch sqlguard.ClassOf(err) {
	case sqlguard.ClassSize, sqlguard.ClassTokens, sqlguard.ClassDepth:
		r.say = sayLarge
	case sqlguard.ClassSyntax, sqlguard.ClassEmpty:
		r.say = saySyntax
	}
	return r
}

// said is what a caller is told, and how daprd is told it.
type said struct {
	code codes.Code
	text string
}

func (s *said) Error() string { return s.text }

// GRPCStatus is for the connection with daprd.
func (s *said) GRPCStatus() *status.Status { return status.New(s.code, s.text) }

func referred(code codes.Code, say, reference string) error {
	return &said{code: code, text: say + " Reference: " + reference}
}

// toldOf turns what the gate said into what the caller is told. refused is the door's own refusal, nil for none.
func toldOf(err error, refused *refusal) error {
	var denied *gate.DeniedError
	if errors.As(err, &denied) {
		switch {
		case refused != nil:
			return referred(codes.PermissionDenied, refused.say, denied.Reference)
		case denied.RetryAfter > 0:
			return referred(codes.ResourceExhausted, sayUsedUp, denied.Reference)
		}
		return referred(codes.PermissionDenied, sayDenied, denied.Reference)
	}
	reference := "none"
	var closed *gate.ClosedError
	if errors.As(err, &closed) {
		reference = closed.Reference
	}
	return referred(codes.Unavailable, sayClosed, reference)
}

// outcomeOf is what came of a statement, for its receipt, and what the caller is told of it, "" if it was done. Neither
// holds anything of the texts in which the database speaks of values.
func outcomeOf(ctx context.Context, answer done, err error) (outcome receipt.Outcome, say string) {
	if err == nil {
		return receipt.Outcome{Status: receipt.StatusOK, Rows: answer.rows}, ""
	}
	reason := told(err)
	outcome = receipt.Outcome{Status: receipt.StatusIncomplete, Reason: reason}
	var answered *pgconn.PgError
	var broken *brokenError
	var excess *excessError
	switch {
	case errors.As(err, &broken) && broken.unknown:
		return outcome, sayFailed + reason + "."
	case errors.Is(err, errChanged):
		outcome.Status = receipt.StatusWithheld
		return outcome, sayChanged
	case errors.As(err, &excess):
		outcome.Status = receipt.StatusWithheld
		return outcome, sayFailed + reason + "."
	case ctx.Err() != nil:
		outcome.Reason = "nobody waits any more: the statement was cancelled, and nothing was changed"
		return outcome, sayFailed + "it was cancelled."
	case errors.As(err, &answered):
		outcome.Status, outcome.Reason = receipt.StatusFailed, condition(answered)
		return outcome, sayFailed + sentence(answered) + "."
	case errors.Is(err, errBusy):
		return outcome, sayFailed + reason + "."
	case errors.As(err, new(*unreachedError)):
		return outcome, sayNoWay
	case errors.As(err, &broken):
		return outcome, sayFailed + reason + "."
	}
	outcome.Status = receipt.StatusFailed // its parameters or its values do not fit
	return outcome, sayFailed + reason + "."
}

// told is an error without the words of the database.
func told(err error) string {
	var answered *pgconn.PgError
	var broken *brokenError
	switch {
	case errors.As(err, &broken) && broken.unknown:
		return "the connection broke while the transaction was committed: whether it was is not known"
	case errors.As(err, &broken):
		return "the connection broke, and nothing was changed"
	case errors.As(err, &answered):
		return condition(answered)
	}
	return fmt.Sprintf("%.300s", err.Error())
}
