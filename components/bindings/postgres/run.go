// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// job is a statement that may run.
type job struct {
	sql    string
	params params
	writes bool
	rows   bool // the rows are wanted, and not only their number
	// within says that what is changed does not show in the answer, since a part of the statement changes it.
	within bool
	// calls says that functions run which may leave something in the session.
	calls bool
	// maxRows and maxBytes are what may be returned, and maxRows what may be changed.
	maxRows  int64
	maxBytes int
	// patience is how long the server may keep silent, which ends statements earlier, and how long a commit may take.
	patience time.Duration
}

// done is what came of it.
type done struct {
	data []byte // JSON, where the rows are wanted
	rows int64  // returned or changed
	// before is how many changes the session had counted before the statement, where that is asked for.
	before int64
}

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

const (
	beginRead   = "BEGIN READ ONLY"
	beginWrite  = "BEGIN READ WRITE"
	maxPrepared = 64
)

// run does one statement in a transaction of its own. What only reads is begun, done and ended in one go; what writes is
// committed after its answer was taken. An error means that nothing was changed, but for a brokenError that says so.
func (s *session) run(ctx context.Context, j *job) (done, error) {
	oids, err := j.params.oids(s.types)
	if err != nil {
		return done{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, j.patience)
	defer cancel()
	described, cached, err := s.prepare(ctx, j.sql, oids)
	if err != nil {
		return done{}, s.broken(err)
	}
	built, err := j.params.build(s.types, described)
	if err != nil {
		return done{}, err
	}
	within, stop := context.WithCancel(ctx)
	defer stop()
	answer, err := s.transact(within, stop, j, described, built)
	if err != nil {
		s.rollback(j.patience)
		return done{}, s.outdated(err, cached)
	}
	if j.writes {
		if answer, err = s.changed(ctx, j, answer); err == nil {
			err = s.commit(ctx, j)
		}
	}
	if j.calls {
		s.cleanse(j.patience)
	}
	return answer, err
}

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
	s.order, s.spent = nil, s.spent || result.Err != nil
}

func (s *session) transact(ctx context.Context, stop context.CancelFunc, j *job, d *pgconn.StatementDescription, p *pgx.ExtendedQueryBuilder) (done, error) {
	pipeline := s.conn.StartPipeline(ctx)
	begin := beginRead
	if j.writes {
		begin = beginWrite
	}
	pipeline.SendQueryParams(begin, nil, nil, nil, nil)
	if j.within {
		pipeline.SendQueryParams(changedSQL, nil, nil, nil, nil)
	}
	pipeline.SendQueryStatement(d, p.ParamValues, p.ParamFormats, p.ResultFormats)
	pipeline.SendPipelineSync()
	if !j.writes {
		pipeline.SendQueryParams("COMMIT", nil, nil, nil, nil)
		pipeline.SendPipelineSync()
	}
	answer, err := s.answer(pipeline, j)
	var answered *pgconn.PgError
	if err != nil && !errors.As(err, &answered) {
		stop() // What else would come is not waited for.
	}
	// After an error the pipeline tells the same one again.
	if closing := pipeline.Close(); err == nil {
		err = s.broken(closing)
	}
	return answer, err
}

