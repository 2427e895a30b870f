// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

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
