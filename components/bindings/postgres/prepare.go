// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// maxPrepared is how many statements a session keeps prepared.
const maxPrepared = 64

// outdated tells that what the session had prepared is no more, or would give other columns now: the definitions have
// changed. Another session finds out what they are.
func (s *session) outdated(err error, cached bool) error {
	var answered *pgconn.PgError
	if errors.As(err, &answered) && (answered.Code == "26000" || cached && answered.Code == "0A000") {
		s.spent = true
		return &brokenError{cause: answered}
	}
	return err
}

// prepare has the server parse the statement, or finds it among those that it has.
func (s *session) prepare(ctx context.Context, sql string, oids []uint32) (d *pgconn.StatementDescription, cached bool, err error) {
	key := sql
	if len(oids) > 0 {
		key = fmt.Sprint(oids, sql)
	}
	if known := s.prepared[key]; known != nil {
		return known, true, nil
	}
	if len(s.order) >= maxPrepared {
		oldest := s.order[0]
		if err := s.conn.Deallocate(ctx, s.prepared[oldest].Name); err != nil {
			return nil, false, err
		}
		delete(s.prepared, oldest)
		s.order = s.order[1:]
	}
	d, err = s.conn.Prepare(ctx, s.name(), sql, oids)
	if err != nil {
		return nil, false, err
	}
	key = strings.Clone(key)
	s.prepared[key] = d
	s.order = append(s.order, key)
	return d, false, nil
}

// name gives a prepared statement one that the session has not used yet.
func (s *session) name() string {
	s.named++
	return "custody_" + strconv.FormatInt(s.named, 10)
}
