// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sqlguard

import (
	"strings"
	"unicode/utf8"

	pg_query "github.com/pganalyze/pg_query_go/v6"
)

// The caps that the zero Limits stand for. The lowest text known to kill the parser has 48 kB, 24,000 tokens.
const (
	DefaultBytes  = 16 << 10
	DefaultTokens = 2000
	DefaultDepth  = 200
)

// Limits are the caps that a text must keep before the parser sees it. A field that is zero or negative, or above the
// default, means the default: the caps can be lowered, never raised.
type Limits struct {
	Bytes  int // of the text
	Tokens int // that the lexer finds, comments among them
	Depth  int // of open ( and [
}

func (l Limits) orDefaults() Limits {
	return Limits{
		Bytes:  lower(l.Bytes, DefaultBytes),
		Tokens: lower(l.Tokens, DefaultTokens),
		Depth:  lower(l.Depth, DefaultDepth),
	}
}

func lower(value, limit int) int {
	if value <= 0 || value > limit {
		return limit
	}
	return value
}

// check applies the caps with the lexer alone, which is iterative and cannot overflow a stack.
func (l Limits) check(text string) error {
	switch {
	case len(text) > l.Bytes:
		return refuse(ClassSize, "the statement has more than %d bytes", l.Bytes)
	case !utf8.ValidString(text):
		return refuse(ClassEncoding, "the statement is not valid UTF-8")
	case strings.IndexByte(text, 0) >= 0: // The C parser would stop reading there.
		return refuse(ClassEncoding, "the statement holds a NUL byte")
	}
	if l.cannotExceed(text) {
		return nil
	}
	scanned, err := pg_query.Scan(text)
	if err != nil {
		return unparsed("the statement cannot be read", err)
	}
	if len(scanned.Tokens) > l.Tokens {
		return refuse(ClassTokens, "the statement has more than %d tokens", l.Tokens)
	}
	depth := 0
	for _, token := range scanned.Tokens {
		switch token.Token {
		case pg_query.Token_ASCII_40, pg_query.Token_ASCII_91: // ( [
			if depth++; depth > l.Depth {
				return refuse(ClassDepth, "the statement is nested deeper than %d brackets", l.Depth)
			}
		case pg_query.Token_ASCII_41, pg_query.Token_ASCII_93: // ) ]
			depth--
		}
	}
	return nil
}

// cannotExceed says that a text is too short to break the other two caps, whatever it holds: a token takes a byte.
func (l Limits) cannotExceed(text string) bool {
	return len(text) <= l.Tokens && strings.Count(text, "(")+strings.Count(text, "[") <= l.Depth
}
