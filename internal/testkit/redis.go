// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package testkit

import (
	"context"
	"net"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Redis starts a Redis server of its own on loopback, which keeps nothing on disk
// and ends with the test, and gives its address. Without redis-server in the path
// the test fails.
func Redis(tb testing.TB) string {
	tb.Helper()
	program, err := exec.LookPath("redis-server")
	require.NoError(tb, err, "install redis-server (Debian: apt-get install redis-server)")
	for range 5 { // The port may be taken between finding and using it.
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(tb, err)
		address := listener.Addr().String()
		port := listener.Addr().(*net.TCPAddr).Port
		require.NoError(tb, listener.Close())
		if startRedis(tb, program, address, port) {
			return address
		}
	}
	tb.Fatal("redis-server did not start")
	return ""
}

func startRedis(tb testing.TB, program, address string, port int) bool {
	tb.Helper()
	cmd := exec.Command(program, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
		"--dir", tb.TempDir(), "--daemonize", "no")
	require.NoError(tb, cmd.Start())
	ended := make(chan struct{})
	var how error
	go func() {
		how = cmd.Wait()
		close(ended)
	}()
	ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err == nil {
			require.NoError(tb, conn.Close())
			tb.Cleanup(func() {
				if err := cmd.Process.Kill(); err != nil {
					tb.Error(err)
				}
				<-ended
			})
			return true
		}
		select {
		case <-ended:
			tb.Log("redis-server ended:", how)
			return false
		case <-ctx.Done():
			tb.Fatal("redis-server does not answer")
		case <-tick.C:
		}
	}
}
