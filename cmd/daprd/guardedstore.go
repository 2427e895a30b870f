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

// newGuardedStore makes state.custody over the stores that this daprd carries.
func newGuardedStore(log logger.Logger) state.Store {
	return guarded.New(guarded.Options{Backends: backends.All(), JournalSuffix: os.Getenv(journalSuffixEnv)}, log)
}
