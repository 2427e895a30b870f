// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	example "github.com/dapr-custody/custody/examples/delegation"
	"github.com/dapr-custody/custody/internal/receipt"
)

// saying puts Custody-Txn into each request of an MCP client.
type saying struct{ value string }

func (s *saying) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	if s.value != "" {
		r.Header.Set("Custody-Txn", s.value)
	}
	return http.DefaultTransport.RoundTrip(r)
}

// The example of docs/delegation.md: an MCP server in the middle, whose sessions outlive the transactions in them.
func TestBrokerOfTheExample(t *testing.T) {
	var broker http.Handler // it needs the port of its sidecar
	r := startRelays(t, map[string]http.Handler{"broker": http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
		if broker == nil {
			http.NotFound(w, in) // the sidecar's questions at start
			return
		}
		broker.ServeHTTP(w, in)
	})})
	broker = example.NewBroker(r.invoke("broker", "server"), r.transport("broker"))

	begins := &saying{value: "begin"}
	client := mcp.NewClient(&mcp.Implementation{Name: "asker", Version: "1"}, nil)
	ask := func(session *mcp.ClientSession) *mcp.CallToolResult {
		result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "ask", Arguments: example.Question{Text: "hi"}})
		require.NoError(t, err)
		return result
	}
	session, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{
		Endpoint: r.invoke("asker", "broker"), HTTPClient: &http.Client{Transport: begins}, DisableStandaloneSSE: true, MaxRetries: -1,
	}, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, session.Close()) })
	result := ask(session)
	require.False(t, result.IsError, result.Content)
	last := func() *receipt.Receipt {
		receipts := r.mesh.journal().Receipts
		return receipts[len(receipts)-1]
	}
	require.Equal(t, []spiffeid.ID{
		spiffeid.RequireFromString("spiffe://custody.local/ns/default/asker"), spiffeid.RequireFromString("spiffe://custody.local/ns/default/broker"),
	}, last().Actors)

	// A later call of the same session is of another transaction, or of none.
	first := last().Txn
	require.False(t, ask(session).IsError)
	require.NotEqual(t, first, last().Txn)
	begins.value = ""
	require.True(t, ask(session).IsError)
	require.Contains(t, last().Decision.Reason, "no rule allows it")
	require.Empty(t, last().Txn)
}

// docs/delegation.md shows the example as it is.
func TestExampleInTheDocs(t *testing.T) {
	code, err := os.ReadFile(filepath.Join("..", "..", "examples", "delegation", "broker.go"))
	require.NoError(t, err)
	docs, err := os.ReadFile(filepath.Join("..", "..", "docs", "delegation.md"))
	require.NoError(t, err)
	begin, end := strings.Index(string(code), "\tmcp.AddTool("), strings.Index(string(code), "\treturn mcp.NewStreamable")
	require.Less(t, 0, begin)
	require.Less(t, begin, end)
	var shown strings.Builder
	for line := range strings.Lines(string(code[begin:end])) {
		shown.WriteString("    " + strings.ReplaceAll(strings.TrimPrefix(line, "\t"), "\t", "    "))
	}
	require.Contains(t, string(docs), shown.String())
}
