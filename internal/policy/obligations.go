// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/redact"
)

// Limits of obligations.
const (
	// MaxRateCount is the largest count of a rate.
	MaxRateCount = 1_000_000
	// MaxResultBytes is the largest value of maxResultBytes.
	MaxResultBytes = 1 << 30
	// MaxRows is the largest value of maxRows.
	MaxRows = 1_000_000_000
)

// Obligations are what comes with an allow: whoever lets the action pass has to
// see to all of them, and must not let it pass where it cannot. They are the sum
// of what every allow rule asks that matches the action: one rule never lifts
// what another one asks. The condition of such a rule counts as true where it
// cannot be evaluated.
type Obligations struct {
	// Rates bound how often the caller may do the action. All of them hold.
	Rates []Rate
	// MaxResultBytes is the size of the largest result that may pass, in bytes as
	// passed on. 0 is no bound.
	MaxResultBytes int
	// MaxRows is how many rows a statement may return or change. 0 is no bound. Where
	// there are more the statement is refused, and must have changed nothing.
	MaxRows int
	// Redact is what has to be taken out of the result. Nil for nothing.
	Redact *redact.Plan
	// grant is the place of the first rule that wants one, 0 for none.
	grant int32
}

// Rate is how often each caller may do each action that a rule allows: Count
// times in each Per. What a caller can name without end, such as URIs, counts as one.
type Rate struct {
	// Policy and Rule name the rule that asks for it, and each rule counts by itself.
	Policy string
	Rule   string
	// Count is 1 or more.
	Count int
	// Per is a second, a minute or an hour.
	Per time.Duration
}

// periods are the words for the periods of rates.
var periods = []struct {
	word string
	per  time.Duration
}{{"second", time.Second}, {"minute", time.Minute}, {"hour", time.Hour}}

// String returns the rate as it is written in a policy.
func (r Rate) String() string {
	for _, p := range periods {
		if p.per == r.Per {
			return strconv.Itoa(r.Count) + "/" + p.word
		}
	}
	return strconv.Itoa(r.Count) + "/" + r.Per.String()
}

// parseRate reads a rate such as 30/minute.
func parseRate(text string) (Rate, bool) {
	number, word, _ := strings.Cut(text, "/")
	count, err := strconv.Atoi(number)
	if err != nil || count < 1 || count > MaxRateCount || strconv.Itoa(count) != number {
		return Rate{}, false
	}
	for _, p := range periods {
		if p.word == word {
			return Rate{Count: count, Per: p.per}, true
		}
	}
	return Rate{}, false
}

// obligationKeys are the keys of a rule that make obligations.
var obligationKeys = []string{"rate", "maxResultBytes", "maxRows", "redact", "requireGrant"}

var (
	redactKeys     = []string{"detectors", "paths", "binary"}
	redactRequired = redactKeys[:0]
)

// demands are the obligations of one rule as written; nil for none.
type demands struct {
	rate     Rate // zero for none
	maxBytes int
	maxRows  int
	redact   *redact.Plan
	grant    bool
}

// demands reads the obligations of a rule.
func (r *policyReader) demands(m map[string]*yaml.Node, field string, parsed *rule) {
	var d demands
	for _, key := range obligationKeys {
		n := m[key]
		if n == nil {
			continue
		}
		at := field + "." + key
		if parsed.effect == Deny && m["effect"] != nil {
			r.Fail(n, at, "a rule that denies carries no obligation: remove it")
		}
		parsed.demands = &d
		switch key {
		case "rate":
			r.rate(n, at, &d)
		case "maxResultBytes":
			d.maxBytes = r.Number(n, at, 1, MaxResultBytes)
		case "maxRows":
			d.maxRows = r.Number(n, at, 1, MaxRows)
			if m["to"] != nil && parsed.about() != aboutSQL {
				r.Fail(n, at, "only statements have rows: a rule with it names sql and nothing else")
			}
		case "redact":
			d.redact = r.redact(n, at)
			if parsed.state != nil || parsed.sql != nil {
				r.Fail(n, at, "nothing can be redacted in what a state store or database answers: narrow keys or columns")
			}
			if n := m["to"]; n != nil && len(parsed.names[groupPaths]) > 0 {
				r.Fail(n, field+".to.paths", "nothing can be redacted in plain HTTP: put the paths into a rule of their own")
			}
		case "requireGrant":
			d.grant = r.MustBeTrue(n, at)
		}
	}
}

