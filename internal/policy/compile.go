// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/manifest"
)

// CompileOptions say where app IDs belong. Both fields are required.
type CompileOptions struct {
	// TrustDomain is the local trust domain.
	TrustDomain spiffeid.TrustDomain
	// Namespace is the local namespace.
	Namespace string
}

func (o CompileOptions) validate() error {
	if o.TrustDomain.IsZero() {
		return fmt.Errorf("policy: the local trust domain is not set")
	}
	if err := spiffeid.ValidatePathSegment(o.Namespace); err != nil {
		return fmt.Errorf("policy: namespace %q is not legal: %w", o.Namespace, err)
	}
	return nil
}

// pattern returns the caller pattern of a subject.
func (o CompileOptions) pattern(s subject) callerPattern {
	if s.appID == "" {
		return s.pattern
	}
	return callerPattern{trustDomain: o.TrustDomain.Name(), segments: []string{"ns", o.Namespace, s.appID}}
}

// Compile makes one Set of documents from any number of sources. No documents
// give a Set that denies everything. Two policies of one name, or more documents
// or rules than the limits, are an error. Warnings tell of rules that have no
// effect: callers of another trust domain than the local one, and rules that
// repeat another.
func Compile(documents []Document, opts CompileOptions) (*Set, []Warning, error) {
	if err := opts.validate(); err != nil {
		return nil, nil, err
	}
	// Decisions must follow from the Digest alone, so the order of files has no part in them.
	sorted := slices.Clone(documents)
	slices.SortStableFunc(sorted, func(a, b Document) int { return strings.Compare(a.name, b.name) })
	if err := checkDocuments(sorted); err != nil {
		return nil, nil, err
	}
	c := compiler{
		opts:   opts,
		set:    &Set{policies: len(sorted), roots: map[string]*node{}},
		seen:   map[string]int{},
		digest: sha256.New(),
	}
	c.write("custody.dev/policy-set/v1", opts.TrustDomain.Name(), opts.Namespace)
	c.count(len(sorted))
	if slices.ContainsFunc(sorted, func(d Document) bool { return d.mode == Shadow }) {
		c.set.rehearsed = map[string]*node{}
	}
	for i := range sorted {
		c.document(&sorted[i])
	}
	c.set.digest = hex.EncodeToString(c.digest.Sum(nil))
	return c.set, c.warnings, nil
}

// checkDocuments refuses equal names and what is over the limits.
func checkDocuments(sorted []Document) error {
	found := manifest.Problems{Room: room}
	rules := 0
	for i, d := range sorted {
		rules += len(d.rules)
		if i > 0 && sorted[i-1].name == d.name {
			found.Add(manifest.At(d.file, d.line, d.column), "metadata.name",
				"policy name %q is already used at %s: choose another", d.name, sorted[i-1].Source())
		}
	}
	if len(sorted) > MaxDocuments {
		found.Add(manifest.Position{}, "", "%d policies together, the limit is %d", len(sorted), MaxDocuments)
	}
	if rules > MaxRules {
		found.Add(manifest.Position{}, "", "%d rules together, the limit is %d", rules, MaxRules)
	}
	return found.Err()
}

type compiler struct {
	opts     CompileOptions
	set      *Set
	warnings []Warning
	// seen holds the place of the first rule of each canonical form.
	seen   map[string]int
	digest hash.Hash
	buffer []byte
}

func (c *compiler) document(d *Document) {
	c.write(d.name)
	c.count(len(d.rules))
	if d.mode == Shadow {
		c.write(string(Shadow))
	}
	for i := range d.rules {
		c.rule(d, &d.rules[i])
	}
}

func (c *compiler) rule(d *Document, r *rule) {
	place := len(c.set.rules) + 1
	c.set.rules = append(c.set.rules, compiledRule{
		document: d, rule: r, obligations: r.demands.obligations(d.name, r.name, int32(place)), //nolint:gosec // MaxRules fits
	})
	c.set.rates = c.set.rates || d.mode != Shadow && r.demands != nil && r.demands.rate.Count > 0
	c.set.chains(r)
	from := make([]string, len(r.from))
	for i, s := range r.from {
		pattern := c.opts.pattern(s)
		from[i] = pattern.String()
		if d.mode != Shadow {
			insert(c.set.roots, pattern, r, int32(place)) //nolint:gosec // MaxRules fits
		}
		if c.set.rehearsed != nil {
			insert(c.set.rehearsed, pattern, r, int32(place)) //nolint:gosec // MaxRules fits
		}
		if pattern.trustDomain != c.opts.TrustDomain.Name() {
			c.warn(manifest.At(d.file, s.line, s.column), s.field, fmt.Sprintf(
				"no caller of the local trust domain %s matches %s", c.opts.TrustDomain.Name(), from[i]))
		}
	}
	c.set.rules[place-1].from = from

	form := canonical(r, from)
	c.write(r.name)
	c.digest.Write(form)
	form = appendText(form, string(d.mode))
	if before, again := c.seen[string(form)]; again {
		other := &c.set.rules[before-1]
		c.warn(manifest.At(d.file, r.line, r.column), r.field, fmt.Sprintf(
			"says the same as rule %q of policy %q (%s) and has no effect: remove it", other.rule.name,
			other.document.name, manifest.At(other.document.file, other.rule.line, 0)))
		return
	}
	c.seen[string(form)] = place
}

func (c *compiler) warn(at manifest.Position, field, message string) {
	c.warnings = append(c.warnings, Warning{
		File: at.File, Line: at.Line, Column: at.Column, Field: field, Message: message,
	})
}

// write adds texts to the digest, each with its length before it.
func (c *compiler) write(texts ...string) {
	c.buffer = c.buffer[:0]
	for _, text := range texts {
		c.buffer = appendText(c.buffer, text)
	}
	c.digest.Write(c.buffer)
}

func (c *compiler) count(n int) {
	c.buffer = binary.AppendUvarint(c.buffer[:0], uint64(n)) //nolint:gosec // a length
	c.digest.Write(c.buffer)
}

// canonical returns what a rule says, without its name: equal for equal meaning.
func canonical(r *rule, from []string) []byte {
	effect := string(r.effect)
	if r.when != nil {
		effect += " when"
	}
	if r.demands != nil {
		effect += " obliged"
	}
	// What came later is written only where it is used, so that the digests of Sets without it stay.
	lists := r.names[:groupPrompts]
	if len(r.names[groupPrompts])+len(r.names[groupResources]) > 0 {
		effect += " prompts resources"
		lists = r.names[:groupResources+1]
	}
	if r.state != nil || r.sql != nil {
		effect += " data"
	}
	form := appendText(nil, effect)
	form = appendSet(form, from)
	form = appendText(form, r.server)
	for _, names := range lists {
		form = appendSet(form, names)
	}
	if r.state != nil || r.sql != nil {
		form = r.check.canonical(appendSet(form, r.names[groupData]))
	}
	if r.when != nil {
		form = appendText(form, r.when.text)
	}
	if r.demands != nil {
		form = appendSet(form, r.demands.words())
	}
	return form
}

func appendText(to []byte, text string) []byte {
	to = binary.AppendUvarint(to, uint64(len(text)))
	return append(to, text...)
}

// appendSet adds the texts in order, each once.
func appendSet(to []byte, texts []string) []byte {
	if len(texts) > 1 {
		texts = slices.Clone(texts)
		slices.Sort(texts)
		texts = slices.Compact(texts)
	}
	to = binary.AppendUvarint(to, uint64(len(texts)))
	for _, text := range texts {
		to = appendText(to, text)
	}
	return to
}
