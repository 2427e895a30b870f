// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Statement is what conditions may ask about a statement of SQL.
type Statement struct {
	// Command is the outermost statement, as select or create table, `sql.command`.
	Command string
	// Tables are the tables that it touches, as schema.table, each once, `sql.tables`.
	Tables []string
	// Limit is its outermost LIMIT, `sql.limit`; -1 for none that is a number.
	Limit int64
	// Params is the JSON array of its parameters, `params`. Empty means that there are
	// none. What is no JSON array is an error wherever a condition uses it.
	Params []byte
}

// DecideAll answers a request that has several parts, such as each table of a statement
// and each key of a bulk request: it is allowed whole or not at all. The first part that
// is denied gives the decision. Else the decision is that for the first part, with the
// obligations of all; a rate that several parts ask for is one. No parts are a denial.
//
// It is Decide for each part with the same facts, save that the conditions of all parts
// together may cost as much as those of one request.
func (s *Set) DecideAll(caller spiffeid.ID, parts []Action, facts *Facts) Decision {
	if s == nil {
		return Decision{Effect: Deny, Reason: ReasonNoSet}
	}
	r := Request{Caller: caller, Facts: facts}
	d := s.decideAll(s.roots, r, parts)
	if s.rehearsed != nil {
		if would := s.decideAll(s.rehearsed, r, parts); would.differs(d) {
			d.Shadow = &would
		}
	}
	return d
}

func (s *Set) decideAll(roots map[string]*node, r Request, parts []Action) Decision {
	r.read = &readFacts{}
	if len(parts) == 0 {
		return Decision{Effect: Deny, Reason: ReasonNoRule, Set: s.digest}
	}
	var all Decision
	for i, part := range parts {
		r.Action = part
		d := s.decide(roots, r)
		if d.Effect != Allow {
			return d
		}
		if i == 0 {
			all = d
			continue
		}
		all.Obligations = all.Obligations.and(d.Obligations)
	}
	return all
}

// dataKinds are the kinds of state and SQL, the strongest first.
var dataKinds = []string{
	KindSQLDDL, KindSQLDelete, KindSQLUpdate, KindSQLInsert, KindSQLCall, KindSQLSelect,
	KindStateTransact, KindStateDelete, KindStateSet, KindStateQuery, KindStateKeys, KindStateGet,
}

// Headline is the part by which a request is called: the first one of the strongest kind,
// changing before reading. It says nothing of Use. The zero Action for no parts.
func Headline(parts []Action) Action {
	var headline Action
	best := len(dataKinds) + 1
	for _, part := range parts {
		rank := slices.Index(dataKinds, part.Kind)
		if rank < 0 {
			rank = len(dataKinds)
		}
		if rank < best {
			headline, best = part, rank
		}
	}
	headline.Use = nil
	return headline
}
