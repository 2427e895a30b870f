// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package sql holds the corpora of statements that the SQL guard has to refuse and to let pass, and runs both on a
// real PostgreSQL: a refused statement to see that it would have done harm, one that passes to see that it works, that
// it touches what the guard says and, if the guard calls it read-only, that it changes nothing.
package sql
