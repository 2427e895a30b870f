// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package database

import (
	"slices"
	"strings"
	"time"
	"unicode"

	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/manifest"
)

// Limits of a file. What is over them is refused with an error that names the limit.
const (
	MaxFileBytes = 1 << 20
	MaxDocuments = 1000

	maxText = 4096
)

// room is what the errors of this package begin with.
const room = "database"

// Error is one problem in a document: where it is, and what to change. Its text begins with "database: ".
type Error = manifest.Error

// ErrorList holds the problems of one file, sorted by position, 20 at most.
type ErrorList = manifest.ErrorList

// under is Members for a node that may be missing.
func (p *parser) under(n *yaml.Node, field string, known, required []string) (map[string]*yaml.Node, bool) {
	if n == nil {
		return nil, false
	}
	return p.Members(n, field, known, required)
}

// text gives a text, or "" where it is missing or wrong, which is noted once.
func (p *parser) text(n *yaml.Node, field string) string {
	text, ok := p.Text(n, field)
	if !ok {
		return ""
	}
	if len(text) > maxText || strings.ContainsFunc(text, func(c rune) bool { return !unicode.IsPrint(c) }) || strings.TrimSpace(text) != text {
		p.Fail(n, field, "is too long, holds characters that cannot be printed, or begins or ends with a space")
		return ""
	}
	return text
}

// checked gives a text that a check takes, or "".
func (p *parser) checked(n *yaml.Node, field string, check func(string) error) string {
	text := p.text(n, field)
	if text == "" {
		return ""
	}
	if err := check(text); err != nil {
		p.Fail(n, field, "%v", err)
		return ""
	}
	return text
}

func (p *parser) duration(n *yaml.Node, field string) time.Duration {
	if !p.Plain(n, field) {
		return 0
	}
	d, err := time.ParseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || d < time.Millisecond || d > maxWait || d%time.Millisecond != 0 {
		p.Fail(n, field, "want a time from 1ms to %s, as 5s or 500ms", maxWait)
		return 0
	}
	return d
}

// list gives the items of a list that is not empty, at most maxPlaces.
func (p *parser) list(n *yaml.Node, field string) []*yaml.Node {
	items := p.List(n, field)
	if len(items) > maxPlaces {
		p.Fail(n, field, "the list has %d entries, the limit is %d", len(items), maxPlaces)
		return nil
	}
	return items
}

// names gives the texts of a list, each once.
func (p *parser) names(n *yaml.Node, field string, check func(string) error) []string {
	var names []string
	for i, item := range p.list(n, field) {
		name := p.checked(item, manifest.Index(field, i), check)
		switch {
		case name == "":
		case slices.Contains(names, name):
			p.Fail(item, manifest.Index(field, i), "%q stands there twice: remove one", name)
		default:
			names = append(names, name)
		}
	}
	return names
}
