// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policydir_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/policydir"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// text is a policy that allows agent the tools, and denies those after "!".
func text(name string, tools ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: custody.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: %s}\nspec:\n  rules:\n", name)
	for i, tool := range tools {
		effect := "allow"
		if denied, ok := strings.CutPrefix(tool, "!"); ok {
			effect, tool = "deny", denied
		}
		fmt.Fprintf(&b, "  - {name: r%d, effect: %s, from: [agent], to: {server: orders, tools: [%q]}}\n", i, effect, tool)
	}
	return b.String()
}

// folder is a watched directory; every published status goes to changes.
type folder struct {
	t       testing.TB
	dir     string
	watcher *policydir.Watcher
	changes chan policydir.Status
}

func open(t testing.TB, dir string, change func(*policydir.Options)) *folder {
	t.Helper()
	f := &folder{t: t, dir: dir, changes: make(chan policydir.Status, 1000)}
	opts := policydir.Options{
		Dir:      dir,
		Compile:  policy.CompileOptions{TrustDomain: spiffeid.RequireTrustDomainFromString("custody.local"), Namespace: "default"},
		OnChange: func(s policydir.Status) { f.changes <- s },
		App:      "orders", Guard: "guard",
	}
	if change != nil {
		change(&opts)
	}
	var err error
	f.watcher, err = policydir.Open(opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.watcher.Close()) })
	require.NotEmpty(t, f.changes, "Open publishes the first status")
	<-f.changes
	return f
}

func (f *folder) write(name, content string) {
	f.t.Helper()
	require.NoError(f.t, os.WriteFile(filepath.Join(f.dir, name), []byte(content), 0o600))
}

func (f *folder) allowed(tool string) bool { return allowed(f.watcher, tool) }

func allowed(w *policydir.Watcher, tool string) bool {
	return w.Current().Decide(policy.Request{
		Caller: spiffeid.RequireFromString("spiffe://custody.local/ns/default/agent"),
		Action: policy.Action{Kind: policy.KindToolCall, Server: "orders", Name: tool},
	}).Effect == policy.Allow
}

// next waits for a status that want accepts.
func (f *folder) next(want func(policydir.Status) bool) policydir.Status {
	f.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case s := <-f.changes:
			if want(s) {
				return s
			}
		case <-deadline:
			f.t.Fatalf("no such status; the last one is %+v", f.watcher.Status())
		}
	}
}

// until waits for a state, which may be there already.
func (f *folder) until(want func() bool) {
	f.t.Helper()
	if !want() {
		f.next(func(policydir.Status) bool { return want() })
	}
}

func inForce(s policydir.Status) bool { return s.State() == policydir.StateInForce }
func broken(s policydir.Status) bool  { return s.LastError != "" }

func TestLoadAndChange(t *testing.T) {
	dir := t.TempDir()
	f := &folder{t: t, dir: dir}
	f.write("a.yaml", text("a", "get_order"))
	f.write("b.YML", text("b", "list"))
	f.write("notes.txt", "no policy")
	f.write(".hidden.yaml", "no policy")
	f.write("#a.yaml#", "no policy")
	f.write("a.yaml~", "no policy")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "more.yaml"), 0o700))
	f = open(t, dir, nil)

	status := f.watcher.Status()
	require.Equal(t, policydir.StateInForce, status.State())
	require.Equal(t, []string{"a.yaml", "b.YML"}, status.Files)
	require.Equal(t, []int{2, 2}, []int{status.Policies, status.Rules})
	require.Equal(t, f.watcher.Current().Digest(), status.Digest)
	require.Equal(t, []any{"orders", "guard", os.Getpid(), dir}, []any{status.App, status.Guard, status.PID, status.Dir})
	require.WithinDuration(t, time.Now(), status.LoadedAt, time.Minute)
	require.Empty(t, status.LastError)
	require.True(t, f.allowed("get_order"))
	require.False(t, f.allowed("run_report"))

	f.write("a.yaml", text("a", "run_report"))
	f.next(inForce)
	require.True(t, f.allowed("run_report"))
	require.False(t, f.allowed("get_order"))

	f.write("c.yaml", text("c", "!run_report"))
	f.next(inForce)
	require.False(t, f.allowed("run_report"))

	require.NoError(t, os.Remove(filepath.Join(dir, "c.yaml")))
	f.next(inForce)
	require.True(t, f.allowed("run_report"))
}

