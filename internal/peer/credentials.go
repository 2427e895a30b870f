// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/dapr-custody/custody/internal/identity"
)

const (
	defaultTimeout = 10 * time.Second
	defaultRecheck = time.Second
	// lookAgain is the time between two looks for a registration.
	lookAgain = 20 * time.Millisecond
	// maxAttesting bounds the attestations under way, of which some may hang: a
	// process can keep its memory from being read.
	maxAttesting = 64
)

// Options of Credentials. Where neither Match nor Own is set, everyone is refused.
type Options struct {
	// Match makes a caller of an attested process, or refuses it; [Folder.Match] does.
	// It is called for each connection, again while Wait runs, and again for each
	// connection that is in use every Recheck. It must be safe for concurrent use.
	Match func(identity.Process) (identity.Caller, error)
	// Own is set where whoever reaches the socket speaks as this process itself
	// (identity.OwnSVID). Then processes are not attested, Match is not used, and the
	// Process of a request holds PID, UID and GID alone. It is called for each
	// request, so that an identity that has expired is not used.
	Own func() (identity.Caller, error)
	// Refused is called for each connection that is refused or given up, with what is
	// known of the process. It may be nil, and must be safe for concurrent use.
	Refused func(identity.Process, error)
	// Wait is how long a process without a registration is looked up again before it
	// is refused: its registration may be about to be written. 0 means not at all.
	Wait time.Duration
	// Timeout bounds the handshake, Wait included. 0 means 10 s.
	Timeout time.Duration
	// Recheck is how long a connection in use goes without being matched anew. 0 means 1 s.
	Recheck time.Duration
	// Now is the clock for Recheck. nil means the system's.
	Now func() time.Time
}

// Credentials attest the peers of a gRPC server on Unix sockets, once per
// connection. Nothing is read from or written to the connection for it, so that
// clients use no credentials, as daprd does. They are for servers only.
type Credentials struct {
	opts      Options
	attestor  *Attestor
	attesting chan struct{}
}

// NewCredentials makes Credentials for grpc.Creds. The listener must give
// *net.UnixConn: one that wraps connections has them refused.
func NewCredentials(opts Options) *Credentials {
	if opts.Timeout == 0 {
		opts.Timeout = defaultTimeout
	}
	if opts.Recheck == 0 {
		opts.Recheck = defaultRecheck
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Credentials{opts: opts, attestor: &Attestor{}, attesting: make(chan struct{}, maxAttesting)}
}

// ServerHandshake attests the process at the other end of raw. One that is nobody's, or
// of which nothing certain can be found out, is let in to be told so: FromContext fails
// for all its requests, for the former until it is registered. If the handshake failed
// instead, daprd would wait for ever (Dapr pkg/components/pluggable/discovery.go dials
// with WithBlock and no deadline). It fails, and gRPC closes raw, for what is not a Unix
// socket, for a process that has ended, and where time is up, so that the peer tries again.
func (c *Credentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.opts.Timeout)
	defer cancel()
	info, process, err := c.admit(ctx, raw)
	if err != nil {
		err = fmt.Errorf("peer: %w", err)
		c.refused(process, err)
		return nil, nil, err
	}
	return &conn{Conn: raw, handle: info.handle}, info, nil
}

func (c *Credentials) admit(ctx context.Context, raw net.Conn) (*Info, identity.Process, error) {
	socket, ok := raw.(*net.UnixConn)
	if !ok {
		return nil, identity.Process{}, fmt.Errorf("%w: %T", ErrNotUnix, raw)
	}
	info := &Info{
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
		credentials:    c, raw: raw,
	}
	if c.opts.Own != nil {
		process, err := connected(socket)
		info.process = process
		return info, process, err
	}
	process, handle, err := c.attest(ctx, socket)
	if err != nil && (errors.Is(err, ErrEnded) || ctx.Err() != nil) {
		return nil, process, err
	}
	var caller identity.Caller
	if err == nil {
		caller, err = c.match(ctx, process, handle)
	}
	if err != nil {
		c.refused(process, fmt.Errorf("peer: %w", err))
	}
	info.process, info.handle = process, handle
	info.known.Store(&known{caller: caller, err: err})
	info.checked.Store(c.opts.Now().UnixNano())
	return info, process, nil
}

// attested is what came of one attestation.
type attested struct {
	process identity.Process
	handle  *Handle
	err     error
}

// attest gives up when ctx ends, even if the kernel does not answer: reading of a
// process waits for its memory, and reading its executable for a disk.
func (c *Credentials) attest(ctx context.Context, socket *net.UnixConn) (identity.Process, *Handle, error) {
	known, err := connected(socket)
	if err != nil {
		return known, nil, err
	}
	select {
	case c.attesting <- struct{}{}:
	case <-ctx.Done():
		return known, nil, fmt.Errorf("%d other peers are being attested, none of which ends: %w", maxAttesting, ctx.Err())
	}
	done := make(chan attested, 1)
	go func() {
		defer func() { <-c.attesting }()
		var a attested
		a.process, a.handle, a.err = c.attestor.Attest(socket)
		done <- a
	}()
	select {
	case a := <-done:
		return a.process, a.handle, a.err
	case <-ctx.Done():
		go func() {
			if late := <-done; late.handle != nil {
				if err := late.handle.Close(); err != nil {
					c.refused(late.process, fmt.Errorf("peer: let it go: %w", err))
				}
			}
		}()
		return known, nil, fmt.Errorf("%w: it did not let itself be read within %v", ErrHidden, c.opts.Timeout)
	}
}

// match asks for the caller until it is registered, or until Wait or ctx is over.
func (c *Credentials) match(ctx context.Context, process identity.Process, handle *Handle) (identity.Caller, error) {
	wait, cancel := context.WithTimeout(ctx, c.opts.Wait)
	defer cancel()
	for {
		caller, err := c.matchOnce(process)
		if !errors.Is(err, identity.ErrUnregistered) {
			return caller, err
		}
		select {
		case <-wait.Done():
			return identity.Caller{}, err
		case <-time.After(lookAgain):
		}
		if ended := handle.Ended(); ended != nil {
			return identity.Caller{}, errors.Join(ended, err)
		}
	}
}

func (c *Credentials) matchOnce(process identity.Process) (identity.Caller, error) {
	if c.opts.Match == nil {
		return identity.Caller{}, errors.New("nothing says who a process is: set Options.Match")
	}
	caller, err := c.opts.Match(process)
	if err == nil && caller.IsZero() {
		err = fmt.Errorf("%w: the match is nobody", identity.ErrUnregistered)
	}
	if err != nil {
		return identity.Caller{}, err
	}
	return caller, nil
}

func (c *Credentials) refused(process identity.Process, err error) {
	if c.opts.Refused != nil {
		c.opts.Refused(process, err)
	}
}

// ClientHandshake fails: a client has nothing to show.
func (c *Credentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("peer: these credentials are for servers only")
}

// Info names the protocol.
func (c *Credentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: authType}
}

// Clone returns c, which has no state that changes.
func (c *Credentials) Clone() credentials.TransportCredentials { return c }

// OverrideServerName does nothing: there are no names.
func (c *Credentials) OverrideServerName(string) error { return nil }

// conn lets the process go when the connection ends.
type conn struct {
	net.Conn
	handle *Handle
}

func (c *conn) Close() error {
	err := c.Conn.Close()
	if c.handle != nil {
		err = errors.Join(err, c.handle.Close())
	}
	return err
}
