// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"os"

	"github.com/dapr/components-contrib/state"
	"github.com/dapr/kit/logger"

	"github.com/dapr-custody/custody/components/state/backends"
	"github.com/dapr-custody/custody/components/state/guarded"
)

const guardedStoreName = "custody"

// newGuardedStore makes state.custody over the stores that this daprd carries.
func (d *daemon) newGuardedStore(log logger.Logger) state.Store {
	return guarded.New(guarded.Options{Backends: backends.All(), Sidecar: d.stores, JournalSuffix: os.Getenv(journalSuffixEnv)}, log)
}

// currentStoreHost is what a door before a store knows of this sidecar.
func (d *daemon) currentStoreHost() (guarded.Host, error) {
	host, err := d.currentHost()
	if err != nil {
		return guarded.Host{}, err
	}
	return guarded.Host{
		ID: host.ID, AppID: host.AppID, Namespace: host.Namespace, SVIDs: host.SVIDs, Bundles: host.Bundles, StatusFile: host.StatusFile,
	}, nil
}
