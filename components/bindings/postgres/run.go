// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
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

// The steps of a transaction. Each is prepared under its own text.
const (
	beginRead  = "BEGIN READ ONLY"
	beginWrite = "BEGIN READ WRITE"
	commitStep = "COMMIT"
)

// prepareSteps has the server parse the steps of transactions once for a session.
func (s *session) prepareSteps(ctx context.Context) error {
	if s.steps {
		return nil
	}
	for _, step := range []string{beginRead, beginWrite, commitStep} {
		if _, err := s.conn.Prepare(ctx, step, step, nil); err != nil {
			return err
		}
	}
	s.steps = true
	return nil
}

// run does one statement in a transaction of its own. What only reads is begun, done and ended in one go; what writes is
// committed after its answer was taken. An error means that nothing was changed, but for a brokenError that says so.
func (s *session) run(ctx context.Context, j *job) (done, error) {
	oids, err := j.params.oids(s.types)
	if err != nil {
		return done{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, j.patience)
	defer cancel()
	if j.calls {
		defer s.cleanse(j.patience)
	}
	if err := s.prepareSteps(ctx); err != nil {
		return done{}, s.broken(err)
	}
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
	return answer, err
}

func (s *session) transact(ctx context.Context, stop context.CancelFunc, j *job, d *pgconn.StatementDescription, p *pgx.ExtendedQueryBuilder) (done, error) {
	pipeline := s.conn.StartPipeline(ctx)
	begin := beginRead
	if j.writes {
		begin = beginWrite
	}
	pipeline.SendQueryPrepared(begin, nil, nil, nil)
	if j.within {
		pipeline.SendQueryParams(changedSQL, nil, nil, nil, nil)
	}
	pipeline.SendQueryStatement(d, p.ParamValues, p.ParamFormats, p.ResultFormats)
	if !j.writes { // After an error the server skips it.
		pipeline.SendQueryPrepared(commitStep, nil, nil, nil)
	}
	pipeline.SendPipelineSync()
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

// commit ends a transaction whose answer is in order. It does not matter any more whether the caller still waits.
func (s *session) commit(ctx context.Context, j *job) error {
	if err := ctx.Err(); err != nil {
		s.rollback(j.patience)
		return &brokenError{cause: err}
	}
	detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), j.patience)
	defer cancel()
	result := s.conn.ExecPrepared(detached, commitStep, nil, nil, nil).Read()
	var refused *pgconn.PgError
	switch {
	case result.Err == nil && result.CommandTag.String() == commitStep:
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
