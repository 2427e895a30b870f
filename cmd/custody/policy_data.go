// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/dapr-custody/custody/internal/policy"
)

// dataAction is one part of a request to a database or a state store, as flags name it.
type dataAction struct {
	SQL      string `json:"sql,omitempty"`
	Table    string `json:"table,omitempty"`
	Function string `json:"function,omitempty"`
	State    string `json:"state,omitempty"`
	Key      string `json:"key,omitempty"`
}

func (a *dataAction) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&a.SQL, "sql", "", "with --table: select, insert, update, delete or ddl")
	flags.StringVar(&a.Table, "table", "", "table of the database, as schema.table")
	flags.StringVar(&a.Function, "function", "", "function of the database that is called, as schema.function")
	flags.StringVar(&a.State, "state", "", "with --key: get, set, delete, query, transact or keys")
	flags.StringVar(&a.Key, "key", "", "key of the state store; '*' for a query that names none")
}

func (a dataAction) given() bool { return a != dataAction{} }

var (
	sqlKinds   = []string{policy.KindSQLSelect, policy.KindSQLInsert, policy.KindSQLUpdate, policy.KindSQLDelete, policy.KindSQLDDL}
	stateKinds = []string{
		policy.KindStateGet, policy.KindStateSet, policy.KindStateDelete, policy.KindStateQuery, policy.KindStateTransact, policy.KindStateKeys,
	}
)

// kindsOf are the kinds that the operations of a rule stand for.
func kindsOf(operations, all []string) []string {
	if slices.Contains(operations, "*") {
		return all
	}
	prefix, _, _ := strings.Cut(all[0], ".")
	var kinds []string
	for _, operation := range operations {
		kinds = append(kinds, prefix+"."+operation)
	}
	return kinds
}

const dataWays = "--sql and --table, --function, --state and --key"

// action is the part. A select may go without a table.
func (a dataAction) action(server string) (policy.Action, error) {
	action := policy.Action{Server: server}
	sql, function, state := a.SQL+a.Table != "", a.Function != "", a.State+a.Key != ""
	switch {
	case sql && function || sql && state || function && state:
		return action, errors.New("name one of " + dataWays)
	case function:
		action.Kind, action.Name = policy.KindSQLCall, a.Function
		return action, nil
	case sql:
		action.Kind, action.Name = "sql."+a.SQL, a.Table
		if !slices.Contains(sqlKinds, action.Kind) || a.Table == "" && action.Kind != policy.KindSQLSelect {
			return action, errors.New("--sql is one of select, insert, update, delete and ddl, and --table goes with it")
		}
		return action, nil
	}
	action.Kind, action.Name = "state."+a.State, a.Key
	if !slices.Contains(stateKinds, action.Kind) || a.Key == "" {
		return action, errors.New("--state is one of get, set, delete, query, transact and keys, and --key goes with it")
	}
	return action, nil
}

// what says what is done, for people.
func (a dataAction) what(server string) string {
	switch {
	case a.Function != "":
		return "call " + a.Function + " of " + server
	case a.State != "":
		return a.State + " key " + a.Key + " of " + server
	case a.Table == "":
		return "run a statement without a table in " + server
	}
	return a.SQL + " " + a.Table + " of " + server
}

// sqlUse is how a statement uses the table, as the flags of test say it.
type sqlUse struct {
	columns, writes, bound []string
	where                  bool
	params                 string
	limit                  int64
}

func (u *sqlUse) addFlags(flags *pflag.FlagSet) {
	flags.StringSliceVar(&u.columns, "columns", nil, "with --sql: columns that the statement reads (default: every one)")
	flags.StringSliceVar(&u.writes, "writes", nil, "with --sql: columns that it writes (default: every one)")
	flags.StringSliceVar(&u.bound, "bound", nil, "with --sql: columns that its WHERE binds to a value")
	flags.BoolVar(&u.where, "where", false, "with --sql: it has a WHERE; --bound says so too")
	flags.StringVar(&u.params, "params", "", "with --sql: its parameters, as a JSON array")
	flags.Int64Var(&u.limit, "limit", -1, "with --sql: its LIMIT")
}

// apply adds the use to the part, and the statement to what conditions may ask.
func (u *sqlUse) apply(action *policy.Action, facts *policy.Facts) error {
	if !strings.HasPrefix(action.Kind, "sql.") {
		if u.columns != nil || u.writes != nil || u.bound != nil || u.where || u.params != "" || u.limit != -1 {
			return errors.New("--columns, --writes, --bound, --where, --params and --limit are for --sql")
		}
		return nil
	}
	facts.SQL = &policy.Statement{Command: strings.TrimPrefix(action.Kind, "sql."), Limit: u.limit, Params: []byte(u.params)}
	if action.Kind == policy.KindSQLCall || action.Name == "" {
		facts.SQL.Command = "select"
		return nil
	}
	facts.SQL.Tables = []string{action.Name}
	action.Use = &policy.SQLUse{Reads: u.columns, Writes: u.writes, Bound: u.bound, HasWhere: u.where || u.bound != nil}
	if u.columns == nil && u.writes == nil {
		action.Use.Reads, action.Use.Writes = []string{policy.EveryColumn}, []string{policy.EveryColumn}
	}
	return nil
}

// unknownOf are what is not known of a part of a request, whatever is known else: how a
// table is used, what the statement is and, for a pattern, which key it is.
func unknownOf(action policy.Action) []string {
	unknown := []string{policy.FactUse, policy.FactSQL}
	if strings.HasPrefix(action.Kind, "state.") && strings.Contains(action.Name, "*") {
		unknown = append(unknown, policy.FactKey)
	}
	return unknown
}

// isData reports whether an action is a part of a request to a database or a state store.
func isData(kind string) bool {
	return strings.HasPrefix(kind, "sql.") || strings.HasPrefix(kind, "state.")
}

// narrowing words the condition and the demands of a rule for a table; it is empty for none.
func narrowing(when string, demands []string) string {
	text := under(when)
	if len(demands) > 0 {
		text += fmt.Sprintf(" [%s]", plain(strings.Join(demands, "; ")))
	}
	return text
}
