// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/dapr-custody/custody/middleware/mcpguard"
)

// guardsArgument makes this program some guards over one policy folder.
const guardsArgument = "guards"

// guardAnswer is what is behind the guards. It is in memory: how soon a policy is
// in force does not depend on the server.
const guardAnswer = `{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"n"}]}}`

// serveGuards has guards over the folder, from one number up to another, each
// with a journal below dir and an address of its own, until alive ends. The
// addresses go to ready in one line. Every call comes from the app "caller".
func serveGuards(alive io.Reader, ready io.Writer, args []string) (err error) {
	if len(args) != 4 {
		return fmt.Errorf("%d arguments instead of the policy folder, the journals' folder and two numbers", len(args))
	}
	from, fromErr := strconv.Atoi(args[2])
	to, toErr := strconv.Atoi(args[3])
	if err := errors.Join(fromErr, toErr); err != nil {
		return err
	}
	ca, err := newAuthority()
	if err != nil {
		return err
	}
	server, err := ca.svid("bench")
	if err != nil {
		return err
	}
	caller, err := ca.svid(callerApp)
	if err != nil {
		return err
	}
	factory := mcpguard.NewFactory(func() (mcpguard.Host, error) {
		return mcpguard.Host{
			AppID: "bench", Namespace: "default", AppAddress: "app", ID: server.ID, SVIDs: server,
			Bundles: x509bundle.NewSet(x509bundle.FromX509Authorities(server.ID.TrustDomain(), []*x509.Certificate{ca.certificate})),
			Log:     func(string, ...any) {}, // a policy without a rule for a tool is no fault here
		}, nil
	})
	defer func() { err = errors.Join(err, factory.Close()) }()
	peer := &peer.Peer{AuthInfo: credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: caller.Certificates}}}
	var addresses []string
	for n := from; n < to; n++ {
		name := fmt.Sprintf("guard-%d", n)
		guard, err := factory.Make(name, map[string]string{"policyDir": args[0], "journalDir": filepath.Join(args[1], name)})
		if err != nil {
			return err
		}
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		web := &http.Server{Handler: behind(guard, peer), ReadHeaderTimeout: 10 * time.Second}
		go func() { _ = web.Serve(listener) }() // ends with the process
		addresses = append(addresses, listener.Addr().String())
	}
	if _, err = fmt.Fprintln(ready, strings.Join(addresses, " ")); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, alive)
	return err
}

// behind is the guard as it stands in the sidecar, for calls of one caller.
func behind(guard *mcpguard.Guard, caller *peer.Peer) http.Handler {
	app := guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !mcpguard.Passed(r.Context()) {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, guardAnswer) // the caller may be gone
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.WithContext(peer.NewContext(r.Context(), caller))
		r.URL.Scheme, r.URL.Host = "http", "app"
		app.ServeHTTP(w, r)
	})
}

// authority is a trust domain of this process alone.
type authority struct {
	certificate *x509.Certificate
	key         ed25519.PrivateKey
}

func newAuthority() (*authority, error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	ca := &authority{key: key}
	template := certificate(1)
	template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
	ca.certificate, err = issue(template, template, public, key)
	return ca, err
}

func (ca *authority) svid(app string) (*x509svid.SVID, error) {
	id, err := spiffeid.FromSegments(spiffeid.RequireTrustDomainFromString("custody.local"), "ns", "default", app)
	if err != nil {
		return nil, err
	}
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	template := certificate(2)
	template.URIs, template.KeyUsage = []*url.URL{id.URL()}, x509.KeyUsageDigitalSignature
	leaf, err := issue(template, ca.certificate, public, ca.key)
	if err != nil {
		return nil, err
	}
	return &x509svid.SVID{ID: id, Certificates: []*x509.Certificate{leaf}, PrivateKey: key}, nil
}

func certificate(serial int64) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour),
		BasicConstraintsValid: true,
	}
}

func issue(template, parent *x509.Certificate, public ed25519.PublicKey, key ed25519.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
