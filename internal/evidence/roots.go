// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package evidence

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// root is one authority of a bundle of roots in JSON.
type root struct {
	PEM         string     `json:"pem"`
	ValidUntil  *time.Time `json:"validUntil"`
	TrustDomain string     `json:"trustDomain"`
}

type rootSet []root

// parseRoots reads roots in JSON. is is false for JSON of another form, such as a SPIFFE bundle.
func parseRoots(text []byte) (roots rootSet, is bool, err error) {
	var form struct {
		Roots jsontext.Value `json:"roots"`
	}
	if json.Unmarshal(text, &form) != nil || form.Roots == nil {
		return nil, false, nil
	}
	var strict struct {
		Roots rootSet `json:"roots"`
	}
	if err := json.Unmarshal(text, &strict, json.RejectUnknownMembers(true)); err != nil {
		return nil, false, err // a misspelt validUntil would make a retired root good for ever
	}
	if len(strict.Roots) == 0 {
		return nil, false, errors.New("it has no roots")
	}
	return strict.Roots, true, nil
}

// source gives the authorities by trust domain. Roots that name none are those of trustDomain or, where it is "", of the one
// that all others name.
func (s rootSet) source(trustDomain string) (x509bundle.Source, error) {
	var general []*x509.Certificate
	seen := map[string]bool{}
	own := x509bundle.NewSet()
	for i, r := range s {
		certificate, err := r.authority()
		if err != nil {
			return nil, fmt.Errorf("evidence: trust bundle: root %d: %w", i+1, err)
		}
		key := r.TrustDomain + " " + string(certificate.Raw)
		if seen[key] {
			return nil, fmt.Errorf("evidence: trust bundle: root %d stands there twice", i+1)
		}
		seen[key] = true
		if r.TrustDomain == "" {
			general = append(general, certificate)
			continue
		}
		td, err := spiffeid.TrustDomainFromString(r.TrustDomain)
		if err != nil {
			return nil, fmt.Errorf("evidence: trust bundle: root %d: trust domain %q: %w", i+1, r.TrustDomain, err)
		}
		bundle, ok := own.Get(td)
		if !ok {
			bundle = x509bundle.New(td)
			own.Add(bundle)
		}
		bundle.AddX509Authority(certificate)
	}
	if len(general) == 0 {
		return own, nil
	}
	if named := own.Bundles(); trustDomain == "" && len(named) == 1 {
		trustDomain = named[0].TrustDomain().Name()
	}
	rest, err := sourceOf(general, trustDomain)
	if err != nil {
		return nil, err
	}
	return joined{own, rest}, nil
}

// authority is the certificate, made to end at validUntil: whatever verifies a chain for a time looks at the validity of
// the root too. Its bytes stay as they are.
func (r root) authority() (*x509.Certificate, error) {
	certificates, err := parsePEM([]byte(r.PEM))
	if err != nil {
		return nil, err
	}
	if len(certificates) != 1 {
		return nil, fmt.Errorf("pem holds %d certificates, not one", len(certificates))
	}
	certificate := certificates[0]
	if r.ValidUntil != nil && r.ValidUntil.Before(certificate.NotAfter) {
		certificate.NotAfter = *r.ValidUntil
	}
	return certificate, nil
}

// joined asks both, and gives the authorities of both.
type joined struct {
	own  *x509bundle.Set
	rest x509bundle.Source
}

func (j joined) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	own, ok := j.own.Get(td)
	rest, err := j.rest.GetX509BundleForTrustDomain(td)
	switch {
	case !ok:
		return rest, err
	case err != nil:
		return own, nil
	}
	return x509bundle.FromX509Authorities(td, append(own.X509Authorities(), rest.X509Authorities()...)), nil
}
