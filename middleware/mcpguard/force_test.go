// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/middleware/mcpguard"
)

// fleet is some guards over one policy folder, each with a journal and an
// address of its own, before one server. alice calls.
type fleet struct {
	t        *testing.T
	policies string
	urls     []string // of the guards
	client   *http.Client
	reached  sync.Map // how often a tool was called at the server, *atomic.Int64 by name
}

func newFleet(t *testing.T, size int, files map[string]string) *fleet {
	t.Helper()
	f := &fleet{t: t, policies: filepath.Join(t.TempDir(), "policies")}
	require.NoError(t, os.Mkdir(f.policies, 0o700))
	for name, text := range files {
		f.write(name, text)
	}
	backend := httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(backend.Close)
	ca := testkit.NewCA(t, "custody.local")
	svid, alice := ca.SVID("server"), ca.SVID("alice")
	factory := mcpguard.NewFactory(func() (mcpguard.Host, error) {
		return mcpguard.Host{
			AppID: "server", Namespace: "default", AppAddress: strings.TrimPrefix(backend.URL, "http://"), ID: svid.ID,
			SVIDs: svid, Bundles: x509bundle.NewSet(ca.Bundle()), Log: func(string, ...any) {},
			// On a machine without time a file that is put back at once may be away for long.
			PolicyGrace: time.Minute,
		}, nil
	})
	t.Cleanup(func() { require.NoError(t, factory.Close()) })
	caller := &peer.Peer{AuthInfo: credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: alice.Certificates}}}
	for i := range size {
		guard, err := factory.Make(fmt.Sprintf("guard-%d", i), map[string]string{
			"policyDir": f.policies, "journalDir": filepath.Join(t.TempDir(), "journal"),
		})
		require.NoError(t, err)
		front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
			out := in.Clone(peer.NewContext(in.Context(), caller))
			out.RequestURI, out.URL.Scheme, out.URL.Host = "", "http", strings.TrimPrefix(backend.URL, "http://")
			guard.Handler(http.HandlerFunc(toApp)).ServeHTTP(w, out)
		}))
		t.Cleanup(front.Close)
		f.urls = append(f.urls, front.URL+"/mcp")
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	f.client = &http.Client{Transport: transport}
	return f
}

// serve is the server. It counts the calls of each tool, which stands in the arguments too.
func (f *fleet) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, tool, _ := strings.Cut(string(body), `"text":"`)
	tool, _, _ = strings.Cut(tool, `"`)
	count, _ := f.reached.LoadOrStore(tool, new(atomic.Int64))
	count.(*atomic.Int64).Add(1)
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":7,"result":{"content":[]}}`) // the caller may be gone
}

func (f *fleet) passed(tool string) int64 {
	count, ok := f.reached.Load(tool)
	if !ok {
		return 0
	}
	return count.(*atomic.Int64).Load()
}

func (f *fleet) path(name string) string { return filepath.Join(f.policies, name) }

func (f *fleet) write(name, text string) {
	f.t.Helper()
	require.NoError(f.t, os.WriteFile(f.path(name), []byte(text), 0o600))
}

