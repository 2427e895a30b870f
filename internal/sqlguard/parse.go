// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sqlguard

import (
	"crypto/sha256"
	"slices"

	pg_query "github.com/pganalyze/pg_query_go/v6"
)

// Parse reads one statement and says what it does. It refuses, with a *Refusal, a text over the limits, one that is
// not exactly one statement, and one that holds anything that is not understood. It judges no function, operator,
// type or relation by its name: see Guard for that.
func Parse(text string, limits Limits) (*Statement, error) {
	if err := limits.orDefaults().check(text); err != nil {
		return nil, err
	}
	tree, err := pg_query.Parse(text)
	if err != nil {
		return nil, unparsed("the statement cannot be parsed", err)
	}
	switch len(tree.GetStmts()) {
	case 0:
		return nil, refuse(ClassEmpty, "there is no statement in the text")
	case 1:
	default:
		return nil, refuse(ClassMultiple, "the text holds %d statements, and must hold one", len(tree.Stmts))
	}
	w := walker{plans: plans, statement: &Statement{Limit: -1, Digest: sha256.Sum256([]byte(text))}}
	if err := w.top(tree.Stmts[0].GetStmt()); err != nil {
		return nil, err
	}
	slices.Sort(w.statement.Parameters)
	w.statement.Parameters = slices.Compact(w.statement.Parameters)
	if w.statement.Fingerprint, err = pg_query.Fingerprint(text); err != nil {
		return nil, unparsed("the statement has no fingerprint", err)
	}
	return w.statement, nil
}
