// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/dapr/components-contrib/bindings"
	"github.com/dapr/components-contrib/state"
	spiffecontext "github.com/dapr/kit/crypto/spiffe/context"
	"github.com/dapr/kit/logger"

	"github.com/dapr-custody/custody/cmd/components/server"
	"github.com/dapr-custody/custody/components/bindings/postgres"
	"github.com/dapr-custody/custody/components/state/backends"
	"github.com/dapr-custody/custody/components/state/guarded"
	"github.com/dapr-custody/custody/internal/budget"
	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/identity"
	"github.com/dapr-custody/custody/internal/journal"
	"github.com/dapr-custody/custody/internal/peer"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/policydir"
	"github.com/dapr-custody/custody/internal/rate"
	"github.com/dapr-custody/custody/internal/serverfile"
	"github.com/dapr-custody/custody/internal/txn"
)

// kindCall is what a call is recorded as whose caller is not known: there is no action yet that policy could decide.
const kindCall = "component.call"

// doors are what all components of the server have in common.
type doors struct {
	config   *serverfile.File
	logger   logger.Logger
	journal  *journal.Writer
	policies *policydir.Watcher
	rates    *rate.Limiter
	// entrance records who is not known, state what is asked of state stores.
	entrance, state *gate.Gate
	tokens          *txn.Verifier
	registrations   *peer.Folder
	stores          *stores
	sql             *postgres.Door // nil where no databases are served
}

func openDoors(f *serveFlags, config *serverfile.File, me *self) (d *doors, err error) {
	d = &doors{config: config, logger: logger.NewLogger("custody-components")}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	if d.journal, err = journal.Open(journal.Options{Dir: config.JournalDir, Durability: journal.Durability(config.Durability)}); err != nil {
		return d, err
	}
	if d.rates, err = rate.New(rate.Options{File: config.RateFile, Now: time.Now}); err != nil {
		return d, err
	}
	if d.policies, err = d.openPolicies(f, me); err != nil {
		return d, err
	}
	if d.entrance, err = d.gate(me, "components"); err != nil {
		return d, err
	}
	if d.state, err = d.gate(me, guarded.Door); err != nil {
		return d, err
	}
	d.tokens = txn.NewVerifier(me.bundles)
	namespace, _, _ := identity.App(me.id) // openPolicies had it checked
	if d.stores, err = loadStores(config.Stores, me.id.TrustDomain(), namespace, os.LookupEnv); err != nil {
		return d, err
	}
	if d.sql, err = d.openSQL(me); err != nil {
		return d, err
	}
	if !me.beside {
		d.registrations, err = peer.OpenFolder(f.registrations, peer.FolderOptions{Changed: func(registrations int, err error) {
			d.log("%d registrations are in force (%s)%s", registrations, f.registrations, because(err))
		}})
	}
	return d, err
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return fmt.Sprintf("; what the files say now cannot be used: %v", err)
}

func (d *doors) openPolicies(f *serveFlags, me *self) (*policydir.Watcher, error) {
	namespace, app, ok := identity.App(me.id)
	if !ok {
		return nil, fmt.Errorf("%s is not the SPIFFE ID of an app: app IDs in policies would have no namespace", me.id)
	}
	files := []string{filepath.Join(d.config.JournalDir, policydir.StatusFile)}
	if f.statusFile != "" {
		files = append(files, f.statusFile)
	}
	return policydir.Open(policydir.Options{
		Dir: d.config.PolicyDir, Compile: policy.CompileOptions{TrustDomain: me.id.TrustDomain(), Namespace: namespace},
		App: app, Guard: d.config.Name, RatesKept: d.config.RateFile != "",
		OnChange: policydir.Announce(func(text string) { d.log("policy: %s", text) }, files...),
	})
}

func (d *doors) gate(me *self, door string) (*gate.Gate, error) {
	return gate.New(gate.Options{
		Door: door, Policy: d.policies.Current, SVIDs: me.svids, Journal: d.journal, Rates: d.rates, Now: time.Now,
	})
}

// server makes the server with everything that stands behind its doors.
func (d *doors) server(f *serveFlags, me *self) (*server.Server, error) {
	attested := peer.Options{Wait: f.registrationWait, Refused: func(process identity.Process, err error) { d.log("%s: %v", process, err) }}
	if me.beside {
		verifier := identity.NewVerifier(me.bundles, time.Now)
		attested.Own = func() (identity.Caller, error) { return identity.OwnSVID(verifier, me.svids) }
	} else {
		attested.Match = d.registrations.Match
	}
	var binding func() bindings.OutputBinding
	if d.sql != nil {
		binding = d.sql.Binding
	}
	return server.New(server.Options{
		Sockets: f.sockets, Instances: f.instances,
		Credentials: peer.NewCredentials(attested),
		Caller: func(ctx context.Context) (identity.Caller, error) {
			caller, _, err := peer.FromContext(ctx)
			return caller, err
		},
		Refused:   d.refused,
		PerCaller: budget.Limits{Requests: d.config.Requests, Bytes: d.config.Bytes},
		Exceeded:  d.turnAway,
		Context:   func(ctx context.Context) context.Context { return spiffecontext.WithX509(ctx, me.svids) },
		State:     d.newStore, Binding: binding,
		Log: d.log,
	})
}

func (d *doors) newStore() state.Store {
	return guarded.New(guarded.Options{
		Backends: backends.All(),
		Access:   &guarded.Access{Gate: d.state, Caller: server.Caller, Tokens: d.tokens, Metadata: d.stores.metadata, Journal: d.journal},
	}, d.logger)
}

// refused records a call whose caller is not known.
func (d *doors) refused(ctx context.Context, component, name string, why error) string {
	_, process, _ := peer.FromContext(ctx) // Its error is why.
	return d.turnAway(identity.Caller{}, component, name, fmt.Sprintf("%v (%s)", why, process))
}

// turnAway records a call that no door is asked about, since its caller is not known or has no room for it.
func (d *doors) turnAway(caller identity.Caller, component, name, why string) string {
	_, err := d.entrance.Check(gate.Ask{
		Caller:  caller,
		Action:  policy.Action{Kind: kindCall, Server: name, Name: component},
		Request: sha256.Sum256([]byte(component + "\n" + name)),
		Refusal: why,
	})
	var denied *gate.DeniedError
	if errors.As(err, &denied) {
		return denied.Reference
	}
	d.log("a call to component %s that was refused could not be recorded (%s): %v", name, why, err)
	var closed *gate.ClosedError
	if errors.As(err, &closed) {
		return closed.Reference
	}
	return "none"
}

func (d *doors) log(format string, args ...any) { d.logger.Warnf(format, args...) }

func (d *doors) close() error {
	var errs []error
	if d.sql != nil {
		errs = append(errs, d.sql.Close())
	}
	if d.policies != nil {
		errs = append(errs, d.policies.Close())
	}
	if d.rates != nil {
		errs = append(errs, d.rates.Close())
	}
	if d.journal != nil {
		errs = append(errs, d.journal.Close())
	}
	return errors.Join(errs...)
}
