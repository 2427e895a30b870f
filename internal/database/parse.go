// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package database

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/manifest"
	"github.com/dapr-custody/custody/internal/nearest"
)

const (
	maxName   = 253
	maxLimit  = 1 << 30
	maxWait   = 10 * time.Minute
	maxPlaces = 100
)

var (
	specKeys = []string{
		"engine", "host", "port", "database", "serverCA", "serverName", "schemas", "clients", "roles", "limits",
		"recordStatements", "rowSecurity",
	}
	specRequired = []string{"engine", "host", "port", "database", "serverCA", "schemas", "roles"}
	roleKeys     = []string{"from", "role", "write"}
	limitKeys    = []string{"statementTimeout", "lockTimeout", "idleTimeout", "maxRows", "maxBytes", "maxConnections"}
	rowKeys      = []string{"table", "caller", "actor"}
)

// Parse reads the Database documents of one file; file is the name to use in errors and the place that serverCA is
// relative to. Empty documents are passed over, but there must be one that is not. The error is an *ErrorList of *Error.
func Parse(file string, data []byte) ([]Database, error) {
	p := &parser{manifest.Reader{File: file, MaxBytes: MaxFileBytes, MaxDocuments: MaxDocuments, Problems: manifest.Problems{Room: room}}}
	roots := p.Documents(data)
	if len(roots) == 0 && p.None() {
		p.Add(manifest.At(file, 1, 1), "", "the file holds no document: add one with kind: %s, or remove the file", Kind)
	}
	databases := make([]Database, 0, len(roots))
	lines := map[string]int{}
	for _, root := range roots {
		d := p.document(root)
		if before, twice := lines[d.Name]; twice && d.Name != "" {
			p.Fail(root, "metadata.name", "database %q is already described on line %d: choose another name", d.Name, before)
		}
		lines[d.Name] = d.Line
		databases = append(databases, d)
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	return databases, nil
}

// parser reads the documents of one file.
type parser struct{ manifest.Reader }

func (p *parser) document(n *yaml.Node) Database {
	name, spec := p.Document(n, APIVersion, Kind, specKeys, specRequired)
	d := Database{File: p.File, Line: n.Line, Name: name, Limits: DefaultLimits()}
	if spec != nil {
		p.spec(spec, &d)
	}
	return d
}

func (p *parser) spec(m map[string]*yaml.Node, d *Database) {
	p.Constant(m["engine"], "spec.engine", Engine)
	d.Host = p.host(m["host"], "spec.host")
	d.Port = p.Number(m["port"], "spec.port", 1, 65535)
	d.DBName = p.checked(m["database"], "spec.database", func(s string) error {
		if len(s) > maxIdentifier || !dbName.MatchString(s) {
			return fmt.Errorf("%q is not a legal name of a database here: use letters, digits, dots, dashes and underscores", s)
		}
		return nil
	})
	if d.ServerCA = p.text(m["serverCA"], "spec.serverCA"); d.ServerCA != "" && !filepath.IsAbs(d.ServerCA) {
		d.ServerCA = filepath.Join(filepath.Dir(p.File), d.ServerCA)
	}
	d.ServerName = d.Host
	if n := m["serverName"]; n != nil {
		d.ServerName = p.host(n, "spec.serverName")
	}
	d.Schemas = p.names(m["schemas"], "spec.schemas", checkSchema)
	d.Clients = p.clients(m["clients"], "spec.clients", d.Host, m["host"])
	d.Roles = p.roles(m["roles"], "spec.roles")
	if limits, ok := p.under(m["limits"], "spec.limits", limitKeys, nil); ok {
		p.limits(limits, "spec.limits", &d.Limits)
	}
	d.RecordStatements = p.Truth(m["recordStatements"], "spec.recordStatements")
	if n := m["rowSecurity"]; n != nil {
		d.RowSecurity = p.rowSecurity(n, "spec.rowSecurity", d.Schemas)
	}
}

func (p *parser) host(n *yaml.Node, field string) string {
	return p.checked(n, field, func(host string) error {
		if strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") {
			return fmt.Errorf("%q is a Unix socket, over which there is no TLS and so no certificate: "+
				"write 127.0.0.1 and have the server listen there", host)
		}
		if _, err := netip.ParseAddr(host); err != nil && (len(host) > maxName || !hostName.MatchString(host)) {
			return fmt.Errorf("%q is no name or address of a host: write it without port, brackets or user", host)
		}
		return nil
	})
}

