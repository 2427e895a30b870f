// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/dapr-custody/custody/internal/receipt"
)

// maxOwnAnswer bounds what is read of an answer of the own sidecar or of a guard, but for those of tools.
const maxOwnAnswer = 2 * receipt.MaxEnvelope

// sidecar is that of the worker's own app.
type sidecar struct {
	base  string
	token string
	// signs is set once the sidecar is known to have mcpcaller.
	signs  atomic.Bool
	client *http.Client
	// signers are those of its questions.
	signers signers
}

// answer is an answer without a stream.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (s *sidecar) invoke(app, path string) string {
	return s.base + "/v1.0/invoke/" + url.PathEscape(app) + "/method/" + path
}

func (s *sidecar) request(ctx context.Context, method, address string, body []byte) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if s.token != "" {
		r.Header.Set("dapr-api-token", s.token)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	return r, nil
}

func (s *sidecar) do(r *http.Request, most int64) (*answer, error) {
	resp, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := readAtMost(resp.Body, most)
	if err != nil {
		return nil, err
	}
	return &answer{status: resp.StatusCode, header: resp.Header, body: body}, nil
}

func readAtMost(r io.Reader, most int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(body)) > most {
		err = fmt.Errorf("the answer has more than %d bytes", most)
	}
	return body, err
}

// The own sidecar may be starting over. What it is asked here can be asked again without harm.
const (
	ownAttempts  = 6
	ownFirstWait = 100 * time.Millisecond
)

// own asks the own sidecar, again while it does not answer. ErrNoCaller, ErrRefused and ErrUnreachable tell what went
// wrong.
func (s *sidecar) own(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	for attempt, wait := 1, ownFirstWait; ; attempt, wait = attempt+1, wait*2 {
		var again bool
		again, err = s.ownOnce(ctx, path, body, out)
		if !again || attempt == ownAttempts {
			return err
		}
		if !pause(ctx, wait) {
			return errors.Join(err, ctx.Err())
		}
	}
}

func (s *sidecar) ownOnce(ctx context.Context, path string, body []byte, out any) (again bool, err error) {
	r, err := s.request(ctx, http.MethodPost, s.base+path, body)
	if err != nil {
		return false, err
	}
	got, err := s.do(r, maxOwnAnswer)
	switch {
	case err != nil:
		return true, fmt.Errorf("%w: %w", ErrUnreachable, err)
	case got.status == http.StatusNotFound || got.status == http.StatusMethodNotAllowed:
		return false, ErrNoCaller
	case got.status >= http.StatusInternalServerError:
		return true, fmt.Errorf("%w: status %d: %s", ErrUnreachable, got.status, got.text())
	case got.status != http.StatusOK:
		return false, fmt.Errorf("%w: status %d: %s", ErrRefused, got.status, got.text())
	}
	if err := json.Unmarshal(got.body, out); err != nil {
		return false, fmt.Errorf("%w: its answer cannot be read: %w", ErrRefused, err)
	}
	return false, nil
}

// pause is false if the context ended first.
func pause(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// text is what an answer says, for people.
func (a *answer) text() string {
	const most = 400
	var in struct {
		Message string `json:"message"`
		Error   struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	// A body that is no JSON, or whose error is no object, is told as it is.
	if err := json.Unmarshal(a.body, &in); err == nil && in.Message+in.Error.Message != "" {
		return in.Message + in.Error.Message
	}
	return string(a.body[:min(len(a.body), most)])
}

// signed is what the own sidecar gives for a statement or an approval.
type signed struct {
	Digest   string          `json:"digest"`
	Envelope json.RawMessage `json:"envelope"`
}

// link decodes a signed link, which has to be the one that its digest names. The signature is not verified.
func (s signed) link() (Link, *receipt.Receipt, error) {
	e, err := receipt.DecodeEnvelope(s.Envelope)
	if err != nil {
		return Link{}, nil, err
	}
	link, r, err := decoded(e)
	if err == nil && s.Digest != "" && link.Digest != s.Digest {
		err = fmt.Errorf("the digest of the link is %s, and not %.80q", link.Digest, s.Digest)
	}
	return link, r, err
}

// decoded reads what a link states. The signature is not verified.
func decoded(e *receipt.Envelope) (Link, *receipt.Receipt, error) {
	r, err := e.UnsafeReceipt()
	if err != nil {
		return Link{}, nil, err
	}
	if r.Workflow == nil || r.Workflow.Chain == nil {
		return Link{}, nil, errors.New("the receipt is not a link of a chain")
	}
	return linkOf(e), r, nil
}

// names reports whether the receipt is of the step that was asked. What the sidecar fills in is not compared.
func (n stepName) names(w *receipt.Workflow) bool {
	return w.Chain.Instance == n.Chain.Instance && w.Chain.Started.Equal(n.Chain.Started) &&
		(n.Chain.App == "" || w.Chain.App.String() == n.Chain.App) && (n.App == "" || w.App == n.App) &&
		w.Instance == n.Instance && w.Generation == n.Generation && w.Task == n.Task && w.Step == n.Step
}
