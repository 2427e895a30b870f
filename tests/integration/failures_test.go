// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/journal"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
)

// However the sidecar ends, what reached the server was on record before.
func TestKillNineUnderLoad(t *testing.T) {
	t.Parallel()
	m := startMesh(t, meshOptions{mcp: testkit.MCPOptions{JSON: true}})
	bundle := m.bundle()
	endpoint, pid := m.endpoint("alice"), m.app("server").DaprdPID
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var served atomic.Int64
	var callers sync.WaitGroup
	for caller := range 8 {
		callers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				got, err := post(ctx, endpoint, call("echo", fmt.Sprintf("caller %d call %d", caller, i)))
				if err != nil || got.status != 200 {
					return
				}
				served.Add(1)
			}
		})
	}
	m.eventually(func() bool { return served.Load() > 200 })
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	<-m.domain.Done()
	stop()
	callers.Wait()

	read := testkit.ReadJournal(t, m.options.journal, bundle)
	intended := map[receipt.Digest]bool{}
	for _, intent := range read.Intents {
		intended[intent.RequestDigest] = true
	}
	reached := 0
	for _, request := range m.server.Requests() {
		if request.Path != "/mcp" {
			continue
		}
		reached++
		require.True(t, intended[receipt.Sum([]byte(request.Body))], "no intent for %s", request.Body)
	}
	require.GreaterOrEqual(t, reached, 200)
	require.GreaterOrEqual(t, len(read.Receipts), int(served.Load()), "each answer that came back has its receipt")

	again, err := journal.Open(journal.Options{Dir: m.options.journal})
	require.NoError(t, err)
	_, err = again.Append(journal.KindIntent, []byte(`{}`))
	require.NoError(t, err)
	require.NoError(t, again.Close())
}

// A full disk refuses, keeps what was written, and ends when there is room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mount("custody-test", dir, "tmpfs", 0, "size=512k"); err != nil {
		require.Empty(t, os.Getenv("CUSTODY_CI"), "CI must be able to mount a small tmpfs: %v", err)
		t.Skipf("a small tmpfs cannot be mounted here (run as root): %v", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	filler := filepath.Join(dir, "filler")
	require.NoError(t, os.WriteFile(filler, make([]byte, 400<<10), 0o600))
	m := startMesh(t, meshOptions{mcp: testkit.MCPOptions{JSON: true}, journal: filepath.Join(dir, "journal")})

	answeredOK := 0
	for status := 200; status == 200; {
		require.Less(t, answeredOK, 10_000, "the disk does not fill up")
		if status = m.post("alice", call("echo", "x")).status; status == 200 {
			answeredOK++
			continue
		}
		require.Equal(t, 503, status)
	}
	require.NotZero(t, answeredOK)
	// The disk may have filled up between an intent and its receipt: that call has reached the server.
	reached := len(m.server.Requests())
	for range 20 {
		require.Equal(t, 503, m.post("alice", call("echo", "x")).status)
		require.Equal(t, 503, m.post("bob", call("echo", "x")).status, "a refusal that cannot be recorded is told as such")
	}
	require.Len(t, m.server.Requests(), reached)
	require.Len(t, okReceipts(m.journal()), answeredOK, "the earlier records are whole")

	require.NoError(t, os.Remove(filler))
	require.Equal(t, 200, m.post("alice", call("echo", "x")).status)
	require.Len(t, okReceipts(m.journal()), answeredOK+1)
}

func okReceipts(j testkit.Journal) []*receipt.Receipt {
	var ok []*receipt.Receipt
	for _, r := range j.Receipts {
		if r.Outcome.Status == receipt.StatusOK {
			ok = append(ok, r)
		}
	}
	return ok
}

// A policy that is broken at start lets nothing through, and says where it is broken.
func TestBrokenPolicyAtStart(t *testing.T) {
	t.Parallel()
	m := startMesh(t, meshOptions{mcp: testkit.MCPOptions{JSON: true}, policy: "apiVersion: custody.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: x}\nspec:\n  rulez: []\n"})
	require.Equal(t, 503, m.post("alice", call("echo", "x")).status)
	require.Contains(t, m.log(), "mesh.yaml:5")
	require.Contains(t, m.log(), "rulez")
	m.write("policies/mesh.yaml", meshPolicy)
	m.eventually(func() bool { return m.post("alice", call("echo", "x")).status == 200 })
	for _, request := range m.server.Requests() {
		require.True(t, request.Path == "/dapr/config" || strings.Contains(request.Body, "echo"))
	}
}
