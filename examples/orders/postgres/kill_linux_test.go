// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/dapr-custody/custody/examples/orders/postgres"
)

const holderVariable = "CUSTODY_TEST_HOLD_CLUSTER_IN"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holderVariable); dir != "" {
		holdCluster(dir)
	}
	os.Exit(m.Run())
}

// holdCluster starts a cluster, says so, and waits to be killed.
func holdCluster(dir string) {
	database, err := postgres.Start(context.Background(), postgres.Options{Dir: dir})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready", database.Origin())
	select {}
}

func TestKillOfTheStarterEndsTheCluster(t *testing.T) {
	dir := openDir(t)
	holder := exec.Command(os.Args[0])
	holder.Env = append(os.Environ(), holderVariable+"="+dir)
	output, err := holder.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, holder.Start())
	line, err := bufio.NewReader(output).ReadString('\n')
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(line, "ready "), line)

	postmaster := postmasterOf(t, dir)
	pidfd, err := unix.PidfdOpen(postmaster, 0)
	require.NoError(t, err)
	require.NoError(t, holder.Process.Kill())
	require.Error(t, holder.Wait())

	// A pidfd becomes readable when its process ends.
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 30_000)
	require.NoError(t, err)
	require.Equal(t, 1, n, "postgres %d still runs", postmaster)
	require.NoError(t, unix.Close(pidfd))
}

func postmasterOf(t *testing.T, dir string) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "custody-orders-*", "data", "postmaster.pid"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	text, err := os.ReadFile(files[0])
	require.NoError(t, err)
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	require.NoError(t, err)
	return pid
}
