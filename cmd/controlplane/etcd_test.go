// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapr/dapr/cmd/scheduler/options"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func schedulerOf(t *testing.T, args ...string) *options.Options {
	t.Helper()
	opts, err := options.New(args)
	require.NoError(t, err)
	return opts
}

// openTestJobs opens the database in a folder with a path that no socket could have, and gives a client of it.
func openTestJobs(t *testing.T, dir string) (*jobs, *clientv3.Client) {
	t.Helper()
	db, err := openJobs(t.Context(), schedulerOf(t, "--etcd-data-dir", dir))
	require.NoError(t, err)
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{db.endpoint()}})
	require.NoError(t, err)
	return db, client
}

func TestJobsAreReachedByTheirUserOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	kept := filepath.Join(dir, "default-dapr-scheduler-server-0")
	require.NoError(t, os.MkdirAll(kept, 0o755))

	db, client := openTestJobs(t, dir)
	require.Empty(t, db.etcd.Peers)
	require.Len(t, db.etcd.Clients, 1)
	require.Equal(t, "unix", db.etcd.Clients[0].Addr().Network())
	info, err := os.Stat(kept)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o700), info.Mode().Perm())
	_, err = client.Put(t.Context(), "job", "due")
	require.NoError(t, err)
	require.NoError(t, client.Close())
	require.NoError(t, db.close())

	// What was kept is there at the next start, whose process has another socket.
	db, client = openTestJobs(t, dir)
	got, err := client.Get(t.Context(), "job")
	require.NoError(t, err)
	require.Len(t, got.Kvs, 1)
	require.Equal(t, "due", string(got.Kvs[0].Value))
	require.NoError(t, client.Close())
	require.NoError(t, db.close())
}

func TestJobsAreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"other members":  {[]string{"--etcd-initial-cluster", "a=http://127.0.0.1:1,b=http://127.0.0.1:2"}, "no other members"},
		"no folder":      {[]string{"--etcd-data-dir", file}, "not a directory"},
		"not a duration": {[]string{"--etcd-data-dir", t.TempDir(), "--etcd-backend-batch-interval", "soon"}, "--etcd-backend-batch-interval"},
	} {
		_, err := openJobs(t.Context(), schedulerOf(t, test.args...))
		require.ErrorContains(t, err, test.want, name)
	}
}
