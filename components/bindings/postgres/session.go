// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Minter makes the certificates with which sessions are opened. That of the door's own CA is good for minutes.
type Minter interface {
	// Mint makes a certificate whose common name is the role and whose URIs name the caller and, unless it is zero, the
	// actor. Its Leaf must be set.
	Mint(role string, caller, actor spiffeid.ID, now time.Time) (tls.Certificate, error)
}

// who is on whose behalf a session is: one is never used for another.
type who struct {
	role          string
	caller, actor spiffeid.ID
}

// session is a connection to a database with its state.
type session struct {
	who
	conn     *pgconn.PgConn
	complain func(what string, err error)
	// expires is when the certificate ends by which it was opened.
	expires time.Time
	used    time.Time
	fresh   bool // not used before
	steps   bool // the steps of transactions are prepared
	spent   bool // not to be used again
	counts  bool // the server counts what is changed
	// server tells one start of one database from every other.
	server string

	types    *pgtype.Map
	prepared map[string]*pgconn.StatementDescription
	order    []string // of prepared, oldest first
	named    int64
}

const (
	dialTimeout  = 10 * time.Second
	closeTimeout = time.Second
	// leastBody is what a message of the server may always have.
	leastBody = 1 << 20
	// slack is what the protocol adds to a row.
	slack = 64 << 10
)

// settings are those of every session, as the server shows them.
func (p *pool) settings() map[string]string {
	limits := &p.at.Limits
	milliseconds := func(d time.Duration) string { return strconv.FormatInt(max(d.Milliseconds(), 1), 10) }
	return map[string]string{
		"search_path":                         p.at.SearchPath(),
		"client_encoding":                     "UTF8",
		"standard_conforming_strings":         "on",
		"TimeZone":                            "UTC",
		"statement_timeout":                   milliseconds(limits.StatementTimeout),
		"lock_timeout":                        milliseconds(limits.LockTimeout),
		"idle_in_transaction_session_timeout": milliseconds(limits.IdleTimeout),
		"default_transaction_read_only":       "on",
		"row_security":                        "on",
	}
}

// config says how to connect. What the environment says to other programs does not count here.
func (p *pool) config(w who) (*pgconn.Config, time.Time, error) {
	roots, err := authorities(p.at.ServerCA)
	if err != nil {
		return nil, time.Time{}, err
	}
	cert, err := p.ca.Mint(w.role, w.caller, w.actor, p.now())
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("a certificate for role %s: %w", w.role, err)
	}
	if cert.Leaf == nil {
		return nil, time.Time{}, errors.New("a certificate without its leaf")
	}
	config, err := pgconn.ParseConfig("host=localhost port=1 user=nobody dbname=none sslmode=disable target_session_attrs=any")
	if err != nil {
		return nil, time.Time{}, err
	}
	config.Host, config.Port, config.Database, config.User = p.at.Host, uint16(p.at.Port), p.at.DBName, w.role
	config.Password, config.Fallbacks, config.SSLCertMode = "", nil, "require"
	config.RequireAuth = "none" // the server takes the certificate and asks for nothing else
	config.ConnectTimeout = dialTimeout
	config.MaxProtocolMessageBodyLen = max(p.at.Limits.MaxBytes, leastBody) + slack
	config.RuntimeParams = p.settings()
	config.RuntimeParams["application_name"] = "custody"
	config.ValidateConnect, config.AfterConnect, config.OnNotification = nil, nil, nil
	config.TLSConfig = &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: roots, ServerName: p.at.ServerName,
		// A request to cancel is a connection of its own, and may come when the first certificate is over.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if p.now().Before(cert.Leaf.NotAfter) {
				return &cert, nil
			}
			renewed, err := p.ca.Mint(w.role, w.caller, w.actor, p.now())
			return &renewed, err
		},
	}
	return config, cert.Leaf.NotAfter, nil
}

// authorities reads a file of certificates as it is now.
func authorities(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("the authorities of the server's certificate: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("the authorities of the server's certificate: %s holds no certificate", file)
	}
	return roots, nil
}