func TestWarningsAreTold(t *testing.T) {
	f := open(t, t.TempDir(), func(o *policydir.Options) {
		o.ExtraWarnings = []policy.Warning{{File: "config.yaml", Line: 3, Message: "odd"}}
	})
	f.write("a.yaml", strings.Replace(text("a", "x"), "[agent]", "[agent, spiffe://other/ns/*/a]", 1))
	status := f.next(inForce)
	require.Len(t, status.Warnings, 2)
	require.Equal(t, "config.yaml:3: odd", status.Warnings[0])
	require.Contains(t, status.Warnings[1], "a.yaml:6:")
	require.Contains(t, status.Warnings[1], "spec.rules[0].from[1]: no caller of the local trust domain")
}

func TestBrokenFileKeepsTheLastGoodSet(t *testing.T) {
	dir := t.TempDir()
	f := &folder{t: t, dir: dir}
	f.write("a.yaml", text("a", "x"))
	f = open(t, dir, nil)
	good := f.watcher.Current()

	for name, tt := range map[string]struct{ in, want string }{
		"unknown effect": {strings.Replace(text("a", "y"), "allow", "alow", 1), `:6:24: spec.rules[0].effect: "alow" is no effect: did you mean "allow"?`},
		"tab":            {text("a", "y") + "\t- x\n", ":7:1: a tab is used for indentation"},
		"empty":          {"", ":1:1: the file holds no policy"},
		"too large":      {strings.Repeat("#", policy.MaxFileBytes+1), ":1:1: the file has 8388609 bytes"},
	} {
		f.write("a.yaml", tt.in)
		status := f.next(func(s policydir.Status) bool { return strings.Contains(s.LastError, tt.want) })
		require.Equal(t, policydir.StateKept, status.State(), name)
		require.True(t, strings.HasPrefix(status.LastError, filepath.Join(dir, "a.yaml")), status.LastError)
		require.Equal(t, good.Digest(), status.Digest)
		require.False(t, status.LastErrorAt.IsZero())
		require.Same(t, good, f.watcher.Current())
	}

	f.write("b.yaml", "kind: x\n")
	f.next(func(s policydir.Status) bool {
		return strings.Contains(s.LastError, "a.yaml:") && strings.Contains(s.LastError, "\n"+filepath.Join(dir, "b.yaml"))
	})
	require.NoError(t, os.Remove(filepath.Join(dir, "b.yaml")))

	f.write("a.yaml", text("a", "x"))
	status := f.next(inForce)
	require.Empty(t, status.LastError)
	require.Equal(t, good.Digest(), status.Digest)
}

func TestPoliciesOfOneNameKeepTheLastGoodSet(t *testing.T) {
	f := open(t, t.TempDir(), nil)
	f.write("a.yaml", text("a", "x"))
	f.next(func(s policydir.Status) bool { return s.Rules == 1 })
	f.write("b.yaml", text("a", "y"))
	status := f.next(broken)
	require.Contains(t, status.LastError, "b.yaml:1:1: metadata.name: policy name \"a\" is already used at")
	require.True(t, f.allowed("x"))
	require.False(t, f.allowed("y"))
	require.NoError(t, os.Remove(filepath.Join(f.dir, "b.yaml")))
	f.next(inForce)
}

func TestBrokenAtTheStartRefuses(t *testing.T) {
	tests := map[string]struct {
		make func(*folder)
		want string
		mend func(*folder)
	}{
		"missing directory": {
			func(f *folder) { require.NoError(t, os.Remove(f.dir)) },
			"the policy directory cannot be read: stat ",
			func(f *folder) { require.NoError(t, os.Mkdir(f.dir, 0o700)) },
		},
		"file in place of the directory": {
			func(f *folder) {
				require.NoError(t, os.Remove(f.dir))
				require.NoError(t, os.WriteFile(f.dir, nil, 0o600))
			},
			" is not a directory",
			func(f *folder) {
				require.NoError(t, os.Remove(f.dir))
				require.NoError(t, os.Mkdir(f.dir, 0o700))
			},
		},
		"broken file":    {func(f *folder) { f.write("a.yaml", "kind: [") }, "a.yaml:1: not valid YAML", func(*folder) {}},
		"truncated file": {func(f *folder) { f.write("a.yaml", "") }, "a.yaml:1:1: the file holds no policy", func(*folder) {}},
		"link to nowhere": {
			func(f *folder) { require.NoError(t, os.Symlink("gone", filepath.Join(f.dir, "b.yaml"))) },
			"b.yaml: no such file or directory",
			func(f *folder) { require.NoError(t, os.Remove(filepath.Join(f.dir, "b.yaml"))) },
		},
		"named pipe": {
			func(f *folder) { require.NoError(t, syscall.Mkfifo(filepath.Join(f.dir, "b.yaml"), 0o600)) },
			"b.yaml is not a regular file",
			func(f *folder) { require.NoError(t, os.Remove(filepath.Join(f.dir, "b.yaml"))) },
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "policies")
			require.NoError(t, os.Mkdir(dir, 0o700))
			f := &folder{t: t, dir: dir}
			tt.make(f)
			f = open(t, dir, func(o *policydir.Options) { o.Rescan = 20 * time.Millisecond })
			require.Nil(t, f.watcher.Current())
			require.Equal(t, policydir.StateRefusing, f.watcher.Status().State())
			require.Contains(t, f.watcher.Status().LastError, tt.want)
			require.False(t, f.allowed("x"))

			tt.mend(f)
			f.write("a.yaml", text("a", "x"))
			f.next(func(s policydir.Status) bool { return inForce(s) && s.Rules == 1 })
			require.True(t, f.allowed("x"))
		})
	}
}

