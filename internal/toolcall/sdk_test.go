// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package toolcall_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/toolcall"
)

// door is the least that a door does: parse, forward Body, filter lists and read answers.
type door struct {
	server http.Handler
	mu     sync.Mutex
	faults []error
	calls  []string
	params int // Mcp-Param headers seen
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		d.server.ServeHTTP(w, r)
		return
	}
	if err := d.post(w, r); err != nil {
		d.mu.Lock()
		d.faults = append(d.faults, err)
		d.mu.Unlock()
		w.WriteHeader(http.StatusBadRequest)
	}
}

func (d *door) post(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	h := toolcall.HeadersOf(r.Header)
	m, err := toolcall.Parse(h, body, toolcall.Limits{})
	if err != nil {
		return err
	}
	if !toolcall.Known(m.Method(), m.ProtocolVersion()) {
		return errors.New("unknown: " + m.Method() + " in " + m.ProtocolVersion())
	}
	d.mu.Lock()
	d.calls = append(d.calls, strings.TrimSpace(m.Method()+" "+m.Name()))
	d.params += len(h.Params)
	d.mu.Unlock()

	r.Body = io.NopCloser(bytes.NewReader(m.Body()))
	r.ContentLength = int64(len(m.Body()))
	rec := httptest.NewRecorder()
	d.server.ServeHTTP(rec, r)
	answer, err := d.answer(m, rec)
	if err != nil {
		return err
	}
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(rec.Code)
	_, err = w.Write(answer)
	return err
}

func (d *door) answer(m *toolcall.Message, rec *httptest.ResponseRecorder) ([]byte, error) {
	one := func(message []byte) ([]byte, error) {
		a, err := toolcall.ReadAnswer(message, toolcall.Limits{})
		if err != nil {
			return nil, err
		}
		if a.Kind == toolcall.KindResponse && !bytes.Equal(a.ID, m.ID()) {
			return nil, errors.New("answer has another id")
		}
		if m.Method() != "tools/list" {
			return message, nil
		}
		out, _, err := toolcall.FilterList("tools/list", message, m.ProtocolVersion(), toolcall.Limits{}, only("echo"))
		return out, err
	}
	switch rec.Header().Get("Content-Type") {
	case "application/json":
		return one(rec.Body.Bytes())
	case "text/event-stream":
	default:
		return rec.Body.Bytes(), nil
	}
	var out []byte
	for events := toolcall.NewEventReader(rec.Body, toolcall.Limits{}); ; {
		ev, err := events.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if len(ev.Data) > 0 {
			if ev.Data, err = one(ev.Data); err != nil {
				return nil, err
			}
		}
		if out, err = toolcall.AppendEvent(out, ev); err != nil {
			return nil, err
		}
	}
}

// TestOfficialSDK shows that what the official SDK sends in each protocol family passes, that its answers are read, and
// that its client takes filtered lists.
func TestOfficialSDK(t *testing.T) {
	type in struct {
		Region string `json:"region"`
		Count  int    `json:"count"`
	}
	echo := func(_ context.Context, _ *mcp.CallToolRequest, a in) (*mcp.CallToolResult, any, error) {
		if a.Count == 0 {
			return nil, nil, errors.New("count is zero")
		}
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: a.Region}}}, nil, nil
	}
	schema := map[string]any{"type": "object", "properties": map[string]any{
		"region": map[string]any{"type": "string", "x-mcp-header": "Region"},
		"count":  map[string]any{"type": "integer", "x-mcp-header": "Count"},
	}}
	for _, tt := range []struct {
		version         string
		stateless, json bool
		opening         []string
	}{
		{toolcall.Version20260728, true, true, []string{"server/discover"}},
		{toolcall.Version20260728, true, false, []string{"server/discover"}},
		{toolcall.Version20251125, false, false, []string{"initialize", "notifications/initialized"}},
		{toolcall.Version20250618, false, true, []string{"initialize", "notifications/initialized"}},
		{toolcall.Version20250326, false, true, []string{"initialize", "notifications/initialized"}},
	} {
		t.Run(tt.version, func(t *testing.T) {
			server := mcp.NewServer(&mcp.Implementation{Name: "s", Version: "1"}, nil)
			mcp.AddTool(server, &mcp.Tool{Name: "echo", InputSchema: schema}, echo)
			mcp.AddTool(server, &mcp.Tool{Name: "drop_all"}, echo)
			d := &door{server: mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server },
				&mcp.StreamableHTTPOptions{Stateless: tt.stateless, JSONResponse: tt.json})}
			ts := httptest.NewServer(d)
			defer ts.Close()

			client := mcp.NewClient(&mcp.Implementation{Name: "c", Version: "1"}, nil)
			session, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: ts.URL, DisableStandaloneSSE: true, MaxRetries: -1},
				&mcp.ClientSessionOptions{ProtocolVersion: tt.version})
			require.NoError(t, err, "%v", d.faults)
			tools, err := session.ListTools(t.Context(), nil)
			require.NoError(t, err, "%v", d.faults)
			require.Len(t, tools.Tools, 1)
			require.Equal(t, "echo", tools.Tools[0].Name)
			if tt.version == toolcall.Version20260728 {
				require.Equal(t, "private", tools.CacheScope)
			}

			for _, region := range []string{"eu-west", "süd/\u2028 \"q\"", " padded "} {
				res, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "echo", Arguments: map[string]any{"region": region, "count": 2}})
				require.NoError(t, err, "%v", d.faults)
				require.Equal(t, region, res.Content[0].(*mcp.TextContent).Text)
			}
			res, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "echo", Arguments: map[string]any{"region": "eu", "count": 0}})
			require.NoError(t, err, "%v", d.faults)
			require.True(t, res.IsError)
			_, err = session.CallTool(t.Context(), &mcp.CallToolParams{Name: "none"})
			require.ErrorContains(t, err, "unknown tool")
			require.NoError(t, session.Close())

			require.Empty(t, d.faults)
			require.Equal(t, append(tt.opening, "tools/list", "tools/call echo", "tools/call echo", "tools/call echo", "tools/call echo", "tools/call none"), d.calls)
			require.Equal(t, tt.version == toolcall.Version20260728, d.params > 0, "the client mirrors arguments in the new revision")
		})
	}
}
