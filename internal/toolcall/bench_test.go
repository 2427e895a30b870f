// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package toolcall_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/dapr-custody/custody/internal/toolcall"
)

// benchCall is a tools/call request of 600 bytes as the official SDKs send it.
func benchCall() []byte {
	head := `{"jsonrpc":"2.0","id":17,"method":"tools/call","params":{"_meta":{"io.modelcontextprotocol/clientCapabilities":{},` +
		`"io.modelcontextprotocol/clientInfo":{"name":"support-agent","version":"1.4.2"},` +
		`"io.modelcontextprotocol/protocolVersion":"2026-07-28","progressToken":17},"name":"update_order_status",` +
		`"arguments":{"order_id":"ord_4711","status":"shipped","notify":true,"priority":3,` +
		`"lines":[{"sku":"A-100","qty":2,"price":19.99},{"sku":"B-205","qty":1,"price":5.5}],"note":"`
	tail := `"}}}`
	return []byte(head + strings.Repeat("n", 600-len(head)-len(tail)) + tail)
}

func benchHeaders() toolcall.Headers {
	return toolcall.Headers{
		ContentType: []string{"application/json"}, ProtocolVersion: []string{"2026-07-28"}, Method: []string{"tools/call"},
		Name: []string{"update_order_status"},
	}
}

func BenchmarkParse(b *testing.B) {
	body, h := benchCall(), benchHeaders()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := toolcall.Parse(h, body, toolcall.Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHeadersOf(b *testing.B) {
	all := map[string][]string{
		"Content-Type": {"application/json"}, "Mcp-Protocol-Version": {"2026-07-28"}, "Mcp-Method": {"tools/call"},
		"Mcp-Name": {"x"}, "Accept": {"application/json, text/event-stream"}, "User-Agent": {"x"}, "Content-Length": {"600"},
		"Traceparent": {"x"}, "Dapr-App-Id": {"x"}, "Dapr-Caller-App-Id": {"x"}, "Accept-Encoding": {"gzip"}, "X-Forwarded-For": {"x"},
	}
	b.ReportAllocs()
	for b.Loop() {
		toolcall.HeadersOf(all)
	}
}

func BenchmarkArgumentsDigest(b *testing.B) {
	m, err := toolcall.Parse(benchHeaders(), benchCall(), toolcall.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.ArgumentsDigest(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBodyDigest(b *testing.B) {
	m, err := toolcall.Parse(benchHeaders(), benchCall(), toolcall.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		m.BodyDigest()
	}
}

func BenchmarkReadAnswer(b *testing.B) {
	body := []byte(`{"jsonrpc":"2.0","id":17,"result":{"resultType":"complete","content":[{"type":"text","text":"` +
		strings.Repeat("order ord_4711 shipped ", 16) + `"}],"structuredContent":{"order_id":"ord_4711","status":"shipped","total":45.48}}}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		a, err := toolcall.ReadAnswer(body, toolcall.Limits{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := a.Digest(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFilterList filters a list of 20 tools of about 400 bytes each down to half.
func BenchmarkFilterList(b *testing.B) {
	var tools []string
	for i := range 20 {
		tools = append(tools, `{"name":"tool_`+strconv.Itoa(i)+`","title":"Tool","description":"`+strings.Repeat("does things ", 12)+
			`","inputSchema":{"type":"object","properties":{"order_id":{"type":"string","description":"the order"},`+
			`"limit":{"type":"integer","minimum":1,"maximum":100}},"required":["order_id"]},"annotations":{"readOnlyHint":true}}`)
	}
	body := []byte(list(`"ttlMs":0,"cacheScope":"public","tools":[` + strings.Join(tools, ",") + "]"))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		_, dropped, err := toolcall.FilterList("tools/list", body, toolcall.Version20260728, toolcall.Limits{}, func(tool string) bool {
			return tool[len(tool)-1]%2 == 0
		})
		if err != nil || dropped != 10 {
			b.Fatal(dropped, err)
		}
	}
}
