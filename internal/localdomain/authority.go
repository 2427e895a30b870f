// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// How long a root and an issuer that are kept are good, and how long before its end an issuer is replaced.
const (
	keptRootTTL    = 10 * 365 * 24 * time.Hour
	keptIssuerTTL  = 365 * 24 * time.Hour
	keptIssuerLeft = 30 * 24 * time.Hour
	clockSkew      = 5 * time.Minute
)

// The files of an authority that is kept. Each holds a certificate and its key, so that they change together.
const (
	rootFile   = "root.pem"
	issuerFile = "issuer.pem"
)

// An authority is a root and the issuer that it signed, with which Sentry signs. They are as Sentry makes them itself
// (Dapr pkg/sentry/server/ca/bundle), but that the key of the root is kept.
type authority struct{ root, issuer pair }

// A pair is a certificate with its key.
type pair struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// openAuthority reads the authority that is kept in dir, and makes what is not there yet. A root is never replaced: with
// another one, what was signed before would not verify. renewed says that the issuer was, because it was near its end.
func openAuthority(dir string, sentry spiffeid.ID, now time.Time) (a *authority, renewed bool, err error) {
	if err := private(dir); err != nil {
		return nil, false, err
	}
	a = &authority{}
	rootIsNew, err := a.root.read(filepath.Join(dir, rootFile))
	if err != nil {
		return nil, false, err
	}
	issuerIsNew, err := a.issuer.read(filepath.Join(dir, issuerFile))
	if err != nil {
		return nil, false, err
	}
	domain := sentry.TrustDomain().Name()
	switch {
	case rootIsNew && !issuerIsNew:
		return nil, false, fmt.Errorf("%s has %s and no %s, which signed it: put that back, or begin with an empty folder", dir, issuerFile, rootFile)
	case rootIsNew:
		if a.root, err = newRoot(domain, now); err == nil {
			err = a.root.write(filepath.Join(dir, rootFile))
		}
	default:
		err = a.root.checkRoot(filepath.Join(dir, rootFile), domain, now)
	}
	if err != nil {
		return nil, false, err
	}
	if !issuerIsNew {
		if err := a.issuer.checkIssuer(filepath.Join(dir, issuerFile), a.root, sentry, now); err != nil {
			return nil, false, err
		}
		renewed = a.issuer.cert.NotAfter.Sub(now) < keptIssuerLeft
	}
	if issuerIsNew || renewed {
		if a.issuer, err = newIssuerCA(a.root, sentry, now); err == nil {
			err = a.issuer.write(filepath.Join(dir, issuerFile))
		}
	}
	return a, renewed, err
}

// give writes what Sentry needs, which the key of the root is not part of, to its folder.
func (a *authority) give(dir string) error {
	key, err := x509.MarshalPKCS8PrivateKey(a.issuer.key)
	if err != nil {
		return err
	}
	return errors.Join(
		writeFile(filepath.Join(dir, "ca.crt"), certificatePEM(a.root.cert)),
		writeFile(filepath.Join(dir, "issuer.crt"), certificatePEM(a.issuer.cert)),
		writeFile(filepath.Join(dir, "issuer.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
}

func certificatePEM(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

// private refuses a file or folder that others than the user can read or change.
func private(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	want, kind := fs.FileMode(0o600), "file"
	if info.IsDir() {
		want, kind = 0o700, "folder"
	}
	switch {
	case !info.IsDir() && !info.Mode().IsRegular():
		return fmt.Errorf("%s is no %s: a link or device is not followed to keys", path, kind)
	case info.Sys().(*syscall.Stat_t).Uid != uint32(os.Geteuid()): //nolint:gosec // a user ID fits
		return fmt.Errorf("%s belongs to another user, who can read and change it: use a %s of your own", path, kind)
	case info.Mode().Perm()&^want != 0:
		return fmt.Errorf("%s has mode %04o, and keys are kept in it: make it yours alone with chmod %o", path, info.Mode().Perm(), want)
	}
	return nil
}

// read gives absent for a file that is not there.
func (p *pair) read(path string) (absent bool, err error) {
	err = private(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return false, err
	}
	if err := p.parse(text); err != nil {
		return false, fmt.Errorf("%s is damaged: %w", path, err)
	}
	return false, nil
}

// parse takes a certificate and its key, and nothing else.
func (p *pair) parse(text []byte) error {
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			if len(bytes.TrimSpace(rest)) > 0 {
				return errors.New("it holds something else than PEM")
			}
			break
		}
		switch {
		case block.Type == "CERTIFICATE" && p.cert == nil:
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return err
			}
			p.cert = cert
		case block.Type == "PRIVATE KEY" && p.key == nil:
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return err
			}
			signer, ok := key.(crypto.Signer)
			if !ok {
				return fmt.Errorf("a %T cannot sign", key)
			}
			p.key = signer
		default:
			return fmt.Errorf("it holds a second %s, or something else", block.Type)
		}
	}
	if p.cert == nil || p.key == nil {
		return errors.New("it does not hold a certificate and a key")
	}
	if public, ok := p.cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(p.key.Public()) {
		return errors.New("the key is not that of the certificate")
	}
	return nil
}

