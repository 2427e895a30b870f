// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/workflows/custody"
)

var quiet = slog.New(slog.DiscardHandler)

// What is signed is what was seen: if intake asks for something else by then, nothing is.
func TestOnlyWhatWasSeenIsApproved(t *testing.T) {
	seen := payment{Order: 7, Amount: 1999, Reason: "broken"}
	asking := func(statement string) custody.Ask {
		return custody.Ask{Event: "custody.approval.refund-approval", Statement: json.RawMessage(statement)}
	}
	same := asking(`{"reason":"broken","amount":1999,"order":7}`)
	ask, err := theOneFor([]custody.Ask{asking(`{"order":8,"amount":1999,"reason":"broken"}`), same}, seen)
	require.NoError(t, err)
	require.Equal(t, same, ask)
	for _, statement := range []string{
		`{"order":7,"amount":2000,"reason":"broken"}`,
		`{"order":7,"amount":1999,"reason":"broken","to":"me"}`,
		`{"order":7,"amount":1999}`,
		`{"order":7,"amount":1999,"reason":"broken"} {}`,
		`null`,
		``,
	} {
		_, err := theOneFor([]custody.Ask{asking(statement)}, seen)
		require.ErrorContains(t, err, `no approval of 1999 cents for order 7 ("broken") is waited for`, statement)
	}
	_, err = theOneFor(nil, seen)
	require.Error(t, err)
}

// The approver and the fraud service speak of exactly the arguments of the tool, whatever the worker adds.
func TestPaymentIsWhatTheToolTakes(t *testing.T) {
	var in request
	require.NoError(t, decode(strings.NewReader(`{"order":7,"amount":1999,"reason":"broken","skip":["fraud"],"grow":5}`), &in))
	require.True(t, in.skips("fraud"))
	require.False(t, in.skips("approval"))
	require.Equal(t, 5, in.Grow)
	text, err := json.Marshal(in.payment)
	require.NoError(t, err)
	require.JSONEq(t, `{"order":7,"amount":1999,"reason":"broken"}`, string(text))
	text, err = json.Marshal(in)
	require.NoError(t, err)
	var again request
	require.NoError(t, json.Unmarshal(text, &again))
	require.Equal(t, in, again)
}

func TestDecodeTakesOneValueWithoutOthers(t *testing.T) {
	for _, text := range []string{``, `[]`, `{"orders":7}`, `{"order":"7"}`, `{"order":7}{}`, `{"order":7} x`} {
		var p payment
		require.Error(t, decode(strings.NewReader(text), &p), text)
	}
}

func TestAnswer(t *testing.T) {
	ask := func(f func(*http.Request) (any, error)) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		answer(quiet, f)(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(strings.Repeat("x", maxBody+1))))
		return w
	}
	w := ask(func(*http.Request) (any, error) { return state{Status: "RUNNING"}, nil })
	require.Equal(t, http.StatusOK, w.Code)
	require.JSONEq(t, `{"status":"RUNNING"}`, w.Body.String())
	w = ask(func(*http.Request) (any, error) { return nil, errors.New("no such order") })
	require.Equal(t, http.StatusBadRequest, w.Code)
	require.Contains(t, w.Body.String(), "no such order")
	w = ask(func(r *http.Request) (any, error) { return io.ReadAll(r.Body) })
	require.Equal(t, http.StatusBadRequest, w.Code)
	require.Contains(t, w.Body.String(), "too large")
}

// The tool listens to its sidecar only.
func TestPaymentsWantTheTokenOfTheSidecar(t *testing.T) {
	t.Setenv("APP_API_TOKEN", "secret")
	handler, err := payments(t.Context(), quiet)
	require.NoError(t, err)
	call := func(path, token string) (int, string) {
		body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"refund_payment","arguments":{"order":7,"amount":1999,"reason":"broken"}}}`
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
		if path == "/healthz" {
			r = httptest.NewRequest(http.MethodGet, path, nil)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", "application/json, text/event-stream")
		r.Header.Set("dapr-api-token", token)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	for _, token := range []string{"", "guess", "secret2"} {
		code, _ := call("/mcp", token)
		require.Equal(t, http.StatusUnauthorized, code)
	}
	code, text := call("/mcp", "secret")
	require.Equal(t, http.StatusOK, code, text)
	require.Contains(t, text, "P-00001", "those without the token paid nothing")
	code, _ = call("/healthz", "")
	require.Equal(t, http.StatusOK, code)
}

func TestRunSaysWhatIsMissing(t *testing.T) {
	require.ErrorContains(t, run(t.Context(), nil, quiet), "say which app to be")
	require.ErrorContains(t, run(t.Context(), []string{"boss"}, quiet), "say which app to be")
	t.Setenv("APP_PORT", "")
	require.ErrorContains(t, run(t.Context(), []string{"payments"}, quiet), "set APP_PORT")
	t.Setenv("APP_PORT", "no")
	require.ErrorContains(t, run(t.Context(), []string{"payments"}, quiet), "listen")
}