func (r *policyReader) redact(n *yaml.Node, field string) *redact.Plan {
	m, ok := r.Members(n, field, redactKeys, redactRequired)
	if !ok {
		return nil
	}
	var spec redact.Spec
	for key, list := range map[string]*[]string{"detectors": &spec.Detectors, "paths": &spec.Paths} {
		for i, item := range r.List(m[key], field+"."+key) {
			if text, ok := r.Text(item, field+"."+key+"["+strconv.Itoa(i)+"]"); ok {
				*list = append(*list, text)
			}
		}
	}
	if n := m["binary"]; n != nil {
		text, _ := r.Text(n, field+".binary")
		spec.Binary = redact.Binary(text)
	}
	plan, err := redact.Compile(spec)
	if err != nil {
		r.Fail(n, field, "%s", strings.TrimPrefix(err.Error(), "redact: "))
	}
	return plan
}

func (r *policyReader) rate(n *yaml.Node, field string, d *demands) {
	text, ok := r.Text(n, field)
	if !ok {
		return
	}
	if d.rate, ok = parseRate(text); !ok {
		r.Fail(n, field, "%q is no rate: write a number from 1 to %d, a slash, and second, minute or hour, as in 30/minute",
			text, MaxRateCount)
	}
}

// obligations are what the rule at place of a Set asks; nil for nothing.
func (d *demands) obligations(policy, rule string, place int32) *Obligations {
	if d == nil {
		return nil
	}
	o := &Obligations{MaxResultBytes: d.maxBytes, MaxRows: d.maxRows, Redact: d.redact}
	if d.rate.Count > 0 {
		o.Rates = []Rate{{Policy: policy, Rule: rule, Count: d.rate.Count, Per: d.rate.Per}}
	}
	if d.grant {
		o.grant = place
	}
	return o
}

// words lists what the rule asks in the words of the document, for printing and
// for its canonical form.
func (d *demands) words() []string {
	if d == nil {
		return nil
	}
	return d.obligations("", "", 1).Words()
}

// Words lists the obligations in the words of a policy, such as "rate: 30/minute".
// They are the same for obligations that ask the same, whichever rules ask it and
// in whatever order: rates that are equal are told once. Nil for nothing.
func (o *Obligations) Words() []string {
	if o == nil {
		return nil
	}
	var words []string
	rates := slices.Clone(o.Rates)
	slices.SortFunc(rates, func(a, b Rate) int { return cmp.Or(cmp.Compare(a.Per, b.Per), cmp.Compare(a.Count, b.Count)) })
	for _, rate := range rates {
		words = append(words, "rate: "+rate.String())
	}
	words = slices.Compact(words)
	if o.MaxResultBytes > 0 {
		words = append(words, "maxResultBytes: "+strconv.Itoa(o.MaxResultBytes))
	}
	if o.MaxRows > 0 {
		words = append(words, "maxRows: "+strconv.Itoa(o.MaxRows))
	}
	if o.Redact != nil {
		words = append(words, "redact: "+redactWords(o.Redact.Spec()))
	}
	if o.grant != 0 {
		words = append(words, "requireGrant: true")
	}
	return words
}

func redactWords(s redact.Spec) string {
	var parts []string
	if len(s.Detectors) > 0 {
		parts = append(parts, "detectors: ["+strings.Join(s.Detectors, ", ")+"]")
	}
	if len(s.Paths) > 0 {
		quoted := make([]string, len(s.Paths))
		for i, path := range s.Paths {
			quoted[i] = strconv.Quote(path)
		}
		parts = append(parts, "paths: ["+strings.Join(quoted, ", ")+"]")
	}
	if s.Binary == redact.BinaryPass {
		parts = append(parts, "binary: pass")
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// and adds what another rule asks. Neither is changed; nil asks for nothing.
func (o *Obligations) and(other *Obligations) *Obligations {
	switch {
	case o == nil:
		return other
	case other == nil:
		return o
	}
	sum := Obligations{
		Rates:          slices.Clone(o.Rates),
		MaxResultBytes: least(o.MaxResultBytes, other.MaxResultBytes),
		MaxRows:        least(o.MaxRows, other.MaxRows),
		Redact:         redact.Merge(o.Redact, other.Redact),
		grant:          first(o.grant, other.grant),
	}
	// Several parts of one request may come with the rate of one rule.
	for _, rate := range other.Rates {
		if !slices.Contains(sum.Rates, rate) {
			sum.Rates = append(sum.Rates, rate)
		}
	}
	return &sum
}

// least is the smaller of two bounds, of which 0 is none.
func least(a, b int) int {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// equal reports whether both ask the same.
func (o *Obligations) equal(other *Obligations) bool {
	if o == other || o == nil || other == nil {
		return o == other
	}
	return slices.Equal(o.Rates, other.Rates) && o.MaxResultBytes == other.MaxResultBytes && o.MaxRows == other.MaxRows && sameRedaction(o.Redact, other.Redact) && o.grant == other.grant
}

func sameRedaction(a, b *redact.Plan) bool {
	if a == nil || b == nil {
		return a == b
	}
	return redactWords(a.Spec()) == redactWords(b.Spec())
}