func TestEmptyDirectoryDeniesEverything(t *testing.T) {
	f := open(t, t.TempDir(), nil)
	status := f.watcher.Status()
	require.Equal(t, policydir.StateInForce, status.State())
	require.NotNil(t, f.watcher.Current())
	require.Equal(t, []string{"there is no rule, so that everything is denied: add a policy file to " + f.dir}, status.Warnings)
	require.False(t, f.allowed("x"))
}

func TestExtraDocuments(t *testing.T) {
	extra := policy.AccessControl{Policies: []policy.AppPolicy{{
		AppID: "agent", TrustDomain: "custody.local", Namespace: "default",
		Operations: []policy.Operation{{Name: "/mcp/tools/call/x", HTTPVerb: []string{"POST"}, Action: "allow"}},
	}}}
	with := func(o *policydir.Options) {
		o.Extra, _ = policy.FromAccessControl("config.yaml", extra, "/mcp", "orders")
	}

	f := open(t, t.TempDir(), with)
	require.True(t, f.allowed("x"))
	require.Equal(t, []string{"there is no policy file in " + f.dir + ": only the rules of the Dapr Configuration apply"},
		f.watcher.Status().Warnings)
	f.write("a.yaml", text("a", "!x"))
	f.next(inForce)
	require.False(t, f.allowed("x"))

	none := open(t, "", with)
	require.True(t, none.allowed("x"))
	require.Empty(t, none.watcher.Status().Warnings)

	missing := open(t, filepath.Join(t.TempDir(), "missing"), with)
	require.Nil(t, missing.watcher.Current(), "a missing directory refuses, whatever else there is")

	nothing := open(t, "", nil)
	require.False(t, nothing.allowed("x"))
	require.Equal(t, []string{"there is no rule, so that everything is denied: configure a policy directory"},
		nothing.watcher.Status().Warnings)
}

func TestOpenNeedsCompileOptions(t *testing.T) {
	_, err := policydir.Open(policydir.Options{Dir: t.TempDir()})
	require.EqualError(t, err, "policydir: policy: the local trust domain is not set")
}

func TestDirectoryRemovedKeepsTheSet(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "policies")
	require.NoError(t, os.Mkdir(dir, 0o700))
	f := &folder{t: t, dir: dir}
	f.write("a.yaml", text("a", "*"))
	f.write("deny.yaml", text("deny", "!x"))
	f = open(t, dir, func(o *policydir.Options) { o.Rescan, o.Grace = 20*time.Millisecond, time.Minute })

	require.NoError(t, os.RemoveAll(dir))
	status := f.next(broken)
	require.Equal(t, policydir.StateKept, status.State())
	require.Contains(t, status.LastError, "the policy directory cannot be read")
	require.True(t, f.allowed("y"))
	require.False(t, f.allowed("x"))

	require.NoError(t, os.Mkdir(dir, 0o700))
	f.write("a.yaml", text("a", "*"))
	f.write("deny.yaml", text("deny", "!y"))
	f.until(func() bool { return !f.allowed("y") })
	require.True(t, f.allowed("x"))

	// The new directory is watched, not the old one.
	f.write("deny.yaml", text("deny", "!x"))
	f.until(func() bool { return !f.allowed("x") })
}

