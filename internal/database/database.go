// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package database reads what a Database document says of a PostgreSQL server
// that stands behind a guard: where it is, how it is known, which workload gets
// which role, and what limits hold.
//
// A document holds no secret: there are no passwords, and keys are not its
// matter. Whatever is not understood is an error, and any error means that no
// document is returned. The package reads no file and connects to nothing; it
// does not know whether the server is as the document says, which
// `custody db check` finds out.
package database

import (
	"net/netip"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// What a Database document says of itself.
const (
	APIVersion = "custody.dev/v1alpha1"
	Kind       = "Database"
	// Engine is the only engine there is.
	Engine = "postgresql"
)

// Schema is the schema that `custody db setup` keeps its functions and records in. No document may name it.
const Schema = "custody"

// Database is one document. It is made by Parse and must not be changed. The zero Database has no roles: nobody is let in.
type Database struct {
	// Name is what rules call it: to.server.
	Name string
	// File and Line are where the document stands.
	File string
	Line int
	// Host is a name or an IP address, never the folder of a Unix socket: certificates need TLS.
	Host string
	Port int
	// DBName is the name of the database at the server.
	DBName string
	// ServerCA is the file with the roots that the server's certificate must end at; a relative one of the document is
	// taken from the document's folder. The certificate is always verified in full, against ServerName.
	ServerCA   string
	ServerName string
	// Schemas are what unqualified names are looked up in, after pg_catalog, and what roles may use.
	Schemas []string
	// Clients are the addresses that the server lets the roles in from.
	Clients []netip.Prefix
	// Roles are in the order of the document.
	Roles  []Role
	Limits Limits
	// RecordStatements puts the text of statements into receipts.
	RecordStatements bool
	// RowSecurity are the tables whose rows only their owner sees, each once.
	RowSecurity []RowSecurity
}

// Role is a role of the server and who gets it.
type Role struct {
	// Name is the role's name at the server, which is also the common name of the certificates for it.
	Name string
	// Write says that the role may insert, update and delete; otherwise it only reads.
	Write bool

	from []caller
}

// From tells whom the role is for, as the document says it.
func (r Role) From() []string {
	from := make([]string, len(r.from))
	for i, c := range r.from {
		from[i] = c.text
	}
	return from
}

// Limits are what a session may use. All are at least one of their unit.
type Limits struct {
	StatementTimeout time.Duration
	LockTimeout      time.Duration
	// IdleTimeout ends a session that leaves a transaction open without a word.
	IdleTimeout time.Duration
	// MaxRows and MaxBytes bound one result.
	MaxRows  int
	MaxBytes int
	// MaxConnections is how many sessions a role may have open.
	MaxConnections int
}

// DefaultLimits hold where a document says nothing.
func DefaultLimits() Limits {
	return Limits{
		StatementTimeout: 5 * time.Second, LockTimeout: time.Second, IdleTimeout: 30 * time.Second,
		MaxRows: 10_000, MaxBytes: 8 << 20, MaxConnections: 8,
	}
}

// RowSecurity says which columns of a table hold the SPIFFE ID of those who see the row. At least one is set; with both,
// both must be who asks.
type RowSecurity struct {
	Schema, Table string
	// Caller is the column with the workload that asks, "" if there is none.
	Caller string
	// Actor is the column with the workload on whose behalf it asks, "" if there is none.
	Actor string
}

// SearchPath is the search_path of every session. pg_temp stands last, so that nothing there hides what is meant.
func (d *Database) SearchPath() string {
	return "pg_catalog, " + strings.Join(quoted(d.Schemas), ", ") + ", pg_temp"
}

// RoleOf gives the role of the first entry that names the caller. An app ID in a document is the app in the local trust
// domain and namespace, which the caller of RoleOf states. If no entry names it, ok is false: it must be refused. So it
// is for the zero ID and where trustDomain or namespace are zero and app IDs are meant.
func (d *Database) RoleOf(id spiffeid.ID, trustDomain spiffeid.TrustDomain, namespace string) (role Role, ok bool) {
	if id.IsZero() {
		return Role{}, false
	}
	for _, r := range d.Roles {
		for _, c := range r.from {
			if c.is(id, trustDomain, namespace) {
				return r, true
			}
		}
	}
	return Role{}, false
}

// Names gives the names of the roles, each once, in the order of the document.
func (d *Database) Names() []string {
	var names []string
	seen := map[string]bool{}
	for _, r := range d.Roles {
		if !seen[r.Name] {
			seen[r.Name] = true
			names = append(names, r.Name)
		}
	}
	return names
}
