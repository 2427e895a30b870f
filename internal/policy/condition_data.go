// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// about is what a rule is about as a whole. It decides which names its condition may use.
type about int

const (
	// aboutCalls is a rule with a list for MCP or HTTP, whatever it names beside it.
	aboutCalls about = iota
	// aboutState and aboutSQL are rules that name nothing else.
	aboutState
	aboutSQL
	aboutCount
)

func (r *rule) about() about {
	for g := range listCount {
		if len(r.names[g]) > 0 {
			return aboutCalls
		}
	}
	switch {
	case r.state != nil && r.sql == nil:
		return aboutState
	case r.sql != nil && r.state == nil:
		return aboutSQL
	}
	return aboutCalls
}

// The names of conditions of rules about state and SQL.
const (
	nameParams     = "params"
	nameSQL        = "sql"
	nameCommand    = "sql.command"
	nameTables     = "sql.tables"
	nameLimit      = "sql.limit"
	nameKey        = "state.key"
	nameOperation  = "state.operation"
	wordsOfSQL     = "params, sql.command, sql.tables and sql.limit are for rules that name sql and nothing else"
	wordsOfState   = "state.key and state.operation are for rules that name state and nothing else"
	membersOfSQL   = "sql is used by its members: write one of " + nameCommand + ", " + nameTables + ", " + nameLimit
	membersOfState = "state is used by its members: write one of " + nameKey + ", " + nameOperation
)

// dataOptions declares the names of a rule about state or SQL.
func dataOptions(about about) []cel.EnvOption {
	switch about {
	case aboutState:
		return []cel.EnvOption{cel.Variable(nameKey, cel.StringType), cel.Variable(nameOperation, cel.StringType)}
	case aboutSQL:
		return []cel.EnvOption{
			cel.Variable(nameParams, cel.ListType(cel.DynType)), cel.Variable(nameCommand, cel.StringType),
			cel.Variable(nameTables, cel.ListType(cel.StringType)), cel.Variable(nameLimit, cel.IntType),
		}
	}
	return nil
}

// unknownOfData words a name that is one of these, but not here; "" for another.
func unknownOfData(name string, about about) string {
	switch name {
	case nameParams:
		return wordsOfSQL
	case nameSQL:
		if about == aboutSQL {
			return membersOfSQL
		}
		return wordsOfSQL
	case "state":
		if about == aboutState {
			return membersOfState
		}
		return wordsOfState
	}
	return ""
}

// namesOfData are those that a condition may use beside the others.
func namesOfData(about about) []string {
	switch about {
	case aboutState:
		return []string{"state"}
	case aboutSQL:
		return []string{nameParams, nameSQL}
	}
	return nil
}

// ofData gives the names of a rule about state or SQL their values.
func (v *variables) ofData(name string) (any, bool) {
	switch name {
	case nameKey:
		return v.key(), true
	case nameOperation:
		operation, _ := strings.CutPrefix(v.request.Action.Kind, statePrefix)
		return types.String(operation), true
	case nameParams, nameCommand, nameTables, nameLimit:
	default:
		return nil, false
	}
	s := v.facts.SQL
	if s == nil {
		return types.WrapErr(errNoStatement), true
	}
	switch name {
	case nameCommand:
		return types.String(s.Command), true
	case nameTables:
		return types.NewStringList(types.DefaultTypeAdapter, s.Tables), true
	case nameLimit:
		return types.Int(s.Limit), true
	}
	if v.read.params == nil {
		v.read.params = readParams(s.Params)
	}
	return v.read.params, true
}

// key is `state.key`. A name that stands for many keys is none of them.
func (v *variables) key() ref.Val {
	if q, ok := v.request.Action.question(); ok && q.form == asRange {
		return types.WrapErr(errManyKeys)
	}
	return types.String(v.request.Action.Name)
}

// readParams returns the parameters as CEL values, or the error that stands for them.
func readParams(text []byte) any {
	if len(text) == 0 {
		return types.NewRefValList(types.DefaultTypeAdapter, nil)
	}
	return readJSON(text, '[', errParams)
}
