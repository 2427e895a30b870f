// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/manifest"
)

// What an AccessPolicy document says of itself.
const (
	APIVersion = "custody.dev/v1alpha1"
	KindPolicy = "AccessPolicy"
)

// Limits. What is over them is refused with an error that names the limit.
const (
	// MaxFileBytes is the largest file Parse and ParseConfiguration read.
	MaxFileBytes = 8 << 20
	// MaxDocuments is the largest number of documents in a file and in a Set.
	MaxDocuments = 10_000
	// MaxRules is the largest number of rules in a file and in a Set.
	MaxRules = 1_000_000
)

// Document is one parsed policy. It is made by Parse or FromAccessControl,
// immutable, and takes effect only in a Set.
type Document struct {
	name   string
	file   string
	line   int
	column int
	mode   Mode
	rules  []rule
	// text is the file, kept to find a place in it, where it has conditions.
	text string
}

// Name returns the name of the policy.
func (d Document) Name() string { return d.name }

// Source returns file:line of the document.
func (d Document) Source() string { return manifest.At(d.file, d.line, 0).String() }

// Rules returns the number of rules.
func (d Document) Rules() int { return len(d.rules) }

type rule struct {
	name   string
	effect Effect
	from   []subject
	server string
	// names are the lists by which the index finds the rule; those of state and sql in groupData.
	names [groupCount][]string
	// state and sql are nil where the rule does not name them.
	state *StateRule
	sql   *SQLRule
	// check is what sql demands beside names; nil for nothing.
	check *sqlCheck
	// when is nil for a rule without a condition.
	when *condition
	// whenAt is the condition in its file.
	whenAt *yaml.Node
	// demands is nil for a rule without obligations.
	demands *demands
	line    int
	column  int
	// field is the path of the rule in its file.
	field string
}

// subject is one entry of from: an app ID, or a pattern if appID is empty.
type subject struct {
	appID   string
	pattern callerPattern
	line    int
	column  int
	field   string
}
