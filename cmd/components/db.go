// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dapr-custody/custody/cmd/components/dbsetup"
	"github.com/dapr-custody/custody/internal/database"
	"github.com/dapr-custody/custody/internal/dbca"
)

const dbText = `usage: custody db setup|check|undo|rotate-ca --databases FILE [flags]

Makes PostgreSQL itself the second lock behind the guard, as the Database
documents of a file or folder say. docs/databases.md tells what it does not
protect from.

  setup      makes roles, rights, row level security, lines in pg_hba.conf and
             pg_ident.conf, and the authority that signs for them; what is so
             already is left alone
  check      tries by connecting whether all of that holds
  undo       takes away what setup made, and leaves data
  rotate-ca  replaces the authority, without an outage

A superuser has to connect: name one with --admin-url, or with the variables of
libpq (PGHOST, PGPORT, PGUSER, PGPASSWORD, PGPASSFILE); the URL is not kept. On
the server's own machine its user postgres can do without a password, and there
the server's files are written; elsewhere the lines are printed to put in.

  sudo -u postgres custody db setup --databases orders-db.yaml --ca /var/lib/custody/db-ca --admin-url "host=/var/run/postgresql user=postgres"
  custody db setup --databases databases/ --ca ca/ --admin-url postgres://postgres@db.example --print
  PGPASSFILE=~/.pgpass custody db check --databases databases/ --ca ca/ --admin-url postgres://postgres@db.example
  custody db undo --databases databases/ --database orders-db

Exit status: 0 all is well; 1 something does not hold (check), or is left to do
by hand (setup, undo, rotate-ca); 2 it could not be done, and the error says why.

`

// notWell is an answer, not a failure.
type notWell string

func (e notWell) Error() string { return string(e) }
func (notWell) ExitCode() int   { return 1 }

type dbFlags struct {
	databases, one, ca, adminURL string
	print, revokeFunctions       bool
}

func runDB(ctx context.Context, out io.Writer, args []string) error {
	commands := map[string]func(context.Context, io.Writer, *dbFlags) error{
		"setup": dbSetup, "check": dbCheck, "undo": dbUndo, "rotate-ca": dbRotate,
	}
	if len(args) == 0 || args[0] == "help" || strings.HasPrefix(args[0], "-") {
		_, err := io.WriteString(out, dbText)
		return err
	}
	run := commands[args[0]]
	if run == nil {
		return fmt.Errorf("db %s is not known: it is setup, check, undo or rotate-ca", args[0])
	}
	f, err := parseDBFlags(args[0], out, args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	return run(ctx, out, f)
}

func parseDBFlags(command string, out io.Writer, args []string) (*dbFlags, error) {
	var f dbFlags
	flags := flag.NewFlagSet("custody db "+command, flag.ContinueOnError)
	flags.SetOutput(out)
	flags.Usage = func() {
		fmt.Fprintf(out, "%sFlags of %s:\n", dbText, command)
		flags.PrintDefaults()
	}
	flags.StringVar(&f.databases, "databases", "", "`file` with Database documents, or a folder of such files (required)")
	flags.StringVar(&f.one, "database", "", "only the document of this `name`")
	flags.StringVar(&f.adminURL, "admin-url", "", "`URL` of a superuser, as libpq takes it; the variables of libpq by default")
	if command != "undo" {
		flags.StringVar(&f.ca, "ca", "", "`folder` of the authority that the databases trust (required)")
	}
	if command == "setup" || command == "undo" {
		flags.BoolVar(&f.print, "print", false, "print all SQL and lines of files that would be applied, and change nothing")
	}
	if command == "setup" {
		flags.BoolVar(&f.revokeFunctions, "revoke-functions", false,
			"also take from PUBLIC the functions of the server that write, wait, lock or run SQL text; it concerns every role of the database")
	}
	switch err := flags.Parse(args); {
	case err != nil:
		return nil, err
	case flags.NArg() > 0:
		return nil, fmt.Errorf("argument %q is not known", flags.Arg(0))
	case f.databases == "":
		return nil, errors.New("--databases is missing: name a file with Database documents, or a folder of such files")
	case f.ca == "" && command != "undo":
		return nil, errors.New("--ca is missing: name the folder of the authority; setup makes it")
	}
	return &f, nil
}

// options are those for each document; ca may be nil.
func (f *dbFlags) options(out io.Writer, ca *dbca.CA) ([]dbsetup.Options, error) {
	databases, err := loadDatabases(f.databases, f.one)
	if err != nil {
		return nil, err
	}
	for _, d := range databases {
		if first := databases[0]; d.Host != first.Host || d.Port != first.Port {
			return nil, fmt.Errorf("%s is at %s:%d and %s at %s:%d, and one superuser is connected: choose one with --database",
				first.Name, first.Host, first.Port, d.Name, d.Host, d.Port)
		}
	}
	admin, err := pgx.ParseConfig(f.adminURL)
	if err != nil {
		return nil, fmt.Errorf("--admin-url: %w", err)
	}
	var all []dbsetup.Options
	for i := range databases {
		all = append(all, dbsetup.Options{
			Database: &databases[i], CA: ca, Admin: admin, Print: f.print, RevokeFunctions: f.revokeFunctions, Out: out, Now: time.Now,
		})
	}
	return all, nil
}

// loadDatabases reads the documents of a file or folder, or the one of that name.
func loadDatabases(path, one string) ([]database.Database, error) {
	files, err := yamlFiles(path)
	if err != nil {
		return nil, err
	}
	var all []database.Database
	var names []string
	at := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		found, err := database.Parse(file, text)
		if err != nil {
			return nil, err
		}
		for _, d := range found {
			if before := at[d.Name]; before != "" {
				return nil, fmt.Errorf("%s:%d: metadata.name: database %q is already described in %s: choose another name", d.File, d.Line, d.Name, before)
			}
			at[d.Name] = d.File
			names = append(names, d.Name)
			if one == "" || d.Name == one {
				all = append(all, d)
			}
		}
	}
	if len(all) == 0 && one != "" {
		return nil, fmt.Errorf("--database: %s describes no %q: there are %s", path, one, strings.Join(names, ", "))
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s holds no file with a Database document", path)
	}
	return all, nil
}