// Whoever takes the directory away takes every rule with it, and none comes back by itself.
func TestDirectoryAwayForLongRefuses(t *testing.T) {
	for name, away := range map[string]func(t *testing.T, dir string){
		"removed": func(t *testing.T, dir string) { require.NoError(t, os.RemoveAll(dir)) },
		"renamed": func(t *testing.T, dir string) { require.NoError(t, os.Rename(dir, dir+"-away")) },
		"a file in its place": func(t *testing.T, dir string) {
			require.NoError(t, os.Rename(dir, dir+"-away"))
			require.NoError(t, os.WriteFile(dir, nil, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "policies")
			require.NoError(t, os.Mkdir(dir, 0o700))
			f := &folder{t: t, dir: dir}
			f.write("a.yaml", text("a", "*"))
			f.write("deny.yaml", text("deny", "!x"))
			f = open(t, dir, func(o *policydir.Options) {
				o.Rescan, o.Grace, o.Absence = 20*time.Millisecond, time.Minute, 50*time.Millisecond
			})
			require.True(t, f.allowed("y"))
			away(t, dir)
			status := f.next(func(s policydir.Status) bool { return s.State() == policydir.StateRefusing })
			require.Nil(t, f.watcher.Current())
			require.Contains(t, status.LastError, "the policy directory cannot be read")
			require.Zero(t, status.Rules)
			require.Empty(t, status.Files)

			require.NoError(t, os.RemoveAll(dir))
			require.NoError(t, os.Mkdir(dir, 0o700))
			f.write("b.yaml", text("b", "z"))
			status = f.next(inForce)
			require.Equal(t, []string{"b.yaml"}, status.Files)
			require.True(t, f.allowed("z"))
			require.False(t, f.allowed("y"), "a rule that is not in the directory")
		})
	}
}

// A file that nobody can read is no directory that is away.
func TestDirectoryWithABrokenFileKeepsTheSet(t *testing.T) {
	dir := t.TempDir()
	f := &folder{t: t, dir: dir}
	f.write("a.yaml", text("a", "x"))
	f = open(t, dir, func(o *policydir.Options) { o.Rescan, o.Absence = time.Millisecond, time.Millisecond })
	f.write("b.yaml", "broken")
	status := f.next(broken)
	require.Equal(t, policydir.StateKept, status.State())
	f.write("a.yaml", text("a", "y"))
	for range 20 {
		<-time.After(2 * time.Millisecond)
		require.NotNil(t, f.watcher.Current())
	}
	require.True(t, f.allowed("x"))
}

func TestRenamedFileStaysInForce(t *testing.T) {
	dir := t.TempDir()
	f := &folder{t: t, dir: dir}
	f.write("deny.yaml", text("deny", "!x"))
	f = open(t, dir, nil)
	require.NoError(t, os.Rename(filepath.Join(dir, "deny.yaml"), filepath.Join(dir, "deny2.yaml")))
	status := f.next(inForce)
	require.Equal(t, []string{"deny2.yaml"}, status.Files)
	require.Empty(t, f.changes)
}

func TestStatusFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), policydir.StatusFile)
	_, err := policydir.ReadStatus(path)
	require.ErrorIs(t, err, os.ErrNotExist)

	f := open(t, t.TempDir(), nil)
	want := f.watcher.Status()
	require.NoError(t, policydir.WriteStatus(path, want))
	want.LastError = "broken"
	require.NoError(t, policydir.WriteStatus(path, want), "an old file is replaced")
	got, err := policydir.ReadStatus(path)
	require.NoError(t, err)
	require.True(t, want.LoadedAt.Equal(got.LoadedAt))
	got.LoadedAt = want.LoadedAt
	require.Equal(t, want, got)

	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1, "no temporary file stays")

	require.Error(t, policydir.WriteStatus(filepath.Join(path, "x"), want))
	require.NoError(t, os.WriteFile(path, []byte("{"), 0o600))
	_, err = policydir.ReadStatus(path)
	require.ErrorContains(t, err, "policydir: status "+path)
	require.Equal(t, policydir.StateRefusing, policydir.Status{}.State())
}

// Several doors of one process write beside one another, whatever they are called.
func TestStatusFilesOfSeveralDoors(t *testing.T) {
	for door, want := range map[string]string{"cart": "/run/guards/shop@cart.json", "../../x": "/run/guards/shop@..%2F..%2Fx.json", "a@b": "/run/guards/shop@a@b.json"} {
		path := policydir.StatusFileOf("/run/guards/shop.json", door)
		require.Equal(t, want, path)
		require.Equal(t, "/run/guards/shop.json", policydir.StatusFileBeside(path))
	}
	require.Equal(t, "/home/me@work/shop.json", policydir.StatusFileBeside("/home/me@work/shop.json"))
}

func TestAnnounce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.json")
	var said []string
	announce := policydir.Announce(func(text string) { said = append(said, text) }, file, "/dev/null/b.json")
	announce(policydir.Status{App: "shop", LastError: "broken", Warnings: []string{"odd", "even"}})
	require.Equal(t, []string{"broken", "odd", "even"}, said[:3])
	require.Len(t, said, 4)
	require.Contains(t, said[3], "the status could not be written: policydir: status: ")
	status, err := policydir.ReadStatus(file)
	require.NoError(t, err)
	require.Equal(t, "shop", status.App)
}
