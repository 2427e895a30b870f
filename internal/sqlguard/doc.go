// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package sqlguard says what a statement of SQL does before PostgreSQL sees it: its kinds, the relations and columns
// that it reads and writes, the functions, operators and types that it names, and how it is bound to values.
//
// Parse reads a text with PostgreSQL's own parser (that of version 17, by pg_query) behind caps on bytes, tokens and
// depth, and walks the whole tree by protobuf reflection against an allow-list of nodes and of their fields. What is
// not on the list is refused by name, so that a construct that is new, or that nobody thought of, is a refusal and
// not a hole. A Guard adds the judgement that needs the server's catalogue: only functions that can neither write,
// wait, read files, run SQL text nor change settings, only operators and types of pg_catalog, no catalogue relations.
// Whether the caller may do what the statement does is policy's matter, not this package's.
//
// It does no I/O and imports no driver. It never panics, and the caps keep the C parser, which an unbounded text can
// overflow, far from its limits (8 MiB of stack; a libc with smaller thread stacks needs lower caps).
//
// # What the caller must see to
//
// What is judged must be what runs. The session that runs the statement MUST have client_encoding UTF8,
// standard_conforming_strings on, and search_path exactly "pg_catalog, <the schemas given to NewFunctionSet>,
// pg_temp": names that are not qualified resolve through it, and with pg_temp not last a temporary table would go
// before every other. Nobody who sends statements may create objects in those schemas. The statement MUST go through
// the extended protocol with exactly the bytes that were judged. The function set MUST come from the database that
// runs the statement, and MUST be read again when functions, operators or types are created there. The server MUST be
// of version 15 or later, since older ones read numbers in another way than the parser does, and the database's own
// encoding MUST be UTF8, since names are cut and folded by it.
//
// # What it does not see
//
// Code that the database runs by itself: views and their owners' rights, foreign tables, triggers, rules, column
// defaults, generated columns, check constraints, row level security, and functions behind operators, casts and
// types that a superuser has put into pg_catalog. A domain can be reached as t.d, where table t has no column d. A
// relation is known by its name only. How long a statement runs and how much it returns is for statement_timeout and
// the row cap. Unqualified columns are told apart without the catalogue: see Column.Ambiguous.
package sqlguard