// connect opens a session and sees to it that it is what was asked for.
func (p *pool) connect(ctx context.Context, w who) (*session, error) {
	config, expires, err := p.config(w)
	if err != nil {
		return nil, err
	}
	dialing, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := pgconn.ConnectConfig(dialing, config)
	if err != nil {
		return nil, err
	}
	s := &session{
		who: w, conn: conn, complain: p.complain, expires: expires, fresh: true, types: pgtype.NewMap(),
		prepared: map[string]*pgconn.StatementDescription{},
	}
	if err := s.inspect(dialing, p.settings()); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// inspectSQL asks for the settings and, in the row whose name is empty, for what the session is.
const inspectSQL = `
SELECT s.name, s.setting FROM pg_catalog.pg_settings s
UNION ALL
SELECT '', pg_catalog.concat_ws(' ', r.rolsuper OR r.rolbypassrls, current_user = r.rolname AND session_user = r.rolname,
       d.oid, extract(epoch FROM pg_catalog.pg_postmaster_start_time()))
FROM pg_catalog.pg_roles r, pg_catalog.pg_database d
WHERE r.rolname OPERATOR(pg_catalog.=) $1 AND d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()`

const leastVersion = 150000

// unfitError says that a session is not what it has to be.
type unfitError struct{ reason string }

func (e *unfitError) Error() string { return "the session is not fit for use: " + e.reason }

// inspect asks the server what the session is and refuses one in which a statement could mean something else than sqlguard
// says, or in which row level security does not hold.
func (s *session) inspect(ctx context.Context, want map[string]string) error {
	result := s.conn.ExecParams(ctx, inspectSQL, [][]byte{[]byte(s.role)}, nil, nil, nil).Read()
	if result.Err != nil {
		return result.Err
	}
	have := make(map[string]string, len(result.Rows))
	for _, row := range result.Rows {
		have[string(row[0])] = string(row[1])
	}
	for name, value := range want {
		if have[name] != value {
			return &unfitError{fmt.Sprintf("%s is %.80q and not %.80q", name, have[name], value)}
		}
	}
	if encoding := have["server_encoding"]; encoding != "UTF8" {
		return &unfitError{fmt.Sprintf("the database is encoded in %.40s and not in UTF8", encoding)}
	}
	if version, err := strconv.Atoi(have["server_version_num"]); err != nil || version < leastVersion {
		return &unfitError{fmt.Sprintf("the server is of version %.40s, and 15 is the least", have["server_version"])}
	}
	rest, ok := strings.CutPrefix(have[""], "f t ")
	if !ok {
		return &unfitError{fmt.Sprintf("role %.80s stands above row level security, or the session is another role's", s.role)}
	}
	s.server, s.counts = rest, have["track_counts"] == "on"
	return nil
}

// idle reports whether the session can be used for another statement.
func (s *session) idle(now time.Time) bool {
	return !s.spent && !s.conn.IsClosed() && s.conn.TxStatus() == 'I' && now.Before(s.expires)
}

// close ends the session. It does not wait for the server.
func (s *session) close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := s.conn.Close(ctx); err != nil {
		s.complain("a session did not end as it should", err)
	}
}

// cancelEvery is the time between two requests to cancel.
const cancelEvery = 200 * time.Millisecond

// cancelAgain returns once the server has let go of a session that was given up. pgconn asks to cancel once, which does
// nothing if it comes before the server has begun with the statement (PostgreSQL, Canceling Requests in Progress): the
// statement would then run for as long as it may.
func (s *session) cancelAgain() {
	tick := time.NewTicker(cancelEvery)
	defer tick.Stop()
	told := false
	for {
		select {
		case <-s.conn.CleanupDone():
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		// A server that cannot be asked is asked again until pgconn gives up, and that is told once.
		if err := s.conn.CancelRequest(ctx); err != nil && !told {
			s.complain("a statement that nobody waits for could not be cancelled, which is tried again", err)
			told = true
		}
		cancel()
	}
}
