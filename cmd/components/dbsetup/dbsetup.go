// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package dbsetup makes a PostgreSQL server the second lock: it lets the roles of
// a Database document in only with a certificate of Custody's own authority, gives
// them what the document says and no more, and has tables show the rows of who is
// named in the certificate. It proves by connecting that all this holds, and takes
// it away again.
//
// It changes only what is not yet so, all SQL in one transaction, and writes down
// in the table custody.made what it changed, so that undo takes back just that. It
// does not bind superusers, roles with BYPASSRLS, owners of what the roles use, or
// whoever can write the server's files.
package dbsetup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dapr-custody/custody/internal/database"
	"github.com/dapr-custody/custody/internal/dbca"
)

// Options are what every command takes.
type Options struct {
	Database *database.Database
	// CA signs for the server. Undo does without, and so does Setup that prints.
	CA *dbca.CA
	// Admin is how a superuser connects; the database of the document replaces its own.
	Admin *pgx.ConnConfig
	// Print writes what would be done to Out, and does nothing.
	Print bool
	// RevokeFunctions takes EXECUTE from PUBLIC on functions of the server that write, wait or run SQL text, for every
	// role of the database. It is off by default since others may use them.
	RevokeFunctions bool
	Out             io.Writer
	Now             func() time.Time
}

// Result says how a command ended that changes something.
type Result struct {
	// Changed says that something was changed, or with Print would be.
	Changed bool
	// Left is what a person has to do by hand.
	Left []string
}

// change is one thing that is not as it should be, and the statements that make it so.
type change struct {
	what string
	sql  []string
}

// plan is what is to be done.
type plan struct {
	changes []change
	files   []edit
	notes   []string
	left    []string
	// system are statements that PostgreSQL takes only outside a transaction.
	system []string
	ended  []ended
	remove []string // files, when the server reads them no more
	// anew says that functions are made, and rights on them with them.
	anew bool
}

// ended is a role that was dropped and whose sessions are to end.
type ended struct {
	name string
	oid  uint32
}

func (p *plan) change(what string, sql ...string) {
	p.changes = append(p.changes, change{what, sql})
}

func (p *plan) empty() bool { return len(p.changes)+len(p.files)+len(p.system)+len(p.remove) == 0 }

// Setup makes the server as the document says. What is so already is left alone: a second time nothing changes. On an
// error nothing was changed, unless the error says otherwise.
func Setup(ctx context.Context, o Options) (Result, error) {
	return run(ctx, o, func(ctx context.Context, s *server) (*plan, error) { return s.planSetup(ctx) })
}

// Undo takes away what Setup made, as far as it is still there, and leaves data. It can be run again after an error.
func Undo(ctx context.Context, o Options) (Result, error) {
	return run(ctx, o, func(ctx context.Context, s *server) (*plan, error) { return s.planUndo(ctx) })
}

func run(ctx context.Context, o Options, find func(context.Context, *server) (*plan, error)) (result Result, err error) {
	s, err := connect(ctx, o)
	if err != nil {
		return Result{}, s.explain(err)
	}
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	p, err := find(ctx, s)
	if err != nil {
		return Result{}, s.explain(err)
	}
	result = Result{Changed: !p.empty(), Left: p.left}
	if o.Print {
		return result, s.print(p)
	}
	if err := s.apply(ctx, p); err != nil {
		return Result{}, s.explain(err)
	}
	return result, s.tell(p)
}

// explain says what an error is about.
func (s *server) explain(err error) error {
	return fmt.Errorf("database %s: %w", s.o.Database.Name, err)
}

// print writes what would be done as a script for psql, and then what is to be put into files.
func (s *server) print(p *plan) error {
	w := &writer{out: s.o.Out}
	w.say("-- %s: %s\n", s.o.Database.Name, s.where())
	if p.empty() {
		w.say("-- nothing would change\n")
	}
	if len(p.changes) > 0 {
		w.say("BEGIN;\n")
		for _, c := range p.changes {
			w.say("-- %s\n", c.what)
			for _, sql := range c.sql {
				w.say("%s;\n", sql)
			}
		}
		w.say("COMMIT;\n")
	}
	for _, f := range p.files {
		w.say("-- file %s %s:\n%s\n", f.path, f.what, f.lines)
	}
	for _, sql := range p.system {
		w.say("%s;\n", sql)
	}
	if len(p.files)+len(p.system) > 0 {
		w.say("SELECT pg_catalog.pg_reload_conf();\n")
	}
	for _, role := range p.ended {
		w.say("%s\n;\n", endSessions(role))
	}
	for _, path := range p.remove {
		w.say("-- file %s: remove it\n", path)
	}
	w.remarks(p, "-- ")
	return w.err
}

// tell says what was done.
func (s *server) tell(p *plan) error {
	w := &writer{out: s.o.Out}
	w.say("%s: %s\n", s.o.Database.Name, s.where())
	for _, c := range p.changes {
		w.say("  %s\n", c.what)
	}
	for _, f := range p.files {
		w.say("  %s: %s\n", f.path, f.done)
	}
	for _, sql := range p.system {
		w.say("  %s\n", sql)
	}
	for _, path := range p.remove {
		w.say("  %s: removed\n", path)
	}
	if p.empty() {
		w.say("  nothing changed\n")
	}
	w.remarks(p, "  ")
	return w.err
}

type writer struct {
	out io.Writer
	err error
}

func (w *writer) say(format string, args ...any) {
	_, err := fmt.Fprintf(w.out, format, args...)
	w.err = errors.Join(w.err, err)
}

func (w *writer) remarks(p *plan, prefix string) {
	for _, n := range p.notes {
		w.say("%snote: %s\n", prefix, n)
	}
	for _, l := range p.left {
		w.say("%sto do by hand: %s\n", prefix, l)
	}
}
