// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The stores: what stands in CUSTODY_SUITE_STORE, which the changed framework reads.
const (
	storePlain   = "plain"
	storeCustody = "custody"
)

// The identities: what stands in CUSTODY_SUITE_IDENTITY.
const (
	identitySigned   = "signed"   // all have an identity, and what asks for none has its history signed
	identityUnsigned = "unsigned" // all have an identity
	identityOwn      = "own"      // as the case says
)

// identities are tried in this order: a case that brings an unsigned history cannot be run signed, and one that is about
// sidecars without an identity has to be run without.
func identities() []string { return []string{identitySigned, identityUnsigned, identityOwn} }

// A column is how each case came out with one store.
type column struct {
	store string
	cases map[string]*outcome
	took  time.Duration
}

// An outcome is how a case came out.
type outcome struct {
	result    string // pass, fail or skip
	identity  string
	witnessed bool   // state.custody stood before a store of it
	anchored  int    // signatures of histories in the journals of the case
	again     bool   // it passed when it was run again with fewer others
	why       string // the first thing that it says of its failure
}

// testName is what all cases begin with.
const testName = "Test_Integration/"

// plain runs the cases with the stores as they are, each with the most identity with which it passes.
func (b *suite) plain(ctx context.Context, s settings, progress io.Writer) (*column, error) {
	begun := time.Now()
	c := &column{store: storePlain, cases: map[string]*outcome{}}
	if err := b.twice(ctx, s, c, identitySigned, s.focus, progress); err != nil {
		return nil, err
	}
	for _, identity := range identities()[1:] {
		failed := named(c.cases, func(o *outcome) bool { return o.result == "fail" })
		if len(failed) == 0 {
			break
		}
		weaker := &column{store: storePlain, cases: map[string]*outcome{}}
		if err := b.twice(ctx, s, weaker, identity, only(failed), progress); err != nil {
			return nil, err
		}
		for name, o := range weaker.cases {
			// What never passes is told as it came out signed, and what passes in another way, why it does not so.
			if o.result != "fail" {
				o.why = c.cases[name].why
				c.cases[name] = o
			}
		}
	}
	c.took = time.Since(begun)
	return c, nil
}

// custody runs the same cases with the same identity, and state.custody before their stores.
func (b *suite) custody(ctx context.Context, s settings, plain *column, progress io.Writer) (*column, error) {
	begun := time.Now()
	c := &column{store: storeCustody, cases: map[string]*outcome{}}
	for _, identity := range identities() {
		names := named(plain.cases, func(o *outcome) bool { return o.identity == identity })
		if len(names) == 0 {
			continue
		}
		if err := b.twice(ctx, s, c, identity, only(names), progress); err != nil {
			return nil, err
		}
	}
	c.took = time.Since(begun)
	return c, nil
}

// twice runs cases, and those that fail again, half as many at once.
func (b *suite) twice(ctx context.Context, s settings, c *column, identity, focus string, progress io.Writer) error {
	logs := filepath.Join(s.dir, "logs-"+c.store+"-"+identity)
	first, err := b.cases(ctx, c.store, identity, focus, s.parallel, logs, progress)
	if err != nil {
		return err
	}
	maps.Copy(c.cases, first)
	failed := named(first, func(o *outcome) bool { return o.result == "fail" })
	if len(failed) == 0 {
		return nil
	}
	second, err := b.cases(ctx, c.store, identity, only(failed), max(1, s.parallel/2), logs+"-again", progress)
	if err != nil {
		return err
	}
	for name, o := range second {
		if o.result == "pass" {
			o.again, o.why = true, first[name].why
		}
		c.cases[name] = o
	}
	return nil
}

