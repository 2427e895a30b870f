// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package program_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/examples/program"
)

func TestRequireToken(t *testing.T) {
	reached := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	for _, c := range []struct {
		name, token, path string
		sent              []string
		want              int
	}{
		{"right", "secret", "/mcp", []string{"secret"}, http.StatusNoContent},
		{"none", "secret", "/mcp", nil, http.StatusUnauthorized},
		{"empty", "secret", "/mcp", []string{""}, http.StatusUnauthorized},
		{"longer", "secret", "/mcp", []string{"secret1"}, http.StatusUnauthorized},
		{"shorter", "secret", "/mcp", []string{"secre"}, http.StatusUnauthorized},
		{"wrong first", "secret", "/mcp", []string{"wrong", "secret"}, http.StatusUnauthorized},
		{"other path", "secret", "/dapr/config", nil, http.StatusUnauthorized},
		{"health", "secret", "/healthz", nil, http.StatusNoContent},
		{"below health", "secret", "/healthz/../mcp", nil, http.StatusUnauthorized},
		{"no token asked for", "", "/mcp", nil, http.StatusNoContent},
	} {
		t.Run(c.name, func(t *testing.T) {
			request := httptest.NewRequest(http.MethodPost, c.path, nil)
			request.Header["Dapr-Api-Token"] = c.sent
			answer := httptest.NewRecorder()
			program.RequireToken(c.token, reached).ServeHTTP(answer, request)
			require.Equal(t, c.want, answer.Code)
		})
	}
}
