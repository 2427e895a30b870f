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

const tlsLifetime = 24 * time.Hour

// SpeakTLS gives the server of a scratch cluster a certificate for 127.0.0.1
// and localhost, and returns once it speaks TLS to who asks for it. The
// certificate, good for a day, is its own authority; it is returned in PEM.
func (d *Database) SpeakTLS(ctx context.Context) ([]byte, error) {
	if d.scratch == nil {
		return nil, errors.New("postgres: only a scratch cluster can be given a certificate")
	}
	certificate, key, err := selfSigned(time.Now())
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	if err := d.scratch.speakTLS(ctx, certificate, key); err != nil {
		return nil, fmt.Errorf("postgres: have the server speak TLS: %w", err)
	}
	return certificate, nil
}

func selfSigned(now time.Time) (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "scratch PostgreSQL"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(tlsLifetime), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

func (c *cluster) speakTLS(ctx context.Context, certificate, key []byte) error {
	for name, text := range map[string][]byte{"server.crt": certificate, "server.key": key} {
		if err := c.write(filepath.Join(c.data(), name), text); err != nil {
			return err
		}
	}
	conn, err := pgx.Connect(ctx, c.url(adminRole, c.password))
	if err != nil {
		return err
	}
	for _, sql := range []string{"ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()"} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return errors.Join(err, conn.Close(ctx))
		}
	}
	return errors.Join(c.awaitTLS(ctx, conn), conn.Close(ctx))
}

func (c *cluster) awaitTLS(ctx context.Context, conn *pgx.Conn) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		var on string
		if err := conn.QueryRow(ctx, "SHOW ssl").Scan(&on); err != nil || on == "on" {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// write writes a file of the server's user alone.
func (c *cluster) write(path string, text []byte) error {
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return err
	}
	return chown(path, c.credential)
}

func chown(path string, to *syscall.Credential) error {
	if to == nil {
		return nil
	}
	return os.Chown(path, int(to.Uid), int(to.Gid))
}

// Shop makes a database in a scratch cluster with the example's tables and rows in the schema shop, and runs more there.
// It returns the superuser's connection string for that database.
func (d *Database) Shop(ctx context.Context, name, more string) (string, error) {
	if d.scratch == nil {
		return "", errors.New("postgres: only a scratch cluster can be given a shop")
	}
	in, err := d.scratch.shop(ctx, name, more)
	if err != nil {
		return "", fmt.Errorf("postgres: make the shop: %w", err)
	}
	return in, nil
}

func (c *cluster) shop(ctx context.Context, name, more string) (string, error) {
	admin, err := pgx.Connect(ctx, c.url(adminRole, c.password))
	if err != nil {
		return "", err
	}
	_, err = admin.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
	if err = errors.Join(err, admin.Close(ctx)); err != nil {
		return "", err
	}
	in := fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/%s?sslmode=disable", adminRole, c.password, c.port, name)
	own, err := withSearchPath(in, "shop")
	if err != nil {
		return "", err
	}
	conn, err := pgx.Connect(ctx, own)
	if err != nil {
		return "", err
	}
	_, err = conn.PgConn().Exec(ctx, "CREATE SCHEMA shop;"+schemaSQL+seedSQL+more).ReadAll()
	return in, errors.Join(err, conn.Close(ctx))
}
