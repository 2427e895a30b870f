// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package identity

import (
	"context"
	"crypto/x509"
	"fmt"
	"reflect"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// PeerCertificates is the certificate chain, leaf first, that the peer of the
// gRPC connection behind ctx showed in its TLS handshake. It fails with
// [ErrNoPeer] or [ErrNoCertificate]; nothing has been verified by it.
func PeerCertificates(ctx context.Context) ([]*x509.Certificate, error) {
	p, ok := peer.FromContext(ctx)
	if !ok || p.AuthInfo == nil {
		return nil, ErrNoPeer
	}
	return Certificates(p.AuthInfo)
}

// Certificates is [PeerCertificates] for one who holds the outcome of the handshake itself.
func Certificates(auth credentials.AuthInfo) ([]*x509.Certificate, error) {
	info, ok := tlsInfo(auth)
	if !ok {
		return nil, fmt.Errorf("%w: the connection is not TLS", ErrNoPeer)
	}
	if len(info.State.PeerCertificates) == 0 {
		return nil, ErrNoCertificate
	}
	return info.State.PeerCertificates, nil
}

// tlsInfo reaches the TLS state. go-spiffe wraps it in an unexported struct
// (spiffegrpc/grpccredentials/credentials.go, authInfoWrapper) whose embedded
// field AuthInfo is exported, so that reflection may read it.
func tlsInfo(auth credentials.AuthInfo) (credentials.TLSInfo, bool) {
	if info, ok := auth.(credentials.TLSInfo); ok {
		return info, true
	}
	v := reflect.ValueOf(auth)
	if v.Kind() != reflect.Struct {
		return credentials.TLSInfo{}, false
	}
	inner := v.FieldByName("AuthInfo")
	if !inner.IsValid() || !inner.CanInterface() {
		return credentials.TLSInfo{}, false
	}
	info, ok := inner.Interface().(credentials.TLSInfo)
	return info, ok
}
