// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// tally counts the cases of a suite in one column, and the signatures that were anchored in them.
type tally struct{ pass, fail, skip, witnessed, anchored int }

func (t *tally) add(c *outcome) {
	switch {
	case c == nil || c.result == "skip":
		t.skip++
	case c.result == "pass":
		t.pass++
	default:
		t.fail++
	}
	if c != nil && c.witnessed {
		t.witnessed++
		t.anchored += c.anchored
	}
}

// suiteOf is the folder of Dapr's tests below daprd/workflow that a case lies in.
func suiteOf(name string) string {
	rest, ok := strings.CutPrefix(name, "daprd/workflow/")
	if !ok {
		return parent(name)
	}
	first, _, deeper := strings.Cut(rest, "/")
	if !deeper {
		return "(workflow)"
	}
	return first
}

// report prints both columns, then what fails in either, and gives an error where state.custody makes a case fail.
func report(w io.Writer, plain, custody *column) error {
	before, after := map[string]*tally{}, map[string]*tally{}
	var all, allAfter tally
	names := map[string]bool{}
	for name := range plain.cases {
		names[name] = true
	}
	for name := range custody.cases {
		names[name] = true
	}
	for name := range names {
		s := suiteOf(name)
		if before[s] == nil {
			before[s], after[s] = &tally{}, &tally{}
		}
		before[s].add(plain.cases[name])
		after[s].add(custody.cases[name])
		all.add(plain.cases[name])
		allAfter.add(custody.cases[name])
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SUITE\tCASES\tBY ITSELF\tSTATE.CUSTODY\tOF THEM BEHIND IT\tANCHORED")
	line := func(name string, b, a *tally) {
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%d\t%d\n", name, b.pass+b.fail+b.skip, b, a, a.witnessed, a.anchored)
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		line(name, before[name], after[name])
	}
	line("all", &all, &allAfter)
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "took %s and %s\n", plain.took.Round(time.Second), custody.took.Round(time.Second))
	return faults(w, plain, custody, slices.Sorted(maps.Keys(names)))
}

func (t *tally) String() string {
	text := fmt.Sprintf("%d pass", t.pass)
	if t.fail > 0 {
		text += fmt.Sprintf(", %d fail", t.fail)
	}
	if t.skip > 0 {
		text += fmt.Sprintf(", %d skip", t.skip)
	}
	return text
}

func faults(w io.Writer, plain, custody *column, names []string) error {
	list := func(title string, which func(b, a *outcome) bool) int {
		n := 0
		for _, name := range names {
			b, a := plain.cases[name], custody.cases[name]
			if b == nil || a == nil || !which(b, a) {
				continue
			}
			if n == 0 {
				fmt.Fprintf(w, "\n%s:\n", title)
			}
			n++
			fmt.Fprintf(w, "  %s: %s\n", name, cmp.Or(a.why, b.why, "(it does not say)"))
		}
		return n
	}
	worse := list("fails with state.custody only", func(b, a *outcome) bool { return a.result != "pass" && b.result == "pass" })
	list("fails without state.custody only", func(b, a *outcome) bool { return a.result != "fail" && b.result == "fail" })
	list("fails in both", func(b, a *outcome) bool { return a.result == "fail" && b.result == "fail" })
	list("run with an identity, without signing, with which it fails so", func(b, a *outcome) bool { return a.identity == identityUnsigned })
	list("run as it is, since with an identity it fails so", func(b, a *outcome) bool { return a.identity == identityOwn })
	list("passes the second time", func(b, a *outcome) bool { return (a.again || b.again) && a.result != "fail" && b.result != "fail" })
	for _, name := range names {
		if plain.cases[name] == nil || custody.cases[name] == nil {
			return fmt.Errorf("%s was run in one column only", name)
		}
	}
	if worse > 0 {
		return fmt.Errorf("%d cases pass with the store by itself and fail with state.custody before it", worse)
	}
	return nil
}