func (p *pair) write(path string) error {
	key, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		return err
	}
	return writeFile(path, append(certificatePEM(p.cert), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...))
}

func (p *pair) checkRoot(path, domain string, now time.Time) error {
	switch {
	case !isNamed(p.cert, domain):
		return fmt.Errorf("%s is the root of %q, and this is %q: use another folder", path, p.cert.Subject.Organization, domain)
	case !p.cert.IsCA || p.cert.CheckSignatureFrom(p.cert) != nil:
		return fmt.Errorf("%s is no root: it did not sign itself, or may not sign others", path)
	}
	return inTime(path, p.cert, now, "what was signed under it can be verified, but not gone on with: use another folder")
}

func (p *pair) checkIssuer(path string, root pair, sentry spiffeid.ID, now time.Time) error {
	if err := inTime(path, p.cert, now, "look at the clock, then remove it: the root signs a new one"); err != nil {
		return err
	}
	if !isNamed(p.cert, sentry.String()) {
		return fmt.Errorf("%s is the issuer of %q, and this is %q: use another folder", path, p.cert.Subject.Organization, sentry)
	}
	roots := x509.NewCertPool()
	roots.AddCert(root.cert)
	if _, err := p.cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil || !p.cert.IsCA {
		return fmt.Errorf("%s was not signed by %s beside it, or may not sign: remove it, and the root signs a new one", path, rootFile)
	}
	return nil
}

func isNamed(cert *x509.Certificate, name string) bool {
	return len(cert.Subject.Organization) == 1 && cert.Subject.Organization[0] == name
}

func inTime(path string, cert *x509.Certificate, now time.Time, remedy string) error {
	switch {
	case now.After(cert.NotAfter):
		return fmt.Errorf("%s expired on %s; %s", path, cert.NotAfter.UTC().Format(time.RFC3339), remedy)
	case now.Before(cert.NotBefore):
		return fmt.Errorf("%s is not good before %s; %s", path, cert.NotBefore.UTC().Format(time.RFC3339), "look at the clock")
	}
	return nil
}

func newRoot(domain string, now time.Time) (pair, error) {
	return newPair(&x509.Certificate{
		Subject: pkix.Name{Organization: []string{domain}}, NotAfter: now.Add(keptRootTTL),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}, nil, now)
}

// newIssuerCA gives an issuer that does not outlive the root.
func newIssuerCA(root pair, sentry spiffeid.ID, now time.Time) (pair, error) {
	end := now.Add(keptIssuerTTL)
	if root.cert.NotAfter.Before(end) {
		end = root.cert.NotAfter
	}
	return newPair(&x509.Certificate{
		Subject: pkix.Name{Organization: []string{sentry.String()}}, NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, &root, now)
}

// newPair makes a key and has its certificate signed, by itself if there is no signer.
func newPair(template *x509.Certificate, by *pair, now time.Time) (pair, error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return pair{}, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return pair{}, err
	}
	template.NotBefore, template.IsCA, template.BasicConstraintsValid = now.Add(-clockSkew), true, true
	signer := pair{cert: template, key: key}
	if by != nil {
		signer = *by
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.cert, public, signer.key)
	if err != nil {
		return pair{}, err
	}
	cert, err := x509.ParseCertificate(der)
	return pair{cert: cert, key: key}, err
}
