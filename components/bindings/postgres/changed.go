// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// changedSQL counts what the session has changed in all, since it last told the server.
const changedSQL = "SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) FROM pg_catalog.pg_stat_xact_user_tables"

// changed holds what parts of the statement changed against the limit, where the answer does not say it.
func (s *session) changed(ctx context.Context, j *job, answer done) (done, error) {
	if !j.within {
		return answer, nil
	}
	rows, err := s.changes(ctx, answer.before)
	if err == nil && rows > j.maxRows {
		err = j.tooMany("changed")
	}
	if err != nil {
		s.rollback(j.patience)
		return done{}, err
	}
	answer.rows = max(answer.rows, rows)
	return answer, nil
}

func (s *session) changes(ctx context.Context, before int64) (int64, error) {
	if !s.counts {
		return 0, &excessError{"the server does not count what a part of a statement changes (track_counts is off)"}
	}
	after, err := countOf(s.conn.ExecParams(ctx, changedSQL, nil, nil, nil, nil).Read())
	if err != nil {
		return 0, s.broken(err)
	}
	return after - before, nil
}

// cleanse takes out of the session what a function may have left in it: settings, above all.
func (s *session) cleanse(patience time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	result := s.conn.ExecParams(ctx, "DISCARD ALL", nil, nil, nil, nil).Read()
	clear(s.prepared)
	s.order, s.steps, s.spent = nil, false, s.spent || result.Err != nil
}

// counted reads how many changes the session had counted before the statement: those of earlier ones may be among them.
func (s *session) counted(pipeline *pgconn.Pipeline, j *job) (int64, error) {
	if !j.within {
		return 0, nil
	}
	result, err := pipeline.GetResults()
	if err != nil {
		return 0, err
	}
	reader, ok := result.(*pgconn.ResultReader)
	if !ok {
		return 0, fmt.Errorf("the server answered with %T", result)
	}
	return countOf(reader.Read())
}

func countOf(result *pgconn.Result) (int64, error) {
	switch {
	case result.Err != nil:
		return 0, result.Err
	case len(result.Rows) != 1 || len(result.Rows[0]) != 1:
		return 0, errors.New("the server does not say how much was changed")
	}
	return strconv.ParseInt(string(result.Rows[0][0]), 10, 64)
}
