// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package dbca is the small authority that a database trusts and nothing else
// does: it signs the client certificates, good for minutes, with which a
// component server connects as a role on behalf of a caller.
//
// Who can read its folder can be every role and every caller at the databases
// that trust it, and nobody elsewhere. The package keeps the folder to its owner
// and signs only for names that are legal; who may have which role is not its
// matter (internal/database). Keys of certificates are in memory only.
package dbca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/database"
)

const (
	// Validity is how long a certificate is good.
	Validity = 5 * time.Minute
	// Backdating lets in a database whose clock is behind.
	Backdating = time.Minute
	// ActorScheme precedes the SPIFFE ID of the actor in a URI name of the certificate.
	ActorScheme = "custody-actor"

	caValidity = 5 * 365 * 24 * time.Hour
	maxID      = 2048 // SPIFFE-ID, section 2.3
)

// CA signs certificates. It is safe for concurrent use, and follows its folder: after a rotation it signs with the new key.
type CA struct {
	folder folder
	pinned bool // signer is the next one, whatever the folder says

	mu     sync.Mutex
	signer *authority
	seen   os.FileInfo
}

// authority is a certificate and its key.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// Mint makes a certificate for one connection: common name the role, URI names the caller's SPIFFE ID and, unless actor is
// zero, "custody-actor:" and the actor's. It is good from a minute before now until Validity after it, or until the
// authority ends. An illegal role, a zero caller or one that is no workload, or an authority that is out of its time or
// whose folder cannot be read: an error.
func (c *CA) Mint(role string, caller, actor spiffeid.ID, now time.Time) (tls.Certificate, error) {
	cert, err := c.mint(role, caller, actor, now)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("dbca: %w", err)
	}
	return cert, nil
}

func (c *CA) mint(role string, caller, actor spiffeid.ID, now time.Time) (tls.Certificate, error) {
	if err := database.CheckRole(role); err != nil {
		return tls.Certificate{}, err
	}
	if err := checkID("caller", caller); err != nil {
		return tls.Certificate{}, err
	}
	names := []*url.URL{caller.URL()}
	if !actor.IsZero() {
		if err := checkID("actor", actor); err != nil {
			return tls.Certificate{}, err
		}
		names = append(names, &url.URL{Scheme: ActorScheme, Opaque: actor.String()})
	}
	signer, err := c.current()
	if err != nil {
		return tls.Certificate{}, err
	}
	return signer.leaf(role, names, now)
}

func checkID(who string, id spiffeid.ID) error {
	switch {
	case id.IsZero():
		return fmt.Errorf("the %s is nobody", who)
	case id.Path() == "":
		return fmt.Errorf("the %s %s is a trust domain, not a workload", who, id)
	case len(id.String()) > maxID:
		return fmt.Errorf("the SPIFFE ID of the %s is longer than %d bytes", who, maxID)
	}
	return nil
}

func (a *authority) leaf(role string, names []*url.URL, now time.Time) (tls.Certificate, error) {
	if err := a.inTime(now); err != nil {
		return tls.Certificate{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := serialNumber()
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: role}, URIs: names,
		NotBefore: now.Add(-Backdating), NotAfter: earlier(now.Add(Validity), a.cert.NotAfter),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("sign for role %s: %w", role, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("sign for role %s: %w", role, err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

func (a *authority) inTime(now time.Time) error {
	switch {
	case !now.Before(a.cert.NotAfter):
		return fmt.Errorf("the authority ended at %s: run custody db rotate-ca", a.cert.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(a.cert.NotBefore):
		return fmt.Errorf("the authority begins at %s: is the clock right?", a.cert.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// newAuthority makes one whose name tells it from all others, so that two in one file are not mixed up.
func newAuthority(now time.Time) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(public)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "custody database CA " + hex.EncodeToString(sum[:8])},
		NotBefore: now.Add(-2 * Validity), NotAfter: now.Add(caValidity),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{cert: cert, key: key}, nil
}

func serialNumber() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	return serial.Add(serial, big.NewInt(1)), nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Certificate is the authority that signs now.
func (c *CA) Certificate() (*x509.Certificate, error) {
	signer, err := c.current()
	if err != nil {
		return nil, fmt.Errorf("dbca: %w", err)
	}
	return signer.cert, nil
}

// current gives the authority of the folder, which is read again only when its file was replaced.
func (c *CA) current() (*authority, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pinned {
		return c.signer, nil
	}
	now, err := c.folder.key(keyFile)
	if err != nil {
		return nil, err
	}
	if c.signer != nil && os.SameFile(now, c.seen) && now.ModTime().Equal(c.seen.ModTime()) && now.Size() == c.seen.Size() {
		return c.signer, nil
	}
	signer, err := c.folder.authority(keyFile)
	if err != nil {
		return nil, err
	}
	c.signer, c.seen = signer, now
	return signer, nil
}

var errNoKey = errors.New("the file holds no certificate of an authority with its key")
