// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/localdomain"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/policydir"
	"github.com/dapr-custody/custody/internal/policyedit"
)

const (
	waitDefault = "5s"
	waitStep    = 2 * time.Millisecond
	// waitLook is how often the folder is compiled anew while a guard has something
	// else in force: another change may have come on top.
	waitLook = 100 * time.Millisecond
	// waitSettled is more than the time within which a guard finds a change that no
	// event told it of (policydir.Options.Rescan).
	waitSettled = 2 * time.Second
)

// guardWait waits until the guards that watch a folder follow a change of it.
//
// What a guard has in force is named by its Set's digest, which is that of the
// files compiled for its trust domain and namespace, and of the rules that it has
// from Dapr's access control. Its status says neither. The first two are known for
// guards of registered runs. Where the digest before the change is not that of the
// files, the guard has other rules besides, and its word counts that it has loaded
// files after the change, with the changed one among them or gone, and no error.
type guardWait struct {
	timeout  time.Duration
	journals []string

	apps   map[string]localdomain.RunApp
	before map[string]policydir.Status
}

func (w *guardWait) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.DurationVar(&w.timeout, "wait", 0, "wait until every running guard of the folder has the change in force, at most so long: --wait or --wait=10s")
	flags.Lookup("wait").NoOptDefVal = waitDefault
	flags.StringArrayVar(&w.journals, "journal", nil, "journal folder of a guard to wait for, in place of those of the runs; may be repeated")
}

// guards are those that run and watch dir. The error tells of guards that cannot be read.
func (w *guardWait) guards(dir string) ([]guardStatus, error) {
	all, err := findGuards(w.journals)
	return slices.DeleteFunc(all, func(g guardStatus) bool { return g.Dir == "" || !running(g.PID) || !sameFolder(g.Dir, dir) }), err
}

// begin notes what is in force before the change. apps are those of the runs, by
// status file.
func (w *guardWait) begin(dir string, apps map[string]localdomain.RunApp) error {
	if w.timeout <= 0 {
		return nil
	}
	guards, err := w.guards(dir)
	if err != nil && len(w.journals) > 0 {
		return err // Nothing was changed yet: what was named has to be there.
	}
	w.apps, w.before = apps, map[string]policydir.Status{}
	for _, g := range guards {
		w.before[g.Source] = g.Status
	}
	return nil
}

// end returns the names of the guards that follow. The error names one that does not.
func (w *guardWait) end(ctx context.Context, change *policyedit.Change, dir string) ([]string, error) {
	if w.timeout <= 0 {
		return nil, nil
	}
	guards, err := w.guards(dir)
	if err == nil && len(guards) == 0 {
		err = fmt.Errorf("no running guard that watches %s was found to wait for", dir)
	}
	if err != nil {
		return nil, &exitError{code: exitNo, err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	var names []string
	for _, g := range guards {
		alive, err := w.follow(ctx, g, change, dir)
		if err != nil {
			return names, &exitError{code: exitNo, err: err}
		}
		if alive {
			names = append(names, guardName(g))
		}
	}
	if len(names) == 0 {
		return nil, &exitError{code: exitNo, err: fmt.Errorf("every guard that watched %s has ended", dir)}
	}
	return names, nil
}

// follow waits for one guard. A guard that ends is not waited for, and not alive.
func (w *guardWait) follow(ctx context.Context, g guardStatus, change *policyedit.Change, dir string) (alive bool, err error) {
	before, strict := w.compiled(g, change.Before)
	strict = strict && w.before[g.Source].Digest == before
	want, _ := w.compiled(g, change.After)
	looked := time.Now()
	tick := time.NewTicker(waitStep)
	defer tick.Stop()
	for {
		status, err := policydir.ReadStatus(g.Source)
		switch {
		case errors.Is(err, fs.ErrNotExist) || (err == nil && !running(status.PID)):
			return false, nil
		case err != nil:
			return false, err
		case status.LastError != "" && status.LastErrorAt.After(change.At) && change.Written:
			return false, fmt.Errorf("the guard of %s reports: %s", guardName(g), status.LastError)
		case hasDigest(status, want, strict, change.At), !strict && loadedSince(status, change):
			return true, nil
		}
		if want != "" && time.Since(looked) > waitLook {
			looked = time.Now()
			want = w.now(g, dir, want)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false, w.late(g, status)
		}
	}
}

// hasDigest reports whether a guard has the wanted Set in force, to stay. One that
// did not have the files in force before the change either may have been about to
// load them as they were then, which takes less than waitLook.
func hasDigest(status policydir.Status, want string, strict bool, at time.Time) bool {
	return want != "" && status.Digest == want && status.LastError == "" && (strict || time.Since(at) > waitLook)
}

func (w *guardWait) late(g guardStatus, status policydir.Status) error {
	if status.LastError != "" {
		return fmt.Errorf("the guard of %s reports: %s", guardName(g), status.LastError)
	}
	return fmt.Errorf("the guard of %s does not have the change in force within %v: see custody policy status", guardName(g), w.timeout)
}

// loadedSince reports whether a guard says that it has loaded the files as they
// are since the change.
func loadedSince(status policydir.Status, change *policyedit.Change) bool {
	if status.LastError != "" || status.Digest == "" {
		return false
	}
	if !change.Written && time.Since(change.At) > waitSettled {
		return true
	}
	return !status.LoadedAt.Before(change.At) && slices.Contains(status.Files, filepath.Base(change.File)) != change.FileRemoved
}

// compiled returns the digest of documents at a guard whose trust domain and
// namespace are known.
func (w *guardWait) compiled(g guardStatus, documents []policy.Document) (string, bool) {
	app, known := w.apps[policydir.StatusFileBeside(g.Source)]
	if !known {
		return "", false
	}
	domain, err := spiffeid.TrustDomainFromString(app.TrustDomain)
	if err != nil {
		return "", false
	}
	set, _, err := policy.Compile(documents, policy.CompileOptions{TrustDomain: domain, Namespace: app.Namespace})
	return set.Digest(), err == nil
}

// now returns the digest of the folder as it is by now, or the one known so far.
func (w *guardWait) now(g guardStatus, dir, want string) string {
	app := w.apps[policydir.StatusFileBeside(g.Source)]
	source := policySource{trustDomain: app.TrustDomain, namespace: app.Namespace}
	found, err := source.load([]string{dir})
	if err != nil || len(found.problems) > 0 {
		return want // Someone is at it: the guard says what it makes of it.
	}
	return found.set.Digest()
}
