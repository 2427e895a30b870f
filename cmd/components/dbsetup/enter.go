// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dbsetup

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/dapr-custody/custody/internal/database"
)

const dialPatience = 10 * time.Second

// entry is one way of trying to get in as a role.
type entry struct {
	role     string
	cert     *tls.Certificate // nil: none is shown
	password string
	plain    bool // without TLS
}

// enter connects as a component server does. Nothing of this process's environment has a part in it.
func enter(ctx context.Context, d *database.Database, e entry) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig("sslmode=disable")
	if err != nil {
		return nil, err
	}
	config.Host, config.Port, config.Database, config.User, config.Password = d.Host, uint16(d.Port), d.DBName, e.role, e.password
	config.Fallbacks, config.RuntimeParams, config.ConnectTimeout = nil, map[string]string{"application_name": "custody db check"}, dialPatience
	if !e.plain {
		if config.TLSConfig, err = clientTLS(d, e.cert); err != nil {
			return nil, err
		}
	}
	return pgx.ConnectConfig(ctx, config)
}

func clientTLS(d *database.Database, cert *tls.Certificate) (*tls.Config, error) {
	text, err := os.ReadFile(d.ServerCA)
	if err != nil {
		return nil, fmt.Errorf("spec.serverCA: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("spec.serverCA: %s holds no certificate", d.ServerCA)
	}
	return &tls.Config{
		RootCAs: roots, ServerName: d.ServerName, MinVersion: tls.VersionTLS12,
		// Also one that the server does not ask for, so that it has to refuse it.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if cert == nil {
				return &tls.Certificate{}, nil
			}
			return cert, nil
		},
	}, nil
}

// refused says whether the server turned somebody away, for a reason that is about who it was.
func refused(err error) (bool, string) {
	var said *pgconn.PgError
	var network *net.OpError
	switch {
	case err == nil:
		return false, "was let in"
	case errors.As(err, &said) && strings.HasPrefix(said.Code, "28"):
		return true, said.Message
	case errors.As(err, &said):
		return false, "cannot be told: " + said.Message
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Op == "dial":
		return false, "cannot be told: " + err.Error()
	case errors.As(err, &network) && network.Op == "remote error":
		return true, network.Err.Error()
	}
	return true, "the server ended the connection"
}