// named gives the names of the cases that are such, in order.
func named(cases map[string]*outcome, such func(*outcome) bool) []string {
	var names []string
	for name, o := range cases {
		if such(o) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// only is a regular expression for exactly these names.
func only(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = regexp.QuoteMeta(name)
	}
	return "^(" + strings.Join(quoted, "|") + ")$"
}

// cases runs cases, and writes the log of each to a file of the folder logs.
func (b *suite) cases(ctx context.Context, store, identity, focus string, parallel int, logs string, progress io.Writer) (map[string]*outcome, error) {
	fmt.Fprintf(progress, "running the cases with the store %s, identity %s\n", store, identity)
	test := exec.CommandContext(ctx, "go", "tool", "test2json", b.binary,
		"-test.v=test2json", "-test.run", "^Test_Integration$", "-test.timeout", "5h", "-test.parallel", strconv.Itoa(parallel), "-focus", focus)
	test.Dir, test.Stderr = b.dir, progress
	test.Env = append(slices.Clone(b.env), "CUSTODY_SUITE_STORE="+store, "CUSTODY_SUITE_IDENTITY="+identity)
	// The processes of the cases end with it.
	test.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	test.Cancel = func() error { return syscall.Kill(-test.Process.Pid, syscall.SIGKILL) }
	out, err := test.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := test.Start(); err != nil {
		return nil, err
	}
	r := &reading{logs: logs, cases: map[string]*outcome{}, files: map[string]*os.File{}, progress: progress}
	readErr := r.read(out)
	waitErr := test.Wait()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case readErr != nil:
		return nil, readErr
	case waitErr != nil && !errors.As(waitErr, &exit):
		return nil, waitErr
	case len(r.cases) == 0:
		return nil, fmt.Errorf("no case is named like %s, or the tests did not start", focus)
	}
	for name, c := range r.cases {
		c.identity = identity
		if c.result == "" {
			return nil, fmt.Errorf("%s: the tests ended while it ran", name)
		}
	}
	return r.cases, nil
}

// An event is a line of go tool test2json.
type event struct{ Action, Test, Output string }

// reading takes the events of one run.
type reading struct {
	logs     string
	cases    map[string]*outcome
	files    map[string]*os.File
	progress io.Writer
}

func (r *reading) read(out io.Reader) error {
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if err := json.Unmarshal(line, &e); err != nil {
				return fmt.Errorf("output of the tests: %w", err)
			}
			if err := r.take(e); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *reading) take(e event) error {
	name, ok := strings.CutPrefix(e.Test, testName)
	if !ok || name == "build_binaries" {
		return nil
	}
	of := name
	for of != "" && r.cases[of] == nil && e.Action != "run" {
		of = parent(of)
	}
	// The first test below Test_Integration that runs is the case; what runs below a case belongs to it.
	if e.Action == "run" {
		for above := parent(name); above != ""; above = parent(above) {
			if r.cases[above] != nil {
				return nil
			}
		}
		r.cases[name] = &outcome{}
		return nil
	}
	c := r.cases[of]
	if c == nil {
		return nil
	}
	switch e.Action {
	case "output":
		c.note(e.Output)
		return r.log(of, e.Output)
	case "pass", "fail", "skip":
		if of != name {
			return nil
		}
		c.result = e.Action
		fmt.Fprintln(r.progress, e.Action, name)
		if f := r.files[of]; f != nil {
			delete(r.files, of)
			return f.Close()
		}
	}
	return nil
}

func parent(name string) string {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return ""
	}
	return name[:i]
}

// note takes from the output what the table says.
func (c *outcome) note(output string) {
	if strings.Contains(output, "custody suite: state.custody before") {
		c.witnessed = true
	}
	if _, said, ok := strings.Cut(output, "custody suite: "); ok {
		var n int
		if _, err := fmt.Sscanf(said, "%d signatures anchored", &n); err == nil {
			c.anchored += n
		}
	}
	if said, ok := strings.CutPrefix(strings.TrimSpace(output), "Error:"); ok && c.why == "" {
		c.why = strings.TrimSpace(said)
	}
	if c.why == "" && strings.Contains(output, "panic:") {
		c.why = strings.TrimSpace(output)
	}
}

func (r *reading) log(name, output string) error {
	f := r.files[name]
	if f == nil {
		path := filepath.Join(r.logs, strings.ReplaceAll(name, "/", ".")+".log")
		if err := os.MkdirAll(r.logs, 0o700); err != nil {
			return err
		}
		var err error
		if f, err = os.Create(path); err != nil {
			return err
		}
		r.files[name] = f
	}
	_, err := f.WriteString(output)
	return err
}
