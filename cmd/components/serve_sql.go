// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dapr-custody/custody/cmd/components/server"
	"github.com/dapr-custody/custody/components/bindings/postgres"
	"github.com/dapr-custody/custody/internal/database"
	"github.com/dapr-custody/custody/internal/dbca"
	"github.com/dapr-custody/custody/internal/identity"
)

var errNobody = errors.New("the request has no caller")

// openSQL opens the SQL door on the databases that the file names; nil where it names none.
func (d *doors) openSQL(me *self) (*postgres.Door, error) {
	if d.config.Databases == "" {
		return nil, nil //nolint:nilnil // a server needs none
	}
	documents, err := loadDatabases(d.config.Databases, "")
	if err != nil {
		return nil, err
	}
	byName := map[string]*database.Database{}
	for i := range documents {
		byName[documents[i].Name] = &documents[i]
	}
	ca, err := dbca.Open(d.config.CA)
	if err != nil {
		return nil, fmt.Errorf("the authority for databases: %w", err)
	}
	gate, err := d.gate(me, postgres.DoorName)
	if err != nil {
		return nil, err
	}
	namespace, _, ok := identity.App(me.id)
	if !ok {
		return nil, fmt.Errorf("%s is not the SPIFFE ID of an app: app IDs in documents would have no namespace", me.id)
	}
	return postgres.New(postgres.Options{
		Databases: func(name string) (*database.Database, bool) { one, ok := byName[name]; return one, ok },
		Gate:      gate, Policy: d.policies.Current, CA: ca, Tokens: d.tokens,
		Caller:      callerOf,
		TrustDomain: me.id.TrustDomain(), Namespace: namespace,
		Now: time.Now, Log: d.log,
	})
}

func callerOf(ctx context.Context) (identity.Caller, error) {
	caller := server.Caller(ctx)
	if caller.IsZero() {
		return caller, errNobody
	}
	return caller, nil
}
