// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/dapr-custody/custody/internal/identity"
)

const authType = "unix-peer"

// Info is what a handshake of [Credentials] found out of a connection.
type Info struct {
	credentials.CommonAuthInfo
	credentials *Credentials
	raw         net.Conn
	process     identity.Process
	// handle is nil where Options.Own speaks, and where the process could not be attested.
	handle *Handle
	known  atomic.Pointer[known]
	// checked is when the caller was matched last, in nanoseconds.
	checked atomic.Int64
	revoked atomic.Bool
}

// known is whom the process was matched to, or why to nobody.
type known struct {
	caller identity.Caller
	err    error
}

// AuthType implements credentials.AuthInfo.
func (*Info) AuthType() string { return authType }

// FromContext says who sent the request that ctx belongs to, and which process it
// came from. Every handler must ask it: a connection alone proves nothing. The error is
// for the operator, and not for the peer, which learns from it what would let it in. It fails, and then the Caller is nobody, where the connection was not
// attested by [Credentials] or could not be, where the process that connected has ended, where no
// registration matches it, and where the registration that let it in is gone: the
// connection is then closed, so that the peer comes again and is attested anew.
func FromContext(ctx context.Context) (identity.Caller, identity.Process, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return identity.Caller{}, identity.Process{}, fmt.Errorf("peer: %w", ErrNoPeer)
	}
	info, ok := p.AuthInfo.(*Info)
	if !ok || info == nil || info.credentials == nil {
		return identity.Caller{}, identity.Process{}, fmt.Errorf("peer: %w", ErrNoPeer)
	}
	caller, err := info.now()
	if err != nil {
		return identity.Caller{}, info.process, fmt.Errorf("peer: %w", err)
	}
	return caller, info.process, nil
}

// now is who the peer is at this moment.
func (i *Info) now() (identity.Caller, error) {
	if own := i.credentials.opts.Own; own != nil {
		caller, err := own()
		if err == nil && caller.IsZero() {
			err = ErrNoPeer
		}
		return caller, err
	}
	if i.revoked.Load() {
		return identity.Caller{}, ErrRevoked
	}
	if i.handle == nil {
		return identity.Caller{}, i.known.Load().err
	}
	if err := i.handle.Ended(); err != nil {
		return identity.Caller{}, i.hangUp(err)
	}
	now, last := i.credentials.opts.Now().UnixNano(), i.checked.Load()
	// A clock that went back says nothing, so that the match is asked for anew.
	fresh := now >= last && now-last < int64(i.credentials.opts.Recheck)
	was := i.known.Load()
	if fresh || !i.checked.CompareAndSwap(last, now) {
		return was.caller, was.err
	}
	caller, err := i.credentials.matchOnce(i.process)
	switch {
	case was.err != nil:
		i.known.Store(&known{caller: caller, err: err})
		return caller, err
	case err != nil:
		return identity.Caller{}, i.hangUp(errors.Join(ErrRevoked, err))
	case caller != was.caller:
		return identity.Caller{}, i.hangUp(fmt.Errorf("%w: it was %s and is now %s", ErrRevoked, was.caller, caller))
	}
	return caller, nil
}

// hangUp ends the connection, once, and returns why.
func (i *Info) hangUp(why error) error {
	if !i.revoked.Swap(true) {
		i.credentials.refused(i.process, fmt.Errorf("peer: %w", why))
		// That it was closed already loses nothing.
		i.raw.Close()
	}
	return why
}
