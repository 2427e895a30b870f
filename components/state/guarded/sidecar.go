// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package guarded

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/identity"
	"github.com/dapr-custody/custody/internal/journal"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/policydir"
	"github.com/dapr-custody/custody/internal/rate"
	"github.com/dapr-custody/custody/internal/txn"
)

// Host is the sidecar that stores live in.
type Host struct {
	// ID is the sidecar's own SPIFFE ID; its trust domain is the local one. Zero is a sidecar without mTLS, which
	// decides nothing and has no door.
	ID spiffeid.ID
	// AppID is the app's, as it is shown, and Namespace that of app IDs in policies.
	AppID, Namespace string
	// SVIDs gives the sidecar's X.509-SVID and key: the caller of all requests, and the signer of receipts.
	SVIDs x509svid.Source
	// Bundles gives the roots of a trust domain, for that trust domain only.
	Bundles x509bundle.Source
	// StatusFile is beside which each door also writes its state (policydir.StatusFileOf); empty for nowhere.
	StatusFile string
	// PolicyGrace is how long a policy file must be away to count as removed. Zero means what policydir takes.
	PolicyGrace time.Duration
}

var errNoSidecar = errors.New("this process is no sidecar that could decide")

func noHost() (Host, error) { return Host{}, errNoSidecar }

// Sidecar is what the stores of one sidecar share. It holds a journal and a file of rates open once, for as long as a
// store uses them. What is counted against rates without a file it counts until the process ends, so that a component
// which is loaded again does not begin anew.
type Sidecar struct {
	host     func() (Host, error)
	journals shared[book]
	files    shared[*rate.Limiter]

	mu     sync.Mutex
	counts map[string]*rate.Limiter // without a file, by component
}

// book is a journal that is open, and how.
type book struct {
	*journal.Writer

	durability journal.Durability
}

// NewSidecar makes what stores share that live in the host of the moment.
func NewSidecar(host func() (Host, error)) *Sidecar {
	return &Sidecar{host: host, counts: map[string]*rate.Limiter{}}
}

// journal opens a journal once per process, and gives what ends one store's part in it.
func (s *Sidecar) journal(own settings) (*journal.Writer, func() error, error) {
	b, release, err := s.journals.take(own.journalDir, func() (book, error) {
		writer, err := journal.Open(journal.Options{Dir: own.journalDir, Durability: own.durability})
		return book{Writer: writer, durability: own.durability}, err
	})
	if err != nil {
		return nil, nil, err
	}
	if b.durability != own.durability {
		err := fmt.Errorf(`metadata "durability": %q, but another component of this sidecar has the journal %s open with %q: write the same, or another "journalDir"`,
			own.durability, own.journalDir, b.durability)
		return nil, nil, errors.Join(err, release())
	}
	return b.Writer, release, nil
}

func (s *Sidecar) rates(name string, own settings, now func() time.Time) (*rate.Limiter, func() error, error) {
	if own.rateFile != "" {
		return s.files.take(own.rateFile, func() (*rate.Limiter, error) {
			return rate.New(rate.Options{File: own.rateFile, Now: now})
		})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counts[name] == nil {
		counts, err := rate.New(rate.Options{Now: now})
		if err != nil {
			return nil, nil, err
		}
		s.counts[name] = counts
	}
	return s.counts[name], func() error { return nil }, nil
}

// door opens what decides the requests of a store, with the sidecar itself as the caller, and gives what ends it. A door
// without a policy is opened nevertheless: it refuses everything until there is one.
func (s *Sidecar) door(name string, own settings, writer *journal.Writer, store *Store) (*Access, func() error, error) {
	host, err := s.host()
	if err != nil {
		return nil, nil, err
	}
	if host.ID.IsZero() || host.SVIDs == nil || host.Bundles == nil {
		return nil, nil, errors.New("the sidecar has no identity: start it with mTLS")
	}
	rates, release, err := s.rates(name, own, store.options.Now)
	if err != nil {
		return nil, nil, err
	}
	say := func(text string) { store.log.Warnf("state.custody %q: %s", name, text) }
	policies, retire, err := host.policies(name, own, say)
	if err != nil {
		return nil, nil, errors.Join(err, release())
	}
	end := func() error { return errors.Join(retire(), release()) }
	decides, err := gate.New(gate.Options{
		Door: Door, Policy: policies.Current, SVIDs: host.SVIDs, Journal: writer, Rates: rates, Now: store.options.Now,
	})
	if err != nil {
		return nil, nil, errors.Join(err, end())
	}
	status := policies.Status()
	store.log.Infof("state.custody %q: each request of %s is decided by the policies in %s: %s, %d rules", name, host.ID, own.policyDir, status.State(), status.Rules)
	return &Access{
		Gate: decides, Caller: host.caller(store.options.Now, say), Tokens: txn.NewVerifier(host.Bundles), Journal: writer,
		Metadata: func(_ identity.Caller, _ string, said map[string]string) (map[string]string, error) { return said, nil },
		plain:    true,
	}, end, nil
}

// caller is the sidecar itself, by the SVID that it has now. That is verified anew when it, or the roots, are others
// than before, and holds as long as its certificates do.
func (h *Host) caller(now func() time.Time, say func(string)) func(context.Context) identity.Caller {
	verifier := identity.NewVerifier(h.Bundles, now)
	return func(context.Context) identity.Caller {
		caller, err := identity.OwnSVID(verifier, h.SVIDs)
		if err != nil {
			say(fmt.Sprintf("the sidecar does not know itself, and refuses: %v", err))
		}
		return caller
	}
}

// policies watches a door's folder, and gives what ends that. The status files then say that nobody keeps them up.
func (h *Host) policies(name string, own settings, say func(string)) (*policydir.Watcher, func() error, error) {
	files := []string{policydir.StatusFileOf(filepath.Join(own.journalDir, policydir.StatusFile), name)}
	if h.StatusFile != "" {
		files = append(files, policydir.StatusFileOf(h.StatusFile, name))
	}
	announce := policydir.Announce(say, files...)
	policies, err := policydir.Open(policydir.Options{
		Dir: own.policyDir, Compile: policy.CompileOptions{TrustDomain: h.ID.TrustDomain(), Namespace: h.Namespace},
		App: h.AppID, Guard: name, RatesKept: own.rateFile != "", Grace: h.PolicyGrace, OnChange: announce,
	})
	if err != nil {
		return nil, nil, err
	}
	return policies, func() error {
		err := policies.Close()
		status := policies.Status()
		status.PID, status.LastError, status.Warnings = 0, "", nil
		announce(status)
		return err
	}, nil
}
