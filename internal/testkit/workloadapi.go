// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package testkit

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// WorkloadAPI is a SPIFFE Workload API server on a Unix socket of its own: X.509-SVIDs
// and bundles, streamed anew at each change (SPIFFE Workload API, section 5). A
// workload without an SVID is refused with PermissionDenied, as SPIRE does. It is safe
// for concurrent use.
type WorkloadAPI struct {
	workload.UnimplementedSpiffeWorkloadAPIServer

	tb     testing.TB
	socket string
	server *grpc.Server

	mu      sync.Mutex
	svids   []*x509svid.SVID
	bundles *x509bundle.Set
	changed chan struct{} // closed at the next change
}

// NewWorkloadAPI starts a server that knows the bundle of ca and has no SVID yet. It
// ends with the test.
func NewWorkloadAPI(tb testing.TB, ca *CA) *WorkloadAPI {
	tb.Helper()
	// The folder of a test has too long a name for a socket.
	dir, err := os.MkdirTemp("", "workload")
	require.NoError(tb, err)
	api := &WorkloadAPI{
		tb: tb, socket: filepath.Join(dir, "api.sock"), bundles: x509bundle.NewSet(ca.Bundle()), changed: make(chan struct{}),
	}
	api.Start()
	tb.Cleanup(func() {
		api.Stop()
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	return api
}

// Addr is the address of the server, as SPIFFE_ENDPOINT_SOCKET wants it.
func (w *WorkloadAPI) Addr() string { return "unix://" + w.socket }

// Start serves, after Stop again. What it gives is as it was.
func (w *WorkloadAPI) Start() {
	w.tb.Helper()
	listener, err := net.Listen("unix", w.socket)
	require.NoError(w.tb, err)
	w.server = grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(w.server, w)
	go func(server *grpc.Server) {
		if err := server.Serve(listener); err != nil {
			w.tb.Error(err)
		}
	}(w.server)
}

// Stop ends the server and all streams, as when the agent is restarted.
func (w *WorkloadAPI) Stop() { w.server.Stop() }

// Give makes these the SVIDs of whoever asks, at once; none takes them away, which
// ends the streams with a refusal.
func (w *WorkloadAPI) Give(svids ...*x509svid.SVID) {
	w.change(func() { w.svids = svids })
}

// Trust makes these the bundles that are known, at once.
func (w *WorkloadAPI) Trust(bundles ...*x509bundle.Bundle) {
	w.change(func() { w.bundles = x509bundle.NewSet(bundles...) })
}

func (w *WorkloadAPI) change(how func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	how()
	close(w.changed)
	w.changed = make(chan struct{})
}

// FetchX509SVID streams the SVIDs, with the bundle of the domain of each.
func (w *WorkloadAPI) FetchX509SVID(_ *workload.X509SVIDRequest, stream grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	return w.stream(stream.Context(), func() error {
		response := &workload.X509SVIDResponse{FederatedBundles: w.roots()}
		if len(w.svids) == 0 {
			return status.Error(codes.PermissionDenied, "no identity issued")
		}
		for _, svid := range w.svids {
			chain, key, err := svid.MarshalRaw()
			if err != nil {
				return err
			}
			response.Svids = append(response.Svids, &workload.X509SVID{
				SpiffeId: svid.ID.String(), X509Svid: chain, X509SvidKey: key,
				Bundle: response.FederatedBundles[svid.ID.TrustDomain().IDString()],
			})
		}
		return stream.Send(response)
	})
}

// FetchX509Bundles streams the bundles.
func (w *WorkloadAPI) FetchX509Bundles(_ *workload.X509BundlesRequest, stream grpc.ServerStreamingServer[workload.X509BundlesResponse]) error {
	return w.stream(stream.Context(), func() error {
		return stream.Send(&workload.X509BundlesResponse{Bundles: w.roots()})
	})
}

// roots are the bundles by trust domain, each the DER of its certificates. w.mu is held.
func (w *WorkloadAPI) roots() map[string][]byte {
	roots := map[string][]byte{}
	for _, bundle := range w.bundles.Bundles() {
		var der []byte
		for _, root := range bundle.X509Authorities() {
			der = append(der, root.Raw...)
		}
		roots[bundle.TrustDomain().IDString()] = der
	}
	return roots
}

// stream sends once and then at each change, until the client or the server goes.
func (w *WorkloadAPI) stream(ctx context.Context, send func() error) error {
	// Without this header the request may come by way of a browser (section 6.1).
	md, _ := metadata.FromIncomingContext(ctx)
	if values := md.Get("workload.spiffe.io"); len(values) != 1 || values[0] != "true" {
		return status.Error(codes.InvalidArgument, "security header missing from request")
	}
	for {
		w.mu.Lock()
		err, changed := send(), w.changed
		w.mu.Unlock()
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}
