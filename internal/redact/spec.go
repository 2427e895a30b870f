// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package redact

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dapr-custody/custody/internal/nearest"
)

// Limits of a Spec.
const (
	MaxPaths     = 64
	MaxPathBytes = 256
)

// Binary says what happens to images, audio and blobs, which detectors cannot look into.
type Binary string

const (
	// BinaryRemove takes them out if the plan has detectors. It is what the empty Binary means.
	BinaryRemove Binary = "remove"
	// BinaryPass lets them through unseen.
	BinaryPass Binary = "pass"
)

// Spec is what a rule asks to have taken out.
type Spec struct {
	// Paths are JSONPath expressions (RFC 9535), of which these parts are known: `.name`, `['name']`, `[3]`, `.*`, `[*]`,
	// and each of them behind `..` for any depth. Names compare exactly.
	Paths []string
	// Detectors are of [Names].
	Detectors []string
	// Binary is [BinaryRemove] if empty.
	Binary Binary
}

// Plan is a compiled Spec. It is safe for concurrent use. A nil Plan asks for nothing.
type Plan struct {
	paths     []path // sorted by text
	detectors []int  // indexes into detectors, ascending
	pass      bool
}

// Names are the detectors that there are.
func Names() []string {
	names := make([]string, len(detectors))
	for i, d := range detectors {
		names[i] = d.name
	}
	return names
}

// Compile checks a Spec. One that names neither paths nor detectors is an error, since it would redact nothing.
func Compile(spec Spec) (*Plan, error) {
	p := &Plan{}
	switch spec.Binary {
	case "", BinaryRemove:
	case BinaryPass:
		p.pass = true
	default:
		return nil, fmt.Errorf("redact: binary %s is unknown%s: use remove or pass", clip(string(spec.Binary)),
			meant(string(spec.Binary), []string{string(BinaryRemove), string(BinaryPass)}))
	}
	if len(spec.Paths) == 0 && len(spec.Detectors) == 0 {
		return nil, errors.New("redact: neither paths nor detectors are given, so nothing would be redacted")
	}
	for _, name := range spec.Detectors {
		i := slices.IndexFunc(detectors[:], func(d detector) bool { return d.name == name })
		if i < 0 {
			return nil, fmt.Errorf("redact: detector %s is unknown%s: use %s", clip(name), meant(name, Names()), strings.Join(Names(), ", "))
		}
		p.detectors = append(p.detectors, i)
	}
	if len(spec.Paths) > MaxPaths {
		return nil, fmt.Errorf("redact: %d paths are more than %d", len(spec.Paths), MaxPaths)
	}
	for _, text := range spec.Paths {
		parsed, err := parsePath(text)
		if err != nil {
			return nil, fmt.Errorf("redact: path %s: %w", clip(text), err)
		}
		p.paths = append(p.paths, parsed)
	}
	p.normalise()
	return p, nil
}

// Merge returns a plan that redacts all that any of the plans redacts. Binary content passes only if all let it pass.
// Plans that are nil are left out; Merge returns nil if none remains. The limits of a Spec do not apply to the union.
func Merge(plans ...*Plan) *Plan {
	var all *Plan
	for _, p := range plans {
		if p == nil {
			continue
		}
		if all == nil {
			all = &Plan{pass: true}
		}
		all.paths = append(all.paths, p.paths...)
		all.detectors = append(all.detectors, p.detectors...)
		all.pass = all.pass && p.pass
	}
	if all != nil {
		all.normalise()
	}
	return all
}

func (p *Plan) normalise() {
	slices.SortFunc(p.paths, func(a, b path) int { return strings.Compare(a.text, b.text) })
	p.paths = slices.CompactFunc(p.paths, func(a, b path) bool { return a.text == b.text })
	slices.Sort(p.detectors)
	p.detectors = slices.Compact(p.detectors)
}

// Spec returns what the plan does in one spelling: sorted, without repeats, each path in its shortest form, and with
// Binary filled in. Two plans that do the same by the same paths return equal Specs.
func (p *Plan) Spec() Spec {
	if p == nil {
		return Spec{}
	}
	spec := Spec{Binary: BinaryRemove}
	if p.pass {
		spec.Binary = BinaryPass
	}
	for _, one := range p.paths {
		spec.Paths = append(spec.Paths, one.text)
	}
	for _, i := range p.detectors {
		spec.Detectors = append(spec.Detectors, detectors[i].name)
	}
	slices.Sort(spec.Detectors)
	return spec
}

// meant proposes the known word that is nearest, or nothing.
func meant(word string, known []string) string {
	best := nearest.Word(word, known)
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// clip quotes what a policy says and keeps the message short.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return fmt.Sprintf("%q...", strings.ToValidUTF8(s[:most], ""))
	}
	return fmt.Sprintf("%q", s)
}
