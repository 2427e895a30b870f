// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dbca

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// The files of the folder. The key stands with its certificate in one file, so that both are replaced in one step.
const (
	// BundleFile holds the certificates that a database is to trust, one after another: copy it to its ssl_ca_file.
	BundleFile = "ca.pem"

	keyFile  = "ca-key.pem"
	nextFile = "next-key.pem"
	maxFile  = 64 << 10
)

// ErrNone says that a folder holds no authority.
var ErrNone = errors.New("there is no authority for databases yet")

type folder struct{ dir string }

func (f folder) path(name string) string { return filepath.Join(f.dir, name) }

// Open opens the authority of a folder. Folder and keys must be their owner's alone (modes 0700 and 0600): otherwise, and
// where nothing is there (ErrNone) or something is damaged, it is an error.
func Open(dir string) (*CA, error) {
	c := &CA{folder: folder{dir}}
	if err := c.open(); err != nil {
		return nil, fmt.Errorf("dbca: %w", err)
	}
	return c, nil
}

func (c *CA) open() error {
	if c.folder.dir == "" {
		return errors.New("no folder is named")
	}
	if err := c.folder.check(); err != nil {
		return err
	}
	signer, err := c.current()
	if err != nil {
		return err
	}
	trusted, err := c.folder.certificates()
	if err != nil {
		return err
	}
	for _, cert := range trusted {
		if cert.Equal(signer.cert) {
			return nil
		}
	}
	return fmt.Errorf("%s does not hold the certificate of %s: put it there, or remove the folder and run custody db setup again",
		c.folder.path(BundleFile), c.folder.path(keyFile))
}

// Create makes an authority in a folder that does not exist, or holds none. One that is there is never written over.
func Create(dir string, now time.Time) (*CA, error) {
	c := &CA{folder: folder{dir}}
	if err := c.create(now); err != nil {
		return nil, fmt.Errorf("dbca: %w", err)
	}
	return c, nil
}

func (c *CA) create(now time.Time) error {
	f := c.folder
	if f.dir == "" {
		return errors.New("no folder is named")
	}
	if err := os.Mkdir(f.dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the folder of the authority: %w", err)
	}
	if err := f.check(); err != nil {
		return err
	}
	if _, err := os.Lstat(f.path(keyFile)); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is there already", f.path(keyFile))
	}
	made, err := newAuthority(now)
	if err != nil {
		return err
	}
	if err := f.replace(BundleFile, 0o644, encode(made.cert)); err != nil {
		return err
	}
	text, err := made.encode()
	if err != nil {
		return err
	}
	if err := f.replace(keyFile, 0o600, text); err != nil {
		return err
	}
	return c.open()
}

func (f folder) check() error {
	info, err := os.Stat(f.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("folder %s does not exist: %w; run custody db setup --ca %s", f.dir, ErrNone, f.dir)
	case err != nil:
		return fmt.Errorf("folder of the authority: %w", err)
	case !info.IsDir():
		return fmt.Errorf("%s is no folder", f.dir)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("folder %s has mode %04o, so others may get at the key: chmod 700 %s", f.dir, info.Mode().Perm(), f.dir)
	}
	return nil
}

// key looks at a file with a key, without reading it.
func (f folder) key(name string) (os.FileInfo, error) {
	info, err := os.Lstat(f.path(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s is missing: %w; run custody db setup --ca %s", f.path(name), ErrNone, f.dir)
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no plain file: put the key itself there", f.path(name))
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%s has mode %04o, so others may read the key: chmod 600 it, and run custody db rotate-ca if one did",
			f.path(name), info.Mode().Perm())
	}
	return info, nil
}

func (f folder) authority(name string) (*authority, error) {
	text, err := f.read(name)
	if err != nil {
		return nil, err
	}
	a := &authority{}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch {
		case block.Type == "CERTIFICATE" && a.cert == nil:
			if a.cert, err = x509.ParseCertificate(block.Bytes); err != nil {
				return nil, fmt.Errorf("%s: %w", f.path(name), err)
			}
		case block.Type == "PRIVATE KEY" && a.key == nil:
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f.path(name), err)
			}
			a.key, _ = key.(crypto.Signer)
		}
	}
	if a.cert == nil || a.key == nil || !a.cert.IsCA || !sameKey(a.cert, a.key) {
		return nil, fmt.Errorf("%s: %w", f.path(name), errNoKey)
	}
	return a, nil
}

func sameKey(cert *x509.Certificate, key crypto.Signer) bool {
	public, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(key.Public())
}

// certificates gives those of the bundle.
func (f folder) certificates() ([]*x509.Certificate, error) {
	text, err := f.read(BundleFile)
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.path(BundleFile), err)
		}
		certs = append(certs, cert)
	}
	return certs, nil
}

func (f folder) read(name string) ([]byte, error) {
	info, err := os.Stat(f.path(name))
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", f.path(name), maxFile)
	}
	return os.ReadFile(f.path(name))
}

// replace writes a file in one step, so that who reads it sees the old or the new one.
func (f folder) replace(name string, mode os.FileMode, text []byte) error {
	tmp, err := os.CreateTemp(f.dir, ".new-*") // made with mode 0600
	if err != nil {
		return err
	}
	_, err = tmp.Write(text)
	if err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), f.path(name))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", f.path(name), err), os.Remove(tmp.Name()))
	}
	return nil
}

func encode(certs ...*x509.Certificate) []byte {
	var out bytes.Buffer
	for _, cert := range certs {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	}
	return out.Bytes()
}

func (a *authority) encode() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return nil, err
	}
	return append(encode(a.cert), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...), nil
}
