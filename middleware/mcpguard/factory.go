// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/journal"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/policydir"
	"github.com/dapr-custody/custody/internal/rate"
)

// Factory makes guards, and makes them anew when their component is reloaded.
// What must outlive a reload stands here: the journals, which one process holds
// open once, the sessions and tasks, and what was counted against rates.
type Factory struct {
	host func() (Host, error)

	mu       sync.Mutex
	journals map[string]*journal.Writer
	steps    map[string]*gate.Steps
	memories map[string]*memory
	limiters map[string]*rate.Limiter
	guards   map[string]*Guard
}

type parts struct {
	journal  *journal.Writer
	steps    *gate.Steps
	policies *policydir.Watcher
	memory   *memory
	rates    *rate.Limiter
	tools    *catalogue
}

// NewFactory makes a factory of guards that live in the host of the moment.
func NewFactory(host func() (Host, error)) *Factory {
	return &Factory{
		host:     host,
		journals: map[string]*journal.Writer{},
		steps:    map[string]*gate.Steps{},
		memories: map[string]*memory{},
		limiters: map[string]*rate.Limiter{},
		guards:   map[string]*Guard{},
	}
}

// Made reports whether the component of this name was made into a guard and is
// still there.
func (f *Factory) Made(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.guards[name] != nil
}

// Forget says that the component of this name is gone.
func (f *Factory) Forget(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.retire(name)
}

// Close retires every guard and closes the journals, after which the guards
// that were made refuse everything. It is called when the process ends.
func (f *Factory) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name := range f.guards {
		f.retire(name)
	}
	var errs []error
	for dir, writer := range f.journals {
		errs = append(errs, writer.Close())
		delete(f.journals, dir)
		delete(f.steps, dir)
	}
	for key, limiter := range f.limiters {
		errs = append(errs, limiter.Close())
		delete(f.limiters, key)
	}
	return errors.Join(errs...)
}

// Make makes the guard of a component. A guard without a policy is made
// nevertheless: it refuses everything until there is one.
func (f *Factory) Make(name string, properties map[string]string) (*Guard, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	meta, err := ParseMetadata(properties)
	if err != nil {
		return nil, fmt.Errorf("mcpguard %q: %w", name, err)
	}
	host, err := f.host()
	if err != nil {
		return nil, fmt.Errorf("mcpguard %q: %w", name, err)
	}
	if host.ID.IsZero() || host.SVIDs == nil || host.Bundles == nil {
		return nil, fmt.Errorf("mcpguard %q: the sidecar has no identity: start it with mTLS", name)
	}
	if meta.Server == "" {
		meta.Server = host.AppID
	}
	meta.JournalDir += host.JournalSuffix
	if meta.RateFile != "" {
		meta.RateFile += host.JournalSuffix
	}
	guard, err := f.assemble(name, meta, host)
	if err != nil {
		return nil, fmt.Errorf("mcpguard %q: %w", name, err)
	}
	f.retire(name)
	f.guards[name] = guard
	return guard, nil
}

func (f *Factory) assemble(name string, meta Metadata, host Host) (*Guard, error) {
	writer, err := f.journal(name, meta, host)
	if err != nil {
		return nil, err
	}
	if f.memories[name] == nil {
		f.memories[name] = newMemory(host.Bundles)
	}
	rates, err := f.limiter(name, meta)
	if err != nil {
		return nil, err
	}
	tools := openCatalogue(meta, host)
	policies, err := openPolicies(name, meta, host, tools)
	if err != nil {
		return nil, err
	}
	guard, err := newGuard(meta, host, parts{
		journal: writer, steps: f.steps[meta.JournalDir], policies: policies, tools: tools, memory: f.memories[name], rates: rates,
	})
	if err != nil {
		return nil, errors.Join(err, policies.Close())
	}
	tools.start(policies.Recheck)
	return guard, nil
}

// retire stops what a guard that is no longer wanted does by itself. Requests
// that are still under way keep the policy that they began with.
func (f *Factory) retire(name string) {
	guard := f.guards[name]
	if guard == nil {
		return
	}
	delete(f.guards, name)
	guard.tools.close()
	if err := guard.policies.Close(); err != nil {
		guard.host.Log("mcpguard %q: closing the policy watch: %v", name, err)
	}
}

// journal opens a journal once per process, and recalls from it which steps of
// workflows were passed on.
func (f *Factory) journal(name string, meta Metadata, host Host) (*journal.Writer, error) {
	if writer := f.journals[meta.JournalDir]; writer != nil {
		return writer, nil
	}
	writer, err := journal.Open(journal.Options{Dir: meta.JournalDir, Durability: meta.Durability})
	if err != nil {
		return nil, err
	}
	steps, err := gate.OpenSteps(meta.JournalDir, time.Now())
	if err != nil {
		return nil, errors.Join(err, writer.Close())
	}
	if _, since := steps.Len(); !since.IsZero() {
		host.Log("mcpguard %q: which steps of workflows were passed on before %s is no longer known: questions from before are refused",
			name, since.UTC().Format(time.RFC3339))
	}
	f.journals[meta.JournalDir], f.steps[meta.JournalDir] = writer, steps
	return writer, nil
}

// limiter opens a file of rates once per process. Without one the calls of each
// component are counted until the process ends.
func (f *Factory) limiter(name string, meta Metadata) (*rate.Limiter, error) {
	key := meta.RateFile
	if key == "" {
		key = "component " + name
	}
	if limiter := f.limiters[key]; limiter != nil {
		return limiter, nil
	}
	limiter, err := rate.New(rate.Options{File: meta.RateFile, Now: time.Now})
	if err != nil {
		return nil, err
	}
	f.limiters[key] = limiter
	return limiter, nil
}

// openPolicies watches the policy folder, with the rules of the Configuration's
// access control beside it.
func openPolicies(name string, meta Metadata, host Host, tools *catalogue) (*policydir.Watcher, error) {
	extra, warnings := policy.FromAccessControl("Configuration of "+host.AppID, host.AccessControl, meta.Path, meta.Server)
	files := []string{filepath.Join(meta.JournalDir, policydir.StatusFile)}
	if host.StatusFile != "" {
		files = append(files, host.StatusFile)
	}
	return policydir.Open(policydir.Options{
		Dir:           meta.PolicyDir,
		Extra:         extra,
		ExtraWarnings: warnings,
		Compile:       policy.CompileOptions{TrustDomain: host.ID.TrustDomain(), Namespace: host.Namespace},
		Check:         tools.check,
		App:           host.AppID,
		Guard:         name,
		Tools:         tools.path,
		RatesKept:     meta.RateFile != "",
		Grace:         host.PolicyGrace,
		OnChange:      policydir.Announce(func(text string) { host.Log("mcpguard %q: %s", name, text) }, files...),
	})
}
