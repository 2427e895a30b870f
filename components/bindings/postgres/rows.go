// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
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
		if answer.rows > 1 {
			answer.data = append(answer.data, ',')
		}
		if answer.data, err = j.appendRow(answer.data, values); err != nil {
			return done{}, err
		}
	}
	if err := rows.Err(); err != nil {
		return done{}, s.broken(err)
	}
	answer.data = append(answer.data, ']')
	return j.bounded(answer, rows.CommandTag())
}

var errUnreadable = errors.New("the statement can cast it to text")

// appendRow adds a row to an answer, unless that has too many bytes then.
func (j *job) appendRow(data []byte, values []any) ([]byte, error) {
	if slices.ContainsFunc(values, swells) {
		return j.appendValue(data, values)
	}
	return j.appendWhole(data, values)
}

// swells reports whether a value can be very much larger in JSON than it came: 1e131071 comes in ten bytes.
func swells(value any) bool {
	switch value.(type) {
	case pgtype.Numeric, pgtype.Range[any], pgtype.Multirange[pgtype.Range[any]], []any:
		return true
	}
	return false
}

// appendValue adds a value as encoding/json writes it, piece by piece, so that what is too large is never held as a whole.
func (j *job) appendValue(data []byte, value any) ([]byte, error) {
	var items int
	var item func(i int) any
	switch list := value.(type) {
	case []any:
		items, item = len(list), func(i int) any { return list[i] }
	case pgtype.Multirange[pgtype.Range[any]]:
		items, item = len(list), func(i int) any { return list[i] }
	}
	if items == 0 {
		return j.appendWhole(data, value)
	}
	var err error
	for i := range items {
		data = append(data, "[,"[min(i, 1)])
		if data, err = j.appendValue(data, item(i)); err != nil {
			return nil, err
		}
	}
	return append(data, ']'), j.room(len(data) + 1)
}

func (j *job) appendWhole(data []byte, value any) ([]byte, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("a value of the result has no form in JSON: %w", errUnreadable)
	}
	return append(data, text...), j.room(len(data) + len(text))
}

// room says that an answer has too many bytes, if it does.
func (j *job) room(bytes int) error {
	if bytes >= j.maxBytes {
		return &excessError{fmt.Sprintf("more than %d bytes would be returned", j.maxBytes)}
	}
	return nil
}

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
