// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/examples/orders/postgres"
)

func newStore(t *testing.T) *store {
	t.Helper()
	database, err := postgres.Start(t.Context(), postgres.FromEnvironment())
	require.NoError(t, err)
	direct, closePool, err := openPool(t.Context(), database.URL(), database.Close)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, closePool()) })
	return &store{database: direct}
}

// connect serves s on a real socket and opens an MCP session of that version.
func connect(t *testing.T, s *store, options handlerOptions, version string) *mcp.ClientSession {
	t.Helper()
	handler, err := newHandler(s, options, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	web := httptest.NewServer(handler)
	t.Cleanup(web.Close)
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	session, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: web.URL + mcpPath},
		&mcp.ClientSessionOptions{ProtocolVersion: version})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, session.Close()) })
	return session
}

// call returns the structured result as JSON, or the text of a tool error.
func call(t *testing.T, session *mcp.ClientSession, tool, arguments string) (result, refusal string) {
	t.Helper()
	answer, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: tool, Arguments: json.RawMessage(arguments)})
	if err != nil {
		return "", err.Error()
	}
	if answer.IsError {
		return "", answer.Content[0].(*mcp.TextContent).Text
	}
	structured, err := json.Marshal(answer.StructuredContent)
	require.NoError(t, err)
	require.JSONEq(t, string(structured), answer.Content[0].(*mcp.TextContent).Text)
	return string(structured), ""
}

func TestEveryProtocolAndForm(t *testing.T) {
	s := newStore(t)
	for _, c := range []struct {
		name      string
		options   handlerOptions
		ask, want string
	}{
		{"stateless newest", handlerOptions{}, "2026-07-28", "2026-07-28"},
		{"stateless 2025-11-25", handlerOptions{}, "2025-11-25", "2025-11-25"},
		{"stateless 2025-06-18", handlerOptions{}, "2025-06-18", "2025-06-18"},
		{"stateless 2025-03-26", handlerOptions{}, "2025-03-26", "2025-03-26"},
		{"stateless event stream", handlerOptions{eventStream: true}, "2026-07-28", "2026-07-28"},
		{"stateful falls back", handlerOptions{stateful: true}, "2026-07-28", "2025-11-25"},
		{"stateful event stream", handlerOptions{stateful: true, eventStream: true}, "2025-06-18", "2025-06-18"},
	} {
		t.Run(c.name, func(t *testing.T) {
			session := connect(t, s, c.options, c.ask)
			require.Equal(t, c.want, session.InitializeResult().ProtocolVersion)
			require.Equal(t, c.options.stateful, session.ID() != "")
			tools, err := session.ListTools(t.Context(), nil)
			require.NoError(t, err)
			var names []string
			for _, tool := range tools.Tools {
				names = append(names, tool.Name)
			}
			require.Equal(t, []string{"get_order", "list_customers", "run_report", "update_order_status"}, names)
			result, refusal := call(t, session, "list_customers", `{"country":"SE"}`)
			require.Empty(t, refusal)
			require.JSONEq(t, `{"customers":[{"id":12,"name":"Lindqvist Tra","email":"order@lindqvist.example",
				"country":"SE","created_at":"2024-11-27T10:50:00Z","orders":4}]}`, result)
		})
	}
}

