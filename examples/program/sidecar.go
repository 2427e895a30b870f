// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package program

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
)

// MaxAnswer is the largest answer of the sidecar that is read, in bytes.
const MaxAnswer = 16 << 20

// Sidecar is the HTTP API of the program's own sidecar. Base is its URL with the version, as http://127.0.0.1:3500/v1.0, and
// Token is Dapr's API token, "" where the sidecar asks for none.
type Sidecar struct{ Base, Token string }

// Send sends JSON and gives the answer. One that says that it did not work is an error.
func (s Sidecar) Send(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, s.Base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	if s.Token != "" {
		request.Header.Set("dapr-api-token", s.Token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, MaxAnswer+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > MaxAnswer:
		return nil, fmt.Errorf("the sidecar's answer has more than %d bytes", MaxAnswer)
	case response.StatusCode >= http.StatusMultipleChoices:
		return nil, fmt.Errorf("the sidecar answered %s: %.300s", response.Status, text)
	}
	return text, nil
}
