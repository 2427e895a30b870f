// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

const (
	loopback = "127.0.0.1"
	// lowestPort keeps clear of the ports that people give to apps by hand.
	lowestPort   = 20000
	portAttempts = 200
)

// errPortInUse says that another process listens on a port.
var errPortInUse = errors.New("port is in use")

// reservedPort is a port of 127.0.0.1 that is held open until the process that
// will listen on it is about to start. From then until that listens nobody has it,
// and another run that starts now would find it free; so its number is claimed, by
// a name that all runs of the machine know, until this run has ended.
type reservedPort struct {
	number int
	claim  net.Listener // nil for a port that was not chosen by us

	mu sync.Mutex
	ln net.Listener // nil once released
}

// release makes the port free for the process it was reserved for.
func (r *reservedPort) release() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ln == nil {
		return nil
	}
	ln := r.ln
	r.ln = nil
	if err := ln.Close(); err != nil {
		return fmt.Errorf("release port %d: %w", r.number, err)
	}
	return nil
}

// ports reserves ports for one run.
type ports struct {
	held []*reservedPort
	top  int // the first port that the kernel gives to clients
}

func newPorts() *ports { return &ports{top: firstClientPort()} }

// exact reserves the port number, or gives errPortInUse.
func (p *ports) exact(ctx context.Context, number int) (*reservedPort, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", net.JoinHostPort(loopback, strconv.Itoa(number)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, errPortInUse
	}
	if err != nil {
		return nil, fmt.Errorf("reserve port %d: %w", number, err)
	}
	r := &reservedPort{number: number, ln: ln}
	p.held = append(p.held, r)
	return r, nil
}

// free reserves a port that nobody listens on. It lies below the range from
// which the kernel takes the ports of outgoing connections, which could
// otherwise take it between release and use.
func (p *ports) free(ctx context.Context) (*reservedPort, error) {
	if p.top-lowestPort < 1000 {
		return p.any(ctx)
	}
	for range portAttempts {
		r, err := p.claimed(ctx, lowestPort+rand.IntN(p.top-lowestPort)) //nolint:gosec // a port is no secret
		if err == nil || !errors.Is(err, errPortInUse) {
			return r, err
		}
	}
	return nil, fmt.Errorf("no free port found from %d to %d", lowestPort, p.top-1)
}

// claimed reserves a port that no other run has claimed.
func (p *ports) claimed(ctx context.Context, number int) (*reservedPort, error) {
	claim, err := (&net.ListenConfig{}).Listen(ctx, "unix", fmt.Sprintf("@custody-port-%d", number)) // abstract: unix(7)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, errPortInUse
	}
	if err != nil {
		return nil, fmt.Errorf("claim port %d: %w", number, err)
	}
	r, err := p.exact(ctx, number)
	if err != nil {
		return nil, errors.Join(err, claim.Close())
	}
	r.claim = claim
	return r, nil
}

// releaseAll frees what no process was started for, and gives up what was claimed.
func (p *ports) releaseAll() error {
	var errs []error
	for _, r := range p.held {
		errs = append(errs, r.release())
		if r.claim != nil {
			errs = append(errs, r.claim.Close())
		}
	}
	p.held = nil
	return errors.Join(errs...)
}

// firstClientPort reads the start of the ephemeral range; 0 if unknown.
func firstClientPort() int {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) != 2 {
		return 0
	}
	first, err := strconv.Atoi(fields[0])
	if err != nil {
		return 0
	}
	return first
}

// any lets the kernel choose.
func (p *ports) any(ctx context.Context) (*reservedPort, error) {
	r, err := p.exact(ctx, 0)
	if err != nil {
		return nil, err
	}
	addr, ok := r.ln.Addr().(*net.TCPAddr)
	if !ok {
		return nil, fmt.Errorf("reserve port: unexpected address %s", r.ln.Addr())
	}
	r.number = addr.Port
	return r, nil
}
