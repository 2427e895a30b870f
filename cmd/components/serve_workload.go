// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"errors"
	"sync"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var errNotIssued = errors.New("the Workload API has no SVID for this process any more")

// workload is the identity that the Workload API gives this process now. go-spiffe's own source keeps an SVID that was
// taken away until it expires; this one does not. While the API cannot be reached, the last one stands.
type workload struct {
	cancel context.CancelFunc
	done   chan struct{}
	first  chan struct{} // closed with the first SVID

	mu      sync.Mutex
	svid    *x509svid.SVID // nil: none
	bundles *x509bundle.Set
}

var (
	_ x509svid.Source                = (*workload)(nil)
	_ x509bundle.Source              = (*workload)(nil)
	_ workloadapi.X509ContextWatcher = (*workload)(nil)
)

// watchWorkload returns with the first SVID. The context limits only the time until then.
func watchWorkload(ctx context.Context) (*workload, error) {
	client, err := workloadapi.New(ctx)
	if err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w := &workload{cancel: cancel, done: make(chan struct{}), first: make(chan struct{}), bundles: x509bundle.NewSet()}
	failed := make(chan error, 1)
	go func() {
		defer close(w.done)
		failed <- errors.Join(client.WatchX509Context(running, w), client.Close())
	}()
	select {
	case <-w.first:
		return w, nil
	case err = <-failed:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return nil, errors.Join(err, w.close())
}

// OnX509ContextUpdate takes what the API gives.
func (w *workload) OnX509ContextUpdate(given *workloadapi.X509Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.svid == nil {
		select {
		case <-w.first:
		default:
			close(w.first)
		}
	}
	w.svid, w.bundles = given.DefaultSVID(), given.Bundles
}

// OnX509ContextWatchError gives up the SVID if the API refuses one: the workload is not registered any more (SPIFFE
// Workload API, section 5.1). Any other error says nothing of it.
func (w *workload) OnX509ContextWatchError(err error) {
	if status.Code(err) != codes.PermissionDenied {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.svid = nil
}

// GetX509SVID is an error while there is none.
func (w *workload) GetX509SVID() (*x509svid.SVID, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.svid == nil {
		return nil, errNotIssued
	}
	return w.svid, nil
}

// GetX509BundleForTrustDomain gives what the API said last.
func (w *workload) GetX509BundleForTrustDomain(domain spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bundles.GetX509BundleForTrustDomain(domain)
}

func (w *workload) close() error {
	w.cancel()
	<-w.done
	return nil
}
