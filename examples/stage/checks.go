// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package stage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	sendTimeout = 20 * time.Second
	maxAnswer   = 4 << 20
)

// ErrDiffered says that something was not as expected; what, was printed.
var ErrDiffered = errors.New("not everything was as expected")

// Checks counts expectations. The zero value has none.
type Checks struct {
	count    int
	differed []string
}

// Check counts one expectation and remembers it if it was not met.
func (c *Checks) Check(met bool, format string, arguments ...any) {
	c.count++
	if !met {
		c.differed = append(c.differed, fmt.Sprintf(format, arguments...))
	}
}

// Differed says whether an expectation was not met.
func (c *Checks) Differed() bool { return len(c.differed) > 0 }

// Play plays the steps of a demo in order, and sums up. It ends at one that gives an error, and, unless the settings say to
// keep going, after one in which something was not as expected.
func (c *Checks) Play(ctx context.Context, s Settings, out *Printer, began time.Time, steps ...func(context.Context) error) error {
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
		if c.Differed() && !s.KeepGoing {
			break
		}
	}
	return c.Sum(out, time.Since(began))
}

// Sum prints how the checks went. It is ErrDiffered if one was not met.
func (c *Checks) Sum(out *Printer, took time.Duration) error {
	if !c.Differed() {
		out.Good("\ndemo: %d checks as expected (%.1f s)", c.count, took.Seconds())
		return nil
	}
	out.Bad("\ndemo: %d of %d checks not as expected:", len(c.differed), c.count)
	for _, what := range c.differed {
		out.Bad("  - %s", what)
	}
	return ErrDiffered
}

// Await asks until it is so, for as long as patience lasts.
func Await(ctx context.Context, patience time.Duration, so func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(PollEvery)
	defer tick.Stop()
	for {
		is, err := so(ctx)
		if err != nil || is {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it did not come about: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// Answer is what came back over HTTP.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

func (a Answer) String() string {
	return fmt.Sprintf("HTTP %d %s: %s", a.Status, http.StatusText(a.Status), a.Body)
}

// Send sends one request, and reads at most 4 MiB of the answer.
func Send(ctx context.Context, method, url string, header http.Header, body []byte) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return Answer{}, err
	}
	request.Header = header
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return Answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	return Answer{Status: response.StatusCode, Header: response.Header, Body: text}, err
}
