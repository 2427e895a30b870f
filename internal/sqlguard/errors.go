// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sqlguard

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pganalyze/pg_query_go/v6/parser"
)

// Class says which rule a refused text broke. It is one of the constants below.
type Class string

// The rules that a text can break.
const (
	ClassSize      Class = "size"      // more bytes than Limits.Bytes
	ClassTokens    Class = "tokens"    // more tokens than Limits.Tokens
	ClassDepth     Class = "depth"     // brackets deeper than Limits.Depth, or a tree deeper than it may be
	ClassEncoding  Class = "encoding"  // not UTF-8, or a NUL in it
	ClassSyntax    Class = "syntax"    // PostgreSQL's parser does not take it
	ClassEmpty     Class = "empty"     // no statement in it
	ClassMultiple  Class = "multiple"  // more than one statement
	ClassStatement Class = "statement" // a kind of statement that is always refused
	ClassNode      Class = "node"      // a construct that is not on the allow-list
	ClassName      Class = "name"      // a name that cannot be resolved
	ClassRelation  Class = "relation"  // a relation of the system's own schemas
	ClassFunction  Class = "function"  // a function that is not allowed
	ClassOperator  Class = "operator"  // an operator that is not pg_catalog's
	ClassType      Class = "type"      // a type that is not allowed
)

// Refusal is the error with which Parse and Guard.Inspect refuse a text.
type Refusal struct {
	Class Class
	// Statement names the kind of statement for ClassStatement: copy, do, set and so on.
	Statement string
	reason    string
}

// Error states the rule that was broken. It may quote names in the statement, never its constants.
func (r *Refusal) Error() string { return "sqlguard: " + r.reason }

// ClassOf returns the class of the Refusal in err, or "" if there is none.
func ClassOf(err error) Class {
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		return refusal.Class
	}
	return ""
}

func refuse(class Class, format string, arguments ...any) error {
	return &Refusal{Class: class, reason: fmt.Sprintf(format, arguments...)}
}

// unparsed refuses what PostgreSQL's parser or lexer does not take. Its words end with the text at which it stopped,
// which can be a constant and all that follows it: where that is is said in its place.
func unparsed(what string, err error) error {
	broken, ok := errors.AsType[*parser.Error](err)
	if !ok {
		return refuse(ClassSyntax, "%s", what)
	}
	message, _, _ := strings.Cut(broken.Message, " at or near ")
	return refuse(ClassSyntax, "%s: %s, at character %d", what, message, broken.Cursorpos)
}