// clients are those of the document, else loopback for a server on it.
func (p *parser) clients(n *yaml.Node, field, host string, at *yaml.Node) []netip.Prefix {
	if n == nil {
		addr, err := netip.ParseAddr(host)
		if host != "" && host != "localhost" && (err != nil || !addr.IsLoopback()) {
			p.Fail(at, field, "is missing, and the server is not on this machine: list the addresses of the component servers, as [10.0.0.0/8]")
		}
		return []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("::1/128")}
	}
	var clients []netip.Prefix
	for i, item := range p.list(n, field) {
		at := manifest.Index(field, i)
		text := p.text(item, at)
		prefix, err := netip.ParsePrefix(text)
		switch {
		case text == "":
		case err != nil:
			p.Fail(item, at, "%q is no range of addresses: write 10.0.0.0/8, or 10.1.2.3/32 for one", text)
		case prefix != prefix.Masked():
			p.Fail(item, at, "%q has bits set behind its length: write %q", text, prefix.Masked())
		default:
			clients = append(clients, prefix)
		}
	}
	return clients
}

func (p *parser) roles(n *yaml.Node, field string) []Role {
	var roles []Role
	for i, item := range p.list(n, field) {
		at := manifest.Index(field, i)
		m, ok := p.under(item, at, roleKeys, []string{"from", "role"})
		if !ok {
			continue
		}
		r := Role{Name: p.checked(m["role"], at+".role", CheckRole), Write: p.Truth(m["write"], at+".write")}
		for j, from := range p.list(m["from"], at+".from") {
			text := p.text(from, manifest.Index(at+".from", j))
			if text == "" {
				continue
			}
			c, err := parseCaller(text)
			if err != nil {
				p.Fail(from, manifest.Index(at+".from", j), "%v", err)
			}
			r.from = append(r.from, c)
		}
		for _, before := range roles {
			if before.Name == r.Name && r.Name != "" && before.Write != r.Write {
				p.Fail(item, at+".write", "role %s writes in one entry and does not in another: it is one role, so write the same in both, "+
					"or name two roles", r.Name)
			}
		}
		roles = append(roles, r)
	}
	return roles
}

func (p *parser) limits(m map[string]*yaml.Node, field string, l *Limits) {
	for key, into := range map[string]*time.Duration{
		"statementTimeout": &l.StatementTimeout, "lockTimeout": &l.LockTimeout, "idleTimeout": &l.IdleTimeout,
	} {
		if n := m[key]; n != nil {
			*into = p.duration(n, field+"."+key)
		}
	}
	for key, into := range map[string]struct {
		value *int
		most  int
	}{"maxRows": {&l.MaxRows, maxLimit}, "maxBytes": {&l.MaxBytes, maxLimit}, "maxConnections": {&l.MaxConnections, 1000}} {
		if n := m[key]; n != nil {
			*into.value = p.Number(n, field+"."+key, 1, into.most)
		}
	}
}

func (p *parser) rowSecurity(n *yaml.Node, field string, schemas []string) []RowSecurity {
	var rows []RowSecurity
	for i, item := range p.list(n, field) {
		at := manifest.Index(field, i)
		m, ok := p.under(item, at, rowKeys, []string{"table"})
		if !ok {
			continue
		}
		var r RowSecurity
		r.Schema, r.Table = p.table(m["table"], at+".table", schemas)
		if c := m["caller"]; c != nil {
			r.Caller = p.checked(c, at+".caller", checkIdentifier)
		}
		if c := m["actor"]; c != nil {
			r.Actor = p.checked(c, at+".actor", checkIdentifier)
		}
		if m["caller"] == nil && m["actor"] == nil {
			p.Fail(item, at, "names no column: add caller: or actor: with the column that holds the SPIFFE ID")
		}
		for _, before := range rows {
			if before.Schema == r.Schema && before.Table == r.Table && r.Table != "" {
				p.Fail(item, at+".table", "table %s.%s is already there: write caller and actor in one entry", r.Schema, r.Table)
			}
		}
		rows = append(rows, r)
	}
	return rows
}

func (p *parser) table(n *yaml.Node, field string, schemas []string) (schema, table string) {
	text := p.text(n, field)
	if text == "" {
		return "", ""
	}
	schema, table, ok := strings.Cut(text, ".")
	if !ok || checkIdentifier(schema) != nil || checkIdentifier(table) != nil {
		p.Fail(n, field, "%q is no table: write schema.table, as shop.orders", text)
		return "", ""
	}
	for _, s := range schemas {
		if s == schema {
			return schema, table
		}
	}
	message := fmt.Sprintf("schema %q is not one of spec.schemas: add it there", schema)
	if near := nearest.Word(schema, schemas); near != "" {
		message += fmt.Sprintf(", or did you mean %q?", near)
	}
	p.Fail(n, field, "%s", message)
	return schema, table
}
