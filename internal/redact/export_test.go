// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package redact

import "slices"

// Find returns the parts of a text that one detector hits.
func Find(name, text string) []string {
	marks, digits := look(text)
	f := fold(text, marks)
	if f.at != nil {
		marks, digits = look(f.s)
	}
	for _, d := range detectors {
		if d.name != name || digits < d.digit || (d.needs != 0 && marks&d.needs == 0) {
			continue
		}
		spans := d.find(&sample{s: f.s, marks: marks}, nil)
		for i := range spans {
			spans[i] = f.original(spans[i])
		}
		var out []string
		for _, p := range union(spans) {
			out = append(out, text[p.from:p.to])
		}
		return slices.Clip(out)
	}
	return nil
}