// call calls a tool at one guard and gives the status.
func (f *fleet) call(guard int, tool string) (int, error) {
	request, err := http.NewRequestWithContext(f.t.Context(), http.MethodPost, f.urls[guard], strings.NewReader(call(tool, tool)))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	resp, err := f.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// under has callers call the tools at every guard in turn while during runs, and
// counts the statuses.
func (f *fleet) under(callers int, tools []string, during func()) map[int]int {
	f.t.Helper()
	var group sync.WaitGroup
	done := make(chan struct{})
	seen := make([]map[int]int, callers)
	for i := range callers {
		seen[i] = map[int]int{}
		group.Go(func() {
			for at := i; ; at++ {
				select {
				case <-done:
					return
				default:
				}
				status, err := f.call(at%len(f.urls), tools[at/len(f.urls)%len(tools)])
				if err != nil {
					f.t.Errorf("caller %d: %v", i, err)
					return
				}
				seen[i][status]++
			}
		})
	}
	func() {
		defer group.Wait()
		defer close(done)
		during()
	}()
	all := map[int]int{}
	for _, counts := range seen {
		for status, n := range counts {
			all[status] += n
		}
	}
	return all
}

// follow waits until all guards answer a call of the tool so.
func (f *fleet) follow(tool string, want int) {
	f.t.Helper()
	for i := range f.urls {
		require.Eventually(f.t, func() bool {
			status, err := f.call(i, tool)
			return err == nil && status == want
		}, time.Minute, time.Millisecond)
	}
}

// saves are ways in which a program saves a file.
var saves = []func(f *fleet, name, text string){
	func(f *fleet, name, text string) { f.write(name, text) },
	func(f *fleet, name, text string) {
		f.write(".new", text)
		require.NoError(f.t, os.Rename(f.path(".new"), f.path(name)))
	},
	func(f *fleet, name, text string) { // in two parts, of which the first ends behind the first rule
		file, err := os.OpenFile(f.path(name), os.O_WRONLY|os.O_TRUNC, 0o600)
		require.NoError(f.t, err)
		at := strings.Index(text, "  - {name: r1")
		for _, part := range []string{text[:at], text[at:]} {
			_, err = file.WriteString(part)
			require.NoError(f.t, err)
			_, err = f.call(0, "w") // which takes a moment
			require.NoError(f.t, err)
		}
		require.NoError(f.t, file.Close())
	},
	func(f *fleet, name, text string) { // as editors do that keep the file before
		require.NoError(f.t, os.Rename(f.path(name), f.path(name+"~")))
		f.write(name, text)
		require.NoError(f.t, os.Remove(f.path(name+"~")))
	},
}

// rules is a policy for alice at the server; a tool after "!" is denied.
func rules(name string, tools ...string) string {
	text := "apiVersion: custody.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: " + name + "}\nspec:\n  rules:\n"
	for i, tool := range tools {
		effect := "allow"
		if denied, ok := strings.CutPrefix(tool, "!"); ok {
			effect, tool = "deny", denied
		}
		text += fmt.Sprintf("  - {name: r%d, effect: %s, from: [alice], to: {server: server, tools: [%q]}}\n", i, effect, tool)
	}
	return text
}

const (
	fleetSize    = 8
	fleetCallers = 16
	fleetEdits   = 200
)

// Under 16 callers, not one call of a tool that both policies deny passes while
// the files are edited, removed, restored, and the whole folder is moved away.
func TestNeverOpenBetweenEdits(t *testing.T) {
	// What denies stands last in its file, so that a part of the file is the worse
	// policy; the other files allow everything by themselves.
	files := map[string]string{
		"all.yaml":  rules("all", "*"),
		"a.yaml":    rules("a", "*", "!x"),
		"deny.yaml": rules("deny", "!w"),
	}
	f := newFleet(t, fleetSize, files)
	names := []string{"a.yaml", "all.yaml", "deny.yaml"}
	seen := f.under(fleetCallers, []string{"x", "w"}, func() {
		for i := range fleetEdits {
			marker := []string{"y", "z"}[i%2]
			saves[i%len(saves)](f, "a.yaml", rules("a", "*", "!x", "!"+marker))
			name := f.path(names[i%len(names)])
			switch i % 5 {
			case 1:
				require.NoError(t, os.Rename(name, name+"~"))
				// Long enough for the guards to look, and far below the time that they wait for a file.
				_, err := f.call(0, "w")
				require.NoError(t, err)
				require.NoError(t, os.Rename(name+"~", name))
			case 2:
				require.NoError(t, os.Rename(f.policies, f.policies+"-away"))
				require.NoError(t, os.Rename(f.policies+"-away", f.policies))
			case 3:
				text, err := os.ReadFile(name)
				require.NoError(t, err)
				require.NoError(t, os.Remove(name))
				require.NoError(t, os.WriteFile(name, text, 0o600))
			}
			if i%3 == 2 { // some edits are waited for, others follow at once
				f.follow(marker, http.StatusForbidden)
			}
		}
		f.follow("y", http.StatusOK)
		f.follow("z", http.StatusForbidden)
	})
	require.Zero(t, f.passed("x")+f.passed("w"), "calls passed, of %v", seen)
	require.Greater(t, seen[http.StatusForbidden], fleetEdits)
	require.Len(t, seen, 1, "only refusals by policy: %v", seen)
	require.NotZero(t, f.passed("y"), "the server is there")
}

// The twin: not one call of a tool that both policies allow is refused.
func TestNeverClosedBetweenEdits(t *testing.T) {
	f := newFleet(t, fleetSize, map[string]string{"a.yaml": rules("a", "x", "y"), "b.yaml": rules("b", "!w")})
	seen := f.under(fleetCallers, []string{"x"}, func() {
		for i := range fleetEdits {
			marker := []string{"y", "z"}[i%2]
			saves[i%len(saves)](f, "a.yaml", rules("a", "x", marker))
			if i%3 == 2 {
				f.follow(marker, http.StatusOK)
			}
		}
		f.follow("y", http.StatusForbidden)
	})
	require.Len(t, seen, 1, "nothing but answers: %v", seen)
	require.Greater(t, seen[http.StatusOK], fleetEdits)
	require.EqualValues(t, seen[http.StatusOK], f.passed("x"))
}