// yamlFiles gives a file, or the YAML files of a folder.
func yamlFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("--databases: %w", err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("--databases: %w", err)
	}
	var files []string
	for _, entry := range entries {
		if ext := filepath.Ext(entry.Name()); !entry.IsDir() && (ext == ".yaml" || ext == ".yml") {
			files = append(files, filepath.Join(path, entry.Name()))
		}
	}
	return files, nil
}

func dbSetup(ctx context.Context, out io.Writer, f *dbFlags) error {
	if _, err := f.options(out, nil); err != nil { // before anything is made
		return err
	}
	ca, err := dbca.Open(f.ca)
	if errors.Is(err, dbca.ErrNone) {
		ca, err = nil, nil
		if !f.print {
			if ca, err = dbca.Create(f.ca, time.Now()); err == nil {
				fmt.Fprintf(out, "%s: an authority for databases was made; keep it where only the component server reads it\n", f.ca)
			}
		}
	}
	if err != nil {
		return err
	}
	return f.each(ctx, out, ca, dbsetup.Setup)
}

func dbUndo(ctx context.Context, out io.Writer, f *dbFlags) error {
	return f.each(ctx, out, nil, dbsetup.Undo)
}

func (f *dbFlags) each(ctx context.Context, out io.Writer, ca *dbca.CA, do func(context.Context, dbsetup.Options) (dbsetup.Result, error)) error {
	all, err := f.options(out, ca)
	if err != nil {
		return err
	}
	left := 0
	for _, o := range all {
		result, err := do(ctx, o)
		if err != nil {
			return err
		}
		left += len(result.Left)
	}
	return undone(left)
}

func undone(left int) error {
	if left > 0 {
		return notWell("something is left to do by hand; do it, and run the command again")
	}
	return nil
}

func dbCheck(ctx context.Context, out io.Writer, f *dbFlags) error {
	ca, err := dbca.Open(f.ca)
	if err != nil {
		return err
	}
	all, err := f.options(out, ca)
	if err != nil {
		return err
	}
	good := true
	for _, o := range all {
		held, err := dbsetup.Check(ctx, o)
		if err != nil {
			return err
		}
		good = good && held
	}
	if !good {
		return notWell("something does not hold")
	}
	return nil
}

func dbRotate(ctx context.Context, out io.Writer, f *dbFlags) error {
	ca, err := dbca.Open(f.ca)
	if err != nil {
		return err
	}
	all, err := f.options(out, ca)
	if err != nil {
		return err
	}
	result, err := dbsetup.Rotate(ctx, ca, all)
	if err != nil {
		return err
	}
	return undone(len(result.Left))
}
