// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"
)

const (
	probeInterval = 15 * time.Millisecond
	probeTimeout  = 2 * time.Second
	// patience is how long nothing is said of what takes its time.
	patience = 2 * time.Second
)

// probe tells whether a part is ready; the error says what is missing.
type probe func(ctx context.Context) error

// httpProbe wants a 2xx answer of GET http://127.0.0.1:port/path.
func httpProbe(client *http.Client, port int, path string) probe {
	url := "http://" + net.JoinHostPort(loopback, strconv.Itoa(port)) + path
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		if err = resp.Body.Close(); err != nil {
			return err
		}
		if resp.StatusCode/100 != 2 {
			return fmt.Errorf("GET %s answers %d", url, resp.StatusCode)
		}
		return nil
	}
}

// portProbe wants somebody to listen on the port.
func portProbe(port int) probe {
	return func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp4", net.JoinHostPort(loopback, strconv.Itoa(port)))
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// await waits for a part of the run, and tells what for if it takes long.
func (d *Domain) await(p *process, doing string, try probe) error {
	defer d.tellIfSlow("%s has yet to %s; it has %s", p.part, doing, d.opts.ReadyTimeout)()
	return await(d.ctx, p, d.opts.ReadyTimeout, try)
}

// tellIfSlow says the text when patience is over, unless it is ended before.
func (d *Domain) tellIfSlow(format string, args ...any) (end func() bool) {
	return time.AfterFunc(patience, func() { d.say(format, args...) }).Stop
}

// errNotReady is the cause of a wait that took too long.
var errNotReady = errors.New("not ready in time")

// await tries until the probe succeeds. It gives up with errNotReady after
// limit, with the reason why the context ended, or with the end of the process.
func await(ctx context.Context, p *process, limit time.Duration, try probe) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errNotReady)
	defer cancel()
	ticker := time.NewTicker(probeInterval)
	defer ticker.Stop()
	for {
		attempt, done := context.WithTimeout(ctx, probeTimeout)
		err := try(attempt)
		done()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return p.failure(p.outcome())
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, errNotReady) {
				return cause
			}
			return fmt.Errorf("%w: %w", errNotReady, err)
		case <-ticker.C:
		}
	}
}
