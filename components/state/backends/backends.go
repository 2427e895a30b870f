// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package backends lists the stores of components-contrib that can stand behind state.custody.
package backends

import (
	"github.com/dapr/components-contrib/state"
	"github.com/dapr/components-contrib/state/aws/dynamodb"
	inmemory "github.com/dapr/components-contrib/state/in-memory"
	postgresql "github.com/dapr/components-contrib/state/postgresql/v2"
	"github.com/dapr/components-contrib/state/redis"
	"github.com/dapr/components-contrib/state/sqlite"
	"github.com/dapr/kit/logger"
)

// All makes stores by the name that metadata gives them as backend.
func All() map[string]func(logger.Logger) state.Store {
	return map[string]func(logger.Logger) state.Store{
		"dynamodb":   dynamodb.NewDynamoDBStateStore,
		"in-memory":  inmemory.NewInMemoryStateStore,
		"postgresql": postgresql.NewPostgreSQLStateStore,
		"redis":      redis.NewRedisStateStore,
		"sqlite":     sqlite.NewSQLiteStateStore,
	}
}
