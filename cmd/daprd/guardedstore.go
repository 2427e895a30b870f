// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"os"

	"github.com/dapr/components-contrib/state"
	stateinmemory "github.com/dapr/components-contrib/state/in-memory"
	statepgv2 "github.com/dapr/components-contrib/state/postgresql/v2"
	stateredis "github.com/dapr/components-contrib/state/redis"
	statesqlite "github.com/dapr/components-contrib/state/sqlite"
	"github.com/dapr/kit/logger"

	"github.com/dapr-custody/custody/components/state/guarded"
)

// newGuardedStore makes state.custody over the stores that this daprd carries.
func newGuardedStore(log logger.Logger) state.Store {
	return guarded.New(guarded.Options{
		Backends: map[string]func(logger.Logger) state.Store{
			"in-memory":  stateinmemory.NewInMemoryStateStore,
			"sqlite":     statesqlite.NewSQLiteStateStore,
			"postgresql": statepgv2.NewPostgreSQLStateStore,
			"redis":      stateredis.NewRedisStateStore,
		},
		JournalSuffix: os.Getenv(journalSuffixEnv),
	}, log)
}