// answer reads the results of BEGIN and of the statement.
func (s *session) answer(pipeline *pgconn.Pipeline, j *job) (done, error) {
	if err := pipeline.Flush(); err != nil {
		return done{}, s.broken(err)
	}
	if _, err := pipeline.GetResults(); err != nil {
		return done{}, s.broken(err)
	}
	before, err := s.counted(pipeline, j)
	if err != nil {
		return done{}, s.broken(err)
	}
	result, err := pipeline.GetResults()
	if err != nil {
		return done{}, s.broken(err)
	}
	reader, ok := result.(*pgconn.ResultReader)
	if !ok {
		return done{}, s.broken(fmt.Errorf("the server answered with %T", result))
	}
	answer, err := done{}, error(nil)
	if j.rows {
		answer, err = s.collect(reader, j)
	} else {
		answer, err = s.count(reader, j)
	}
	answer.before = before
	return answer, err
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

// collect writes the rows as Dapr's binding does: an array of arrays, of what pgx takes the values for.
func (s *session) collect(reader *pgconn.ResultReader, j *job) (done, error) {
	answer := done{data: []byte{'['}}
	rows := pgx.RowsFromResultReader(s.types, reader)
	for rows.Next() {
		if answer.rows++; answer.rows > j.maxRows {
			return done{}, j.tooMany("returned")
		}
		values, err := rows.Values()
		if err != nil {
			return done{}, fmt.Errorf("a value of the result cannot be read: %w", errUnreadable)
		}
		text, err := json.Marshal(values)
		if err != nil {
			return done{}, fmt.Errorf("a value of the result has no form in JSON: %w", errUnreadable)
		}
		if answer.rows > 1 {
			answer.data = append(answer.data, ',')
		}
		if answer.data = append(answer.data, text...); len(answer.data) >= j.maxBytes {
			return done{}, &excessError{fmt.Sprintf("more than %d bytes would be returned", j.maxBytes)}
		}
	}
	if err := rows.Err(); err != nil {
		return done{}, s.broken(err)
	}
	answer.data = append(answer.data, ']')
	return j.bounded(answer, rows.CommandTag())
}

var errUnreadable = errors.New("the statement can cast it to text")

// count reads past the rows.
func (s *session) count(reader *pgconn.ResultReader, j *job) (done, error) {
	var rows int64
	for reader.NextRow() {
		if rows++; rows > j.maxRows {
			return done{}, j.tooMany("returned")
		}
	}
	tag, err := reader.Close()
	if err != nil {
		return done{}, s.broken(err)
	}
	return j.bounded(done{rows: tag.RowsAffected()}, tag)
}

// within holds what was changed against the limit.
func (j *job) bounded(answer done, tag pgconn.CommandTag) (done, error) {
	if tag.RowsAffected() > j.maxRows {
		return done{}, j.tooMany("changed")
	}
	answer.rows = max(answer.rows, tag.RowsAffected())
	return answer, nil
}

func (j *job) tooMany(what string) error {
	return &excessError{fmt.Sprintf("more than %d rows would be %s", j.maxRows, what)}
}

// commit ends a transaction whose answer is in order. It does not matter any more whether the caller still waits.
func (s *session) commit(ctx context.Context, j *job) error {
	if err := ctx.Err(); err != nil {
		s.rollback(j.patience)
		return &brokenError{cause: err}
	}
	detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), j.patience)
	defer cancel()
	result := s.conn.ExecParams(detached, "COMMIT", nil, nil, nil, nil).Read()
	var refused *pgconn.PgError
	switch {
	case result.Err == nil && result.CommandTag.String() == "COMMIT":
		return nil
	case result.Err == nil:
		return &brokenError{cause: fmt.Errorf("the server answered the commit with %s", result.CommandTag)}
	case errors.As(result.Err, &refused) && !fatal(refused):
		return refused
	}
	return &brokenError{cause: result.Err, unknown: true}
}

// rollback ends a transaction that must not be. A session that cannot be brought to it is at its end, and with it the
// transaction.
func (s *session) rollback(patience time.Duration) {
	if s.conn.IsClosed() || s.conn.TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if result := s.conn.ExecParams(ctx, "ROLLBACK", nil, nil, nil, nil).Read(); result.Err != nil {
		s.close()
	}
}

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

// outdated tells that what the session had prepared before is no more, or would give other columns now: the definitions
// have changed. Another session finds out what they are.
func (s *session) outdated(err error, cached bool) error {
	var answered *pgconn.PgError
	if cached && errors.As(err, &answered) && (answered.Code == "26000" || answered.Code == "0A000") {
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
