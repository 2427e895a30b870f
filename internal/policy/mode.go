// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/nearest"
)

// Mode says whether the rules of a policy have effect.
type Mode string

// The two modes. A policy that names none is enforced.
const (
	// Enforce is a policy whose rules decide.
	Enforce Mode = "enforce"
	// Shadow is a policy whose rules are tried beside those that are enforced and
	// decide nothing; Decision.Shadow says where they would.
	Shadow Mode = "shadow"
)

var modeWords = []string{string(Enforce), string(Shadow)}

// word takes one of the words.
func (r *policyReader) word(n *yaml.Node, field string, words []string) string {
	word, ok := r.Text(n, field)
	if !ok || slices.Contains(words, word) {
		return word
	}
	if near := nearest.Word(word, words); near != "" {
		r.Fail(n, field, "%q is not known: did you mean %q?", word, near)
	} else {
		r.Fail(n, field, "%q is not known: write %s", word, strings.Join(words, " or "))
	}
	return ""
}

func (r *policyReader) mode(n *yaml.Node, field string) Mode {
	if n == nil {
		return Enforce
	}
	word, ok := r.Text(n, field)
	if !ok || slices.Contains(modeWords, word) {
		return Mode(word)
	}
	if near := nearest.Word(word, modeWords); near != "" {
		r.Fail(n, field, "%q is no mode: did you mean %q?", word, near)
	} else {
		r.Fail(n, field, "%q is no mode: write enforce or shadow", word)
	}
	return Enforce
}

// Mode returns the mode of the policy.
func (d Document) Mode() Mode { return d.mode }

// Enforced returns the documents with every policy enforced, as they would be
// once those in shadow mode are taken out of it. The given ones are not changed.
func Enforced(documents []Document) []Document {
	documents = slices.Clone(documents)
	for i := range documents {
		documents[i].mode = Enforce
	}
	return documents
}

// differs reports whether two decisions let something else happen.
func (d Decision) differs(other Decision) bool {
	return d.Effect != other.Effect || !d.Obligations.equal(other.Obligations)
}
