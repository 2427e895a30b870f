// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/dapr-custody/custody/internal/localdomain"
)

const (
	callerApp  = "caller"
	methodPath = "/v1.0/invoke/%s/method/mcp"
)

// target is where the calls of a variant go.
type target struct {
	variant
	address string
	path    string
	// The sidecars; 0 if there are none.
	callee, caller               int
	calleeProfile, callerProfile int
	journalDir                   string
	calls                        int // how many were made
}

// bench is everything that runs: the server, and one trust domain for each
// daprd, with one caller and a callee for each of its variants.
type bench struct {
	folder  string
	server  *serverProcess
	domains []*localdomain.Domain
	targets []*target
	want    []byte // the server's own answer
}

// start starts everything. If it fails, nothing is left.
func start(ctx context.Context, s settings, progress io.Writer) (_ *bench, err error) {
	b := &bench{}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.stop())
		}
	}()
	if b.folder, err = s.makeFolder(); err != nil {
		return nil, err
	}
	if b.server, err = startServer(progress); err != nil {
		return nil, err
	}
	var daprds []string
	for _, v := range s.variants {
		if v.daprd == "" {
			b.targets = append(b.targets, &target{variant: v, address: b.server.address, path: "/mcp"})
		} else if !slices.Contains(daprds, v.daprd) {
			daprds = append(daprds, v.daprd)
		}
	}
	for _, daprd := range daprds {
		fmt.Fprintf(progress, "starting the sidecars of %s\n", daprd)
		if err = b.startDomain(ctx, s, daprd); err != nil {
			return nil, err
		}
	}
	// The order of the flags, not that of the binaries.
	slices.SortFunc(b.targets, func(x, y *target) int {
		return slices.Index(variantNames(), x.name) - slices.Index(variantNames(), y.name)
	})
	return b, b.check(ctx)
}

func (b *bench) startDomain(ctx context.Context, s settings, daprd string) error {
	port, err := b.server.port()
	if err != nil {
		return err
	}
	d := newFolder(filepath.Join(b.folder, daprd), daprd)
	apps := map[string]localdomain.AppOptions{callerApp: {}}
	for _, v := range s.variants {
		if v.daprd == daprd {
			d.addCallee(v)
			apps[v.name] = localdomain.AppOptions{External: port}
		}
	}
	profiles := map[string]int{}
	if s.profile != "" {
		if profiles, err = enableProfiles(ctx, apps); err != nil {
			return err
		}
	}
	if err = d.write(); err != nil {
		return err
	}
	domain, err := localdomain.Start(ctx, localdomain.Options{
		File: filepath.Join(d.path, "dapr.yaml"), Home: filepath.Join(d.path, "home"), Environ: os.Environ(),
		Daprd: filepath.Join(s.bin, daprd), ControlPlane: filepath.Join(s.bin, "controlplane"), Apps: apps,
	})
	if err != nil {
		return err
	}
	b.domains = append(b.domains, domain)
	b.addTargets(s.variants, domain.Info(), profiles)
	return nil
}

func (b *bench) addTargets(all []variant, run localdomain.Run, profiles map[string]int) {
	apps := map[string]localdomain.RunApp{}
	for _, app := range run.Apps {
		apps[app.AppID] = app
	}
	for _, v := range all {
		callee, ok := apps[v.name]
		if !ok {
			continue
		}
		t := &target{
			variant: v, address: net.JoinHostPort("127.0.0.1", strconv.Itoa(apps[callerApp].DaprHTTPPort)),
			path: fmt.Sprintf(methodPath, v.name), callee: callee.DaprdPID, caller: apps[callerApp].DaprdPID,
			calleeProfile: profiles[v.name], callerProfile: profiles[callerApp],
		}
		for _, journal := range run.Journals {
			if journal.App == v.name {
				t.journalDir = journal.Dir
			}
		}
		b.targets = append(b.targets, t)
	}
}

// check makes sure that what is compared is what it is said to be.
func (b *bench) check(ctx context.Context) error {
	var err error
	if _, b.want, err = once(ctx, b.server.address, request(b.server.address, "/mcp", allowedTool)); err != nil {
		return err
	}
	for _, t := range b.targets {
		status, body, err := once(ctx, t.address, request(t.address, t.path, allowedTool))
		if err == nil {
			err = hasResult(status, body)
		}
		if err != nil {
			return fmt.Errorf("%s: the allowed call: %w", t.name, err)
		}
		if status, body, err = once(ctx, t.address, request(t.address, t.path, refusedTool)); err != nil {
			return fmt.Errorf("%s: the call of another tool: %w", t.name, err)
		}
		if passed := hasResult(status, body) == nil; passed == (t.middleware != "") {
			return fmt.Errorf("%s: the call of another tool: refused is %t, by a rule: %t", t.name, !passed, t.middleware != "")
		}
		t.calls += 2
	}
	return nil
}

// stop ends every process and removes the folder.
func (b *bench) stop() error {
	var errs []error
	for _, domain := range b.domains {
		errs = append(errs, domain.Stop())
	}
	if b.server != nil {
		errs = append(errs, b.server.stop())
	}
	if b.folder != "" {
		errs = append(errs, os.RemoveAll(b.folder))
	}
	return errors.Join(errs...)
}
