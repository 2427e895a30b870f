// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package evidence

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// AnyTrustDomain, given as the trust domain of a bundle file, lets its authorities speak for every trust domain. That is
// safe only if the file holds authorities of one trust domain.
const AnyTrustDomain = "*"

// ErrNoTrustDomain: a bundle file does not say what trust domain it is of, so it has to be given.
var ErrNoTrustDomain = errors.New("the trust domain of the bundle is not known")

const maxBundle = 16 << 20

// LoadTrustBundle reads the authorities of a trust domain: certificates in PEM (such as the ca.crt of Sentry; retired
// ones may stand beside present ones), a SPIFFE bundle in JSON, or roots in JSON, which can say until when each is good
// and for what trust domain:
//
//	{"roots": [{"pem": "-----BEGIN CERTIFICATE-----...", "validUntil": "2026-06-30T00:00:00Z", "trustDomain": "example.org"}]}
//
// What a retired root vouches for holds up to its validUntil, and nothing after. Where trustDomain is "", it is the one that
// the file names: certificates do that by their SPIFFE ID, which those of Sentry have not, and roots in JSON by
// trustDomain. If some name none, all others the same: then it is that. Where none or several are named, and something is
// left open, the error is ErrNoTrustDomain.
func LoadTrustBundle(file, trustDomain string) (x509bundle.Source, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("evidence: trust bundle: %w", err)
	}
	if info.Size() > maxBundle {
		return nil, fmt.Errorf("evidence: trust bundle %s is larger than %d bytes", file, maxBundle)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("evidence: trust bundle: %w", err)
	}
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		roots, is, err := parseRoots(text)
		if err != nil {
			return nil, fmt.Errorf("evidence: trust bundle %s: %w", file, err)
		}
		if is {
			return roots.source(trustDomain)
		}
	}
	authorities, err := parseAuthorities(text)
	if err != nil {
		return nil, fmt.Errorf("evidence: trust bundle %s: %w", file, err)
	}
	return sourceOf(authorities, trustDomain)
}

// sourceOf lets authorities speak for a trust domain, or for AnyTrustDomain.
func sourceOf(authorities []*x509.Certificate, trustDomain string) (x509bundle.Source, error) {
	switch trustDomain {
	case "":
		td, ok := onlyDomain(authorities)
		if !ok {
			return nil, fmt.Errorf("evidence: %w", ErrNoTrustDomain)
		}
		return x509bundle.FromX509Authorities(td, authorities), nil
	case AnyTrustDomain:
		return anyDomain(authorities), nil
	}
	td, err := spiffeid.TrustDomainFromString(trustDomain)
	if err != nil {
		return nil, fmt.Errorf("evidence: trust domain %q: %w", trustDomain, err)
	}
	return x509bundle.FromX509Authorities(td, authorities), nil
}

// onlyDomain is the trust domain that all of the certificates name as their own.
func onlyDomain(authorities []*x509.Certificate) (only spiffeid.TrustDomain, ok bool) {
	for _, c := range authorities {
		if len(c.URIs) != 1 {
			return spiffeid.TrustDomain{}, false
		}
		id, err := spiffeid.FromURI(c.URIs[0])
		if err != nil || id.Path() != "" || !only.IsZero() && only != id.TrustDomain() {
			return spiffeid.TrustDomain{}, false
		}
		only = id.TrustDomain()
	}
	return only, !only.IsZero()
}

func parseAuthorities(text []byte) ([]*x509.Certificate, error) {
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		// The name serves only to get at the certificates.
		bundle, err := spiffebundle.Parse(spiffeid.RequireTrustDomainFromString("bundle"), text)
		if err != nil {
			return nil, err
		}
		if len(bundle.X509Authorities()) == 0 {
			return nil, errors.New("it has no authorities with use x509-svid")
		}
		return bundle.X509Authorities(), nil
	}
	return parsePEM(text)
}

func parsePEM(text []byte) ([]*x509.Certificate, error) {
	var authorities []*x509.Certificate
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("it has a PEM block of type %q; a trust bundle has certificates only", block.Type)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(authorities)+1, err)
		}
		if !certificate.IsCA {
			return nil, fmt.Errorf("certificate %d (%s) is not that of an authority", len(authorities)+1, certificate.Subject)
		}
		authorities = append(authorities, certificate)
	}
	if len(authorities) == 0 {
		return nil, errors.New("it is neither certificates in PEM nor a SPIFFE bundle in JSON")
	}
	return authorities, nil
}

type anyDomain []*x509.Certificate

func (a anyDomain) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	return x509bundle.FromX509Authorities(td, a), nil
}
