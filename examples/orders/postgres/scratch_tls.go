// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Kill ends the server of a scratch cluster by SIGKILL: nothing is written or told any more, and what it has started
// finds out by itself. Resume fails until that has ended, too.
func (d *Database) Kill() error {
	if d.scratch == nil {
		return errors.New("postgres: only a scratch cluster can be killed")
	}
	if err := d.scratch.server.signal(syscall.SIGKILL); err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	<-d.scratch.server.done
	return nil
}

// SpeakTLS has the server of a scratch cluster take TLS connections, with a certificate of its own for 127.0.0.1 that is
// good for a day, and returns the file of that certificate, which is its own authority.
func (d *Database) SpeakTLS(ctx context.Context) (file string, err error) {
	if d.scratch == nil {
		return "", errors.New("postgres: only a scratch cluster can be told to speak TLS")
	}
	if err := d.scratch.secure(ctx); err != nil {
		return "", fmt.Errorf("postgres: speak TLS: %w", err)
	}
	return filepath.Join(d.scratch.data(), "server.crt"), nil
}

func (c *cluster) secure(ctx context.Context) error {
	cert, key, err := serverCertificate(time.Now())
	if err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{"server.crt": cert, "server.key": key} {
		path := filepath.Join(c.data(), name)
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
		if c.credential == nil {
			continue
		}
		if err := os.Chown(path, int(c.credential.Uid), int(c.credential.Gid)); err != nil {
			return err
		}
	}
	admin, err := pgx.Connect(ctx, c.url(adminRole, c.password))
	if err != nil {
		return err
	}
	_, err = admin.Exec(ctx, "ALTER SYSTEM SET ssl = on")
	if err == nil {
		_, err = admin.Exec(ctx, "SELECT pg_reload_conf()")
	}
	if err == nil {
		err = awaitTLS(ctx, admin)
	}
	return errors.Join(err, admin.Close(ctx))
}

// awaitTLS waits until the server has read its configuration again.
func awaitTLS(ctx context.Context, admin *pgx.Conn) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		var on bool
		if err := admin.QueryRow(ctx, "SELECT current_setting('ssl')::boolean").Scan(&on); on || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func serverCertificate(now time.Time) (cert, key *pem.Block, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "scratch"}, NotBefore: now.Add(-time.Hour),
		NotAfter: now.Add(24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	return &pem.Block{Type: "CERTIFICATE", Bytes: der}, &pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}, err
}
