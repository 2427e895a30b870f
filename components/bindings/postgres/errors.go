// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// How a statement can fail apart from a [pgconn.PgError].

// excessError says that the limits do not let an answer pass. Nothing was changed.
type excessError struct{ what string }

func (e *excessError) Error() string { return e.what }

// unfitParamsError says that the parameters are not those that the statement asks for. It holds none of their values.
type unfitParamsError struct{ reason string }

func (e *unfitParamsError) Error() string { return e.reason }

// brokenError says that the connection broke.
type brokenError struct {
	cause error
	// unknown says that it broke in the commit: the statement may have been done.
	unknown bool
}

func (e *brokenError) Error() string {
	if e.unknown {
		return fmt.Sprintf("the connection broke while the transaction was committed: whether it was is not known: %v", e.cause)
	}
	return fmt.Sprintf("the connection broke, and nothing was changed: %v", e.cause)
}
func (e *brokenError) Unwrap() error { return e.cause }

// broken tells an error of the connection from one that the database answers with.
func (s *session) broken(err error) error {
	var answered *pgconn.PgError
	var large *pgproto3.ExceededMaxBodyLenErr
	switch {
	case err == nil:
		return nil
	case errors.As(err, &large):
		return &excessError{"a row has more bytes than may be returned"}
	case errors.As(err, &answered) && !fatal(answered):
		return answered
	}
	return &brokenError{cause: err}
}

func fatal(err *pgconn.PgError) bool {
	return err.SeverityUnlocalized == "FATAL" || err.SeverityUnlocalized == "PANIC"
}
