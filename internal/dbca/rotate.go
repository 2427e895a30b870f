// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dbca

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Rotation has three steps, each of which can be done again after a crash, and between which databases are given the
// bundle: Prepare makes the next authority, and both stand in the bundle; Switch lets it sign, and both still stand there;
// Drop takes the old one out.

// Bundle gives what a database is to trust, as PEM.
func (c *CA) Bundle() ([]byte, error) {
	certs, err := c.Trusted()
	if err != nil {
		return nil, err
	}
	return encode(certs...), nil
}

// Trusted gives the certificates of the bundle.
func (c *CA) Trusted() ([]*x509.Certificate, error) {
	certs, err := c.folder.certificates()
	if err != nil {
		return nil, fmt.Errorf("dbca: %w", err)
	}
	return certs, nil
}

// Next gives the authority that Switch will let sign, so that it can be tried; nil if there is none.
func (c *CA) Next() (*CA, error) {
	if _, err := c.folder.key(nextFile); errors.Is(err, ErrNone) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("dbca: %w", err)
	}
	next, err := c.folder.authority(nextFile)
	if err != nil {
		return nil, fmt.Errorf("dbca: %w", err)
	}
	return &CA{folder: c.folder, pinned: true, signer: next}, nil
}

// Prepare makes the next authority, unless it is there, and puts it into the bundle.
func (c *CA) Prepare(now time.Time) error {
	if err := c.prepare(now); err != nil {
		return fmt.Errorf("dbca: prepare the next authority: %w", err)
	}
	return nil
}

func (c *CA) prepare(now time.Time) error {
	if err := c.folder.check(); err != nil {
		return err
	}
	signer, err := c.current()
	if err != nil {
		return err
	}
	if _, err := os.Lstat(c.folder.path(nextFile)); errors.Is(err, fs.ErrNotExist) {
		made, err := newAuthority(now)
		if err != nil {
			return err
		}
		text, err := made.encode()
		if err != nil {
			return err
		}
		if err := c.folder.replace(nextFile, 0o600, text); err != nil {
			return err
		}
	}
	next, err := c.folder.authority(nextFile)
	if err != nil {
		return err
	}
	return c.folder.replace(BundleFile, 0o644, encode(signer.cert, next.cert))
}

// Switch lets the next authority sign, here and in every other process that has the folder open. Certificates of the old
// one are good as long as databases trust it.
func (c *CA) Switch() error {
	next, err := c.Next()
	switch {
	case err != nil:
		return err
	case next == nil:
		return errors.New("dbca: there is no next authority: prepare one first")
	}
	if err := os.Rename(c.folder.path(nextFile), c.folder.path(keyFile)); err != nil {
		return fmt.Errorf("dbca: switch to the next authority: %w", err)
	}
	return nil
}

// Drop takes all authorities but the one that signs out of the bundle. While a next one waits it is an error.
func (c *CA) Drop() error {
	next, err := c.Next()
	if err != nil {
		return err
	}
	if next != nil {
		return errors.New("dbca: the next authority does not sign yet: switch to it first")
	}
	signer, err := c.current()
	if err != nil {
		return fmt.Errorf("dbca: %w", err)
	}
	if err := c.folder.replace(BundleFile, 0o644, encode(signer.cert)); err != nil {
		return fmt.Errorf("dbca: %w", err)
	}
	return nil
}
