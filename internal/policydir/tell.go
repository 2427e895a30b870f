// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policydir

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dapr-custody/custody/internal/policy"
)

// bulletin is a Status without its warnings, and what they come from.
type bulletin struct {
	status Status
	// documents are those in force, compiled what Compile warned of.
	documents []policy.Document
	compiled  []policy.Warning
	// eventsError says why changes are found by looking only.
	eventsError error
}

// tellAll tells what there is to tell until run has ended.
func (w *Watcher) tellAll() {
	defer close(w.done)
	for {
		select {
		case <-w.ended:
			w.tell()
			return
		case <-w.news:
			w.tell()
		}
	}
}

// tell makes the latest bulletin the Status, unless it is the same.
func (w *Watcher) tell() {
	latest := w.latest.Load()
	status := latest.status
	if status.Digest != "" {
		status.Warnings = w.warnings(latest)
	}
	if latest == w.told && slices.Equal(status.Warnings, w.Status().Warnings) {
		return
	}
	w.told = latest
	w.status.Store(&status)
	if w.opts.OnChange != nil {
		w.opts.OnChange(status)
	}
}

func (w *Watcher) warnings(b *bulletin) []string {
	lists := [][]policy.Warning{w.opts.ExtraWarnings, b.compiled}
	if w.opts.Check != nil {
		lists = append(lists, w.opts.Check(b.documents))
	}
	var texts []string
	for _, list := range lists {
		for _, warning := range list {
			texts = append(texts, warning.String())
		}
	}
	files, rules := len(b.status.Files), b.status.Rules
	switch {
	case rules == 0 && w.opts.Dir == "":
		texts = append(texts, "there is no rule, so that everything is denied: configure a policy directory")
	case rules == 0:
		texts = append(texts, "there is no rule, so that everything is denied: add a policy file to "+w.opts.Dir)
	case files == 0 && w.opts.Dir != "":
		texts = append(texts, "there is no policy file in "+w.opts.Dir+": only the rules of the Dapr Configuration apply")
	}
	if b.eventsError != nil {
		texts = append(texts, fmt.Sprintf("changes are found after up to %v only: %v", w.opts.Rescan, b.eventsError))
	}
	return texts
}

// reason returns an error as lines without the prefixes of packages.
func reason(err error) string {
	// Only the outermost error counts: a list of policy errors is worded as a whole.
	_, whole := err.(*policy.ErrorList) //nolint:errorlint // see above
	joined, many := err.(interface{ Unwrap() []error })
	if whole || !many {
		return strings.TrimPrefix(err.Error(), "policy: ")
	}
	lines := make([]string, 0, len(joined.Unwrap()))
	for _, e := range joined.Unwrap() {
		lines = append(lines, reason(e))
	}
	return strings.Join(lines, "\n")
}
