// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/dapr/dapr/cmd/scheduler/options"
	"github.com/dapr/dapr/pkg/security"
	"go.etcd.io/etcd/server/v3/embed"
)

// jobs is the database of a Scheduler that stands alone. The one that Dapr embeds
// (pkg/scheduler/server/internal/etcd) asks nobody who he is: its clients come by a
// TCP port, without TLS, so that every user of the host could read, add and remove
// the jobs of every app, and with them the timers and activities of its workflows.
// This one is reached by a socket in a folder that its user alone can enter, and it
// has no port for other members, since there are none. Its files are Dapr's.
type jobs struct {
	etcd   *embed.Etcd
	folder *os.File
	socket string
}

// openJobs starts the database and returns when it is ready.
func openJobs(ctx context.Context, opts *options.Options) (_ *jobs, err error) {
	if len(opts.EtcdInitialCluster) > 1 {
		return nil, errors.New("--etcd-initial-cluster: one machine has one scheduler, and its database no other members")
	}
	dir := filepath.Join(opts.EtcdDataDir, security.CurrentNamespace()+"-"+opts.ID)
	if err = os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err = os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a folder has to be entered
		return nil, err
	}
	j := &jobs{}
	defer func() {
		if err != nil {
			err = errors.Join(err, j.close())
		}
	}()
	if j.folder, err = os.Open(dir); err != nil {
		return nil, err
	}
	// The path of a socket has 107 bytes at most (unix(7)), and that of the folder may have more.
	j.socket = fmt.Sprintf("/proc/self/fd/%d/etcd.sock", j.folder.Fd())
	config, err := jobsConfig(opts, dir, j.socket)
	if err != nil {
		return nil, err
	}
	if j.etcd, err = embed.StartEtcd(config); err != nil {
		return nil, err
	}
	select {
	case <-j.etcd.Server.ReadyNotify():
		return j, nil
	case err = <-j.etcd.Err():
		return nil, err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// jobsConfig is what Dapr gives its own, but for who can reach it.
func jobsConfig(opts *options.Options, dir, socket string) (*embed.Config, error) {
	interval, err := time.ParseDuration(opts.EtcdBackendBatchInterval)
	if err != nil {
		return nil, fmt.Errorf("--etcd-backend-batch-interval: %w", err)
	}
	config := embed.NewConfig()
	config.Name = opts.ID
	config.Dir = filepath.Join(dir, "dapr-0.1")
	config.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:2380"}} // a name: nobody listens or connects there
	config.InitialCluster = config.InitialClusterFromName(opts.ID)
	config.ListenPeerUrls = nil
	config.ListenClientUrls = []url.URL{{Scheme: "unix", Path: socket}}
	config.EnableGRPCGateway = false
	config.LogLevel = "info"
	config.MaxRequestBytes = math.MaxInt32
	config.ExperimentalWarningApplyDuration = 5 * time.Second
	config.QuotaBackendBytes = opts.EtcdSpaceQuota
	config.AutoCompactionMode = opts.EtcdCompactionMode
	config.AutoCompactionRetention = opts.EtcdCompactionRetention
	config.MaxSnapFiles = opts.EtcdMaxSnapshots
	config.MaxWalFiles = opts.EtcdMaxWALs
	config.SnapshotCount = opts.EtcdSnapshotCount
	config.BackendBatchLimit = opts.EtcdBackendBatchLimit
	config.BackendBatchInterval = interval
	config.MaxTxnOps = opts.EtcdMaxTxnOps
	config.ExperimentalBootstrapDefragThresholdMegabytes = opts.EtcdDefragThresholdMB
	config.InitialElectionTickAdvance = opts.EtcdInitialElectionTickAdvance
	config.Metrics = opts.EtcdMetrics
	return config, nil
}

// endpoint is what a client of the same process connects to.
func (j *jobs) endpoint() string { return "unix://" + j.socket }

// run returns when the database fails or the context ends.
func (j *jobs) run(ctx context.Context) error {
	select {
	case err := <-j.etcd.Err():
		return fmt.Errorf("database of the jobs: %w", err)
	case <-ctx.Done():
		return nil
	}
}

func (j *jobs) close() error {
	if j.etcd != nil {
		j.etcd.Close()
	}
	if j.folder != nil {
		return j.folder.Close()
	}
	return nil
}
