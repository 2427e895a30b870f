// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	contribmetadata "github.com/dapr/components-contrib/metadata"
	"github.com/dapr/components-contrib/state"
	postgresv1 "github.com/dapr/components-contrib/state/postgresql/v1"
	postgresv2 "github.com/dapr/components-contrib/state/postgresql/v2"
	"github.com/dapr/components-contrib/state/redis"
	"github.com/dapr/components-contrib/state/sqlite"
	"github.com/dapr/kit/logger"
)

// readable is a store whose keys can be listed.
type readable interface {
	state.Store
	state.KeysLiker
}

// newStore makes a store by the type and version of its component, as daprd names them.
func newStore(kind, version string, log logger.Logger) (state.Store, error) {
	switch kind + "/" + version {
	case "state.sqlite/v1", "state.sqlite/", "state.sqlite3/v1", "state.sqlite3/":
		return sqlite.NewSQLiteStateStore(log), nil
	case "state.redis/v1", "state.redis/":
		return redis.NewRedisStateStore(log), nil
	case "state.postgresql/v2", "state.postgres/v2":
		return postgresv2.NewPostgreSQLStateStore(log), nil
	case "state.postgresql/v1", "state.postgres/v1", "state.postgresql/", "state.postgres/":
		return postgresv1.NewPostgreSQLStateStore(log), nil
	case "state.in-memory/v1", "state.in-memory/":
		return nil, errors.New("state.in-memory lives within daprd and cannot be read from outside")
	}
	return nil, fmt.Errorf("stores of type %s, version %s, cannot be read; state.sqlite, state.postgresql and state.redis can", kind, version)
}

// openStore opens the store of a component. It deletes nothing that has expired; SQLite does not make the file, and the
// others get the tables that daprd would make, where they lack them.
func openStore(ctx context.Context, c *component, getenv func(string) string, messages io.Writer) (readable, error) {
	log := logger.NewLogger("custody-components")
	log.SetOutput(messages)
	log.SetOutputLevel(logger.ErrorLevel)
	properties, err := c.properties(getenv)
	if err != nil {
		return nil, err
	}
	kind, version := c.Spec.Type, c.Spec.Version
	if kind == "state.custody" {
		kind, version = backendOf(properties)
	}
	store, err := newStore(kind, version, log)
	if err != nil {
		return nil, err
	}
	if kind != "state.redis" {
		drop(properties, "cleanupIntervalInSeconds")
		drop(properties, "cleanupInterval")
		properties["cleanupInterval"] = "0"
	}
	if strings.HasPrefix(kind, "state.sqlite") {
		if err := existingFile(properties); err != nil {
			return nil, err
		}
	}
	listed, ok := store.(readable)
	if !ok {
		return nil, fmt.Errorf("stores of type %s cannot list their keys", c.Spec.Type)
	}
	if err := store.Init(ctx, state.Metadata{Base: contribmetadata.Base{Name: c.Metadata.Name, Properties: properties}}); err != nil {
		return nil, fmt.Errorf("opening component %s (%s): %w", c.Metadata.Name, c.Spec.Type, err)
	}
	return listed, nil
}

// backendOf gives the store behind a state.custody, and leaves it its own metadata (components/state/guarded).
func backendOf(properties map[string]string) (kind, version string) {
	_, backend := get(properties, "backend")
	for _, own := range []string{"backend", "journalDir", "durability"} {
		drop(properties, own)
	}
	if backend == "postgresql" {
		return "state.postgresql", "v2"
	}
	return "state." + backend, "v1"
}

// existingFile has SQLite open a file that is there, and make none.
func existingFile(properties map[string]string) error {
	key, connection := get(properties, "connectionString")
	if connection == "" {
		key, connection = get(properties, "url")
	}
	path, query, _ := strings.Cut(connection, "?")
	if strings.Contains(path, ":memory:") || strings.Contains(query, "mode=memory") {
		return errors.New("a database in memory lives within daprd and cannot be read from outside")
	}
	if !strings.Contains(query, "mode=") {
		properties[key] = path + "?" + strings.TrimPrefix(query+"&mode=rw", "&")
	}
	return nil
}