func TestTools(t *testing.T) {
	session := connect(t, newStore(t), handlerOptions{}, "")
	for _, c := range []struct{ name, tool, arguments, want string }{
		{
			"customers of nowhere", "list_customers", `{"country":"ZZ"}`,
			`{"customers":[]}`,
		},
		{
			"an order", "get_order", `{"order_id":1003}`,
			`{"id":1003,"customer_id":4,"customer":"Delta Cycles","status":"delivered",
			  "placed_at":"2025-01-06T11:21:00Z","updated_at":"2025-01-06T11:21:00Z",
			  "items":[{"line":1,"product":"hand truck","quantity":1,"unit_price_cents":8450}],"total_cents":8450}`,
		},
		{
			"a status", "update_order_status", `{"order_id":1060,"status":"paid"}`,
			`{"order_id":1060,"old_status":"pending","new_status":"paid"}`,
		},
		{
			"the same status again", "update_order_status", `{"order_id":1060,"status":"paid"}`,
			`{"order_id":1060,"old_status":"paid","new_status":"paid"}`,
		},
		{
			"months", "run_report", `{"report":"revenue_by_month","from":"2025-01-01","to":"2025-02-28"}`,
			`{"report":"revenue_by_month","rows":[
			  {"label":"2025-01","orders":4,"revenue_cents":88440},{"label":"2025-02","orders":5,"revenue_cents":104215}]}`,
		},
		{
			"customers by revenue", "run_report", `{"report":"top_customers","limit":2}`,
			`{"report":"top_customers","rows":[
			  {"label":"Isola Ceramiche","orders":9,"revenue_cents":289945},
			  {"label":"Delta Cycles","orders":15,"revenue_cents":275675}]}`,
		},
		{
			"statuses", "run_report", `{"report":"orders_by_status"}`,
			`{"report":"orders_by_status","rows":[
			  {"label":"cancelled","orders":7,"revenue_cents":151135},{"label":"delivered","orders":43,"revenue_cents":1057335},
			  {"label":"paid","orders":5,"revenue_cents":141195},{"label":"pending","orders":2,"revenue_cents":25505},
			  {"label":"shipped","orders":3,"revenue_cents":49570}]}`,
		},
		{
			"a span without orders", "run_report", `{"report":"orders_by_status","to":"2024-12-31"}`,
			`{"report":"orders_by_status","rows":[]}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			result, refusal := call(t, session, c.tool, c.arguments)
			require.Empty(t, refusal)
			require.JSONEq(t, c.want, result)
		})
	}
}

func TestToolsRefuse(t *testing.T) {
	s := newStore(t)
	session := connect(t, s, handlerOptions{}, "")
	for _, c := range []struct{ name, tool, arguments, want string }{
		{"unknown order", "get_order", `{"order_id":999}`, "there is no such order"},
		{"unknown order to change", "update_order_status", `{"order_id":999,"status":"paid"}`, "there is no such order"},
		{"illegal status", "update_order_status", `{"order_id":1001,"status":"lost"}`, "enum"},
		{"no status", "update_order_status", `{"order_id":1001}`, "status"},
		{"SQL for a number", "get_order", `{"order_id":"1 OR 1=1"}`, "type"},
		{"SQL for a country", "list_customers", `{"country":"GB' OR '1'='1"}`, "pattern"},
		{"too many", "list_customers", `{"limit":101}`, "maximum"},
		{"too few", "list_customers", `{"limit":-1}`, "minimum"},
		{"unknown argument", "list_customers", `{"offset":1}`, "offset"},
		{"unknown report", "run_report", `{"report":"salaries"}`, "enum"},
		{"not a day", "run_report", `{"report":"orders_by_status","from":"2025-02-30"}`, "from must be a day"},
		{"last day not a day", "run_report", `{"report":"orders_by_status","to":"soon"}`, "to must be a day"},
		{"days reversed", "run_report", `{"report":"orders_by_status","from":"2025-03-02","to":"2025-03-01"}`, "not be after"},
		{"unknown tool", "drop_tables", `{}`, "unknown tool"},
	} {
		t.Run(c.name, func(t *testing.T) {
			result, refusal := call(t, session, c.tool, c.arguments)
			require.Empty(t, result)
			require.Contains(t, refusal, c.want)
		})
	}
	result, _ := call(t, session, "get_order", `{"order_id":1001}`)
	require.Contains(t, result, `"status":"delivered"`)
}

// TestDatabaseFaultsAreNotTold: the caller learns that it failed, not why.
func TestDatabaseFaultsAreNotTold(t *testing.T) {
	s := newStore(t)
	session := connect(t, s, handlerOptions{}, "")
	s.database.(*pooled).pool.Close()
	_, refusal := call(t, session, "list_customers", `{}`)
	require.Equal(t, errUnavailable.Error(), refusal)
}
