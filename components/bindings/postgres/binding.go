// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dapr/components-contrib/bindings"
	"github.com/dapr/components-contrib/metadata"

	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/identity"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/receipt"
)

// Binding is one instance of the component. It is safe for concurrent use once Init has returned.
type Binding struct {
	door     *Door
	database string
	closed   atomic.Bool
}

var _ bindings.OutputBinding = (*Binding)(nil)

// Init takes the name of the database document, which is all that metadata says. If the caller is known, as it is when its
// sidecar asks for the component, the database has to be there; otherwise the first request finds out.
func (b *Binding) Init(ctx context.Context, meta bindings.Metadata) error {
	if b.closed.Load() {
		return errors.New("cannot initialize a previously-closed component")
	}
	name, err := parseMetadata(meta.Properties)
	if err != nil {
		return fmt.Errorf("bindings.custody-postgres %q: %w", meta.Name, err)
	}
	b.database = name
	if err := b.door.ready(ctx, name); err != nil {
		return fmt.Errorf("bindings.custody-postgres %q: database %s: %w", meta.Name, name, err)
	}
	return nil
}

// parseMetadata takes the name of the database. Names are matched without regard to case, as Dapr does. What it does not
// know is an error: a connection string would be a credential that nobody may hold.
func parseMetadata(properties map[string]string) (database string, err error) {
	var unknown []string
	for name, value := range properties {
		switch strings.ToLower(name) {
		case "database":
			database = strings.TrimSpace(value)
		case "direction": // Dapr's own, of every binding
		default:
			unknown = append(unknown, name)
		}
	}
	switch {
	case len(unknown) > 0:
		slices.Sort(unknown)
		return "", fmt.Errorf(`metadata %q is not known: take it out; where the database is, and who may connect, says its Database document`, unknown)
	case database == "":
		return "", errors.New(`metadata "database" is missing: name a Database document`)
	}
	return database, nil
}

// ready sees to it that a database can be used by the caller.
func (d *Door) ready(ctx context.Context, name string) error {
	b, err := d.base(name)
	if err != nil {
		return err
	}
	caller, err := d.options.Caller(ctx)
	if err != nil || caller.IsZero() {
		return nil // It is made again by the process itself, and nobody asks yet.
	}
	role, ok := b.role(caller.ID())
	if !ok {
		return d.unwelcome(name, caller)
	}
	if _, err := b.know(ctx, who{role: role.Name, caller: caller.ID()}); err != nil {
		return errors.New(told(err))
	}
	return nil
}

// unwelcome records that somebody without a role asks for a component, which its sidecar then does not get.
func (d *Door) unwelcome(name string, caller identity.Caller) error {
	say := fmt.Sprintf("its document has no role for %s", caller.ID())
	_, err := d.options.Gate.Check(gate.Ask{
		Caller: caller, Action: policy.Action{Kind: kindOpen, Server: name}, Request: receipt.Sum([]byte(name)), Refusal: reasonNoRole,
	})
	return toldOf(err, &refusal{reason: reasonNoRole, say: say + "."})
}

// Operations are those of Dapr's binding.
func (b *Binding) Operations() []bindings.OperationKind {
	return []bindings.OperationKind{operationExec, operationQuery, operationClose}
}

// Invoke does what is asked, if it may be done.
func (b *Binding) Invoke(ctx context.Context, in *bindings.InvokeRequest) (*bindings.InvokeResponse, error) {
	switch {
	case in == nil:
		return nil, errors.New("invoke request required")
	case in.Operation == operationClose:
		return nil, b.Close()
	case b.closed.Load():
		return nil, errors.New("component is closed")
	}
	started := b.door.options.Now().UTC()
	r, malformed := readRequest(in)
	answer, err := b.door.invoke(ctx, b.database, &r, malformed)
	if err != nil {
		return nil, err
	}
	ended := b.door.options.Now().UTC()
	response := &bindings.InvokeResponse{Data: answer.data, Metadata: map[string]string{
		"operation": string(r.operation), "sql": r.sql, "start-time": started.Format(time.RFC3339Nano),
		"end-time": ended.Format(time.RFC3339Nano), "duration": ended.Sub(started).String(),
	}}
	if r.operation == operationExec {
		response.Metadata["rows-affected"] = strconv.FormatInt(answer.rows, 10)
	}
	return response, nil
}

// Close makes the instance refuse everything. The sessions are the door's.
func (b *Binding) Close() error {
	b.closed.Store(true)
	return nil
}

// Closed says whether the instance refuses everything.
func (b *Binding) Closed() bool { return b.closed.Load() }

// GetComponentMetadata says what metadata.yaml says.
func (b *Binding) GetComponentMetadata() metadata.MetadataMap {
	return metadata.MetadataMap{"database": {Type: "string"}}
}
