// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import (
	"errors"
	"fmt"
)

// ErrNotFound is what Start returns, wrapped, when there is no PostgreSQL to
// use and none could be downloaded.
var ErrNotFound = errors.New("no PostgreSQL found: install it (apt-get install postgresql), or start one " +
	"(docker compose up -d postgres) and name it in CUSTODY_POSTGRES_URL")

// errPortTaken says that another process took the port between our choosing
// it and the cluster's binding it; Start then chooses another.
var errPortTaken = errors.New("the chosen port was taken by another process")

// exitedError says that a PostgreSQL program ended when it should not have.
type exitedError struct {
	program string
	cause   error
	output  string
}

func (e *exitedError) Error() string {
	return fmt.Sprintf("%s ended: %v: %s", e.program, e.cause, e.output)
}

func (e *exitedError) Unwrap() error { return e.cause }
