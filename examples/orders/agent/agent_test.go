// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

const asAgent = "ORDERS_AGENT_TEST_RUN_MAIN"

// serverProgram is the real server of the example, built for the tests.
var serverProgram string

func TestMain(m *testing.M) {
	if os.Getenv(asAgent) != "" {
		main()
		os.Exit(0)
	}
	code, err := withServer(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(code)
}

func withServer(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "orders-agent-test-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	serverProgram = filepath.Join(dir, "orders-server")
	if output, err := exec.Command("go", "build", "-o", serverProgram, "../server").CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%w: %s", err, output)
	}
	return m.Run(), nil
}

// process is a program under test and the address it said it listens on.
type process struct {
	*exec.Cmd
	url  string
	log  *bufio.Reader
	ends sync.Once
}

func startProcess(t *testing.T, program string, env []string, arguments ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(program, arguments...)}
	p.Env = append(os.Environ(), env...)
	output, err := p.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, p.Start())
	t.Cleanup(func() { p.end(t) })
	p.log = bufio.NewReader(output)
	address := regexp.MustCompile(`listens.* address=(\S+)`)
	for {
		line, err := p.log.ReadString('\n')
		require.NoError(t, err, line)
		if found := address.FindStringSubmatch(line); found != nil {
			p.url = "http://" + found[1]
			return p
		}
	}
}

// end stops the process as Dapr does and demands that it ends well.
func (p *process) end(t *testing.T) {
	p.ends.Do(func() {
		require.NoError(t, p.Process.Signal(syscall.SIGTERM))
		rest, err := io.ReadAll(p.log)
		require.NoError(t, err)
		require.NoError(t, p.Wait(), string(rest))
	})
}

// serveAgent serves a on a real socket.
func serveAgent(t *testing.T, a *agent) string {
	t.Helper()
	web := httptest.NewServer(newHandler(a))
	t.Cleanup(web.Close)
	t.Cleanup(func() { require.NoError(t, a.close()) })
	return web.URL
}

func post(t *testing.T, agentURL, body string) (int, report) {
	t.Helper()
	answer, err := http.Post(agentURL+"/call", "application/json", strings.NewReader(body))
	require.NoError(t, err)
	return answer.StatusCode, reportIn(t, answer)
}

func reportIn(t *testing.T, answer *http.Response) report {
	t.Helper()
	var r report
	require.NoError(t, json.NewDecoder(answer.Body).Decode(&r))
	require.NoError(t, answer.Body.Close())
	return r
}

func tools(t *testing.T, agentURL string) report {
	t.Helper()
	answer, err := http.Get(agentURL + "/tools")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.StatusCode)
	return reportIn(t, answer)
}

func TestEveryProtocolAgainstTheServer(t *testing.T) {
	for _, c := range []struct {
		name      string
		flags     []string
		protocols []string
	}{
		{"stateless", nil, []string{"", "2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"}},
		{"stateful", []string{"--stateful"}, []string{"", "2025-11-25", "2025-03-26"}},
		{"event stream", []string{"--event-stream"}, []string{"2026-07-28", "2025-06-18"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := startProcess(t, serverProgram, nil, append(c.flags, "--database", "auto", "--port", "0")...)
			for _, protocol := range c.protocols {
				url := serveAgent(t, newAgent(server.url+"/mcp", protocol, nil))
				require.Equal(t, report{OK: true, Tools: []string{
					"get_order", "list_customers", "run_report", "update_order_status",
				}}, tools(t, url), protocol)

				status, r := post(t, url, `{"tool":"get_order","arguments":{"order_id":1001}}`)
				require.Equal(t, http.StatusOK, status)
				require.True(t, r.OK, r.Error)
				require.EqualValues(t, 1001, r.Result.(map[string]any)["id"])

				_, r = post(t, url, `{"tool":"get_order","arguments":{"order_id":1}}`)
				require.Equal(t, report{Error: "tool: there is no such order"}, r)
				_, r = post(t, url, `{"tool":"drop_tables"}`)
				require.False(t, r.OK)
				require.Contains(t, r.Error, "unknown tool")
				require.NotZero(t, r.Code)
			}
		})
	}
}

// TestSessionIsOpenedAgain: a server that was started anew does not know the
// session; the person who calls does not notice.
func TestSessionIsOpenedAgain(t *testing.T) {
	flags := []string{"--stateful", "--database", "auto", "--port", "0"}
	server := startProcess(t, serverProgram, nil, flags...)
	var target struct {
		sync.Mutex
		url *url.URL
	}
	point := func(to string) {
		parsed, err := url.Parse(to)
		require.NoError(t, err)
		target.Lock()
		defer target.Unlock()
		target.url = parsed
	}
	point(server.url)
	front := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		target.Lock()
		defer target.Unlock()
		r.SetURL(target.url)
	}})
	t.Cleanup(front.Close)
	agentURL := serveAgent(t, newAgent(front.URL+"/mcp", "2025-11-25", nil))
	const call = `{"tool":"get_order","arguments":{"order_id":1001}}`

	_, r := post(t, agentURL, call)
	require.True(t, r.OK, r.Error)
	server.end(t)
	_, r = post(t, agentURL, call)
	require.False(t, r.OK, "nothing serves")
	second := startProcess(t, serverProgram, nil, flags...)
	point(second.url)
	_, r = post(t, agentURL, call)
	require.True(t, r.OK, r.Error)
	third := startProcess(t, serverProgram, nil, flags...)
	point(third.url)
	_, r = post(t, agentURL, call)
	require.True(t, r.OK, r.Error)
}

// TestHeaders: what is given at the start goes with every request, what is
// given with a call goes with the requests of that call alone.
func TestHeaders(t *testing.T) {
	server := startProcess(t, serverProgram, []string{"APP_API_TOKEN=secret"}, "--database", "auto", "--port", "0")
	target, err := url.Parse(server.url)
	require.NoError(t, err)
	var mu sync.Mutex
	var seen []string
	front := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, r.In.Header.Get("Dapr-Caller-App-Id"))
	}})
	t.Cleanup(front.Close)
	const call = `{"tool":"get_order","arguments":{"order_id":1001}`

	without := serveAgent(t, newAgent(front.URL+"/mcp", "", nil))
	_, r := post(t, without, call+`}`)
	require.False(t, r.OK, "the server wants its token")

	seen = nil
	with := serveAgent(t, newAgent(front.URL+"/mcp", "", http.Header{"Dapr-Api-Token": {"secret"}}))
	_, r = post(t, with, call+`}`)
	require.True(t, r.OK, r.Error)
	require.False(t, slices.Contains(seen, "admin"))

	seen = nil
	_, r = post(t, with, call+`,"headers":{"dapr-caller-app-id":"admin"}}`)
	require.True(t, r.OK, r.Error)
	require.NotEmpty(t, seen)
	require.False(t, slices.ContainsFunc(seen, func(value string) bool { return value != "admin" }), seen)

	seen = nil
	_, r = post(t, with, call+`}`)
	require.True(t, r.OK, r.Error)
	require.NotContains(t, seen, "admin")
}

func TestBadOrders(t *testing.T) {
	url := serveAgent(t, newAgent("http://127.0.0.1:1/mcp", "", nil))
	for _, body := range []string{"", "{", "[]", `{"arguments":{}}`, `{"tool":"get_order","argument":{}}`, `{"tool":1}`} {
		status, r := post(t, url, body)
		require.Equal(t, http.StatusBadRequest, status, body)
		require.False(t, r.OK)
	}
	status, r := post(t, url, `{"tool":"get_order"}`)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, r.Error, "connection refused")
	require.Contains(t, tools(t, url).Error, "connection refused")
}

func TestWebPagesGiveNoOrders(t *testing.T) {
	url := serveAgent(t, newAgent("http://127.0.0.1:1/mcp", "", nil))
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/call", strings.NewReader(`{"tool":"get_order"}`))
	require.NoError(t, err)
	request.Header.Set("Sec-Fetch-Site", "cross-site")
	answer, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusForbidden, answer.StatusCode)
}

// TestProcess: the endpoint and the token come from Dapr's variables.
func TestProcess(t *testing.T) {
	var request *http.Request
	sidecar := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request = r
		http.Error(w, "no", http.StatusForbidden)
	}))
	t.Cleanup(sidecar.Close)
	parsed, err := url.Parse(sidecar.URL)
	require.NoError(t, err)
	agent := startProcess(t, os.Args[0], []string{asAgent + "=1", "DAPR_HTTP_PORT=" + parsed.Port(), "DAPR_API_TOKEN=mine"},
		"--port", "0", "--server", "other-mcp", "--header", "X-One=1")
	r := tools(t, agent.url)
	require.False(t, r.OK)
	require.Contains(t, r.Error, "Forbidden")
	require.Equal(t, "/v1.0/invoke/other-mcp/method/mcp", request.URL.Path)
	require.Equal(t, "mine", request.Header.Get("dapr-api-token"))
	require.Equal(t, "1", request.Header.Get("X-One"))
}

func TestProcessNeedsAPort(t *testing.T) {
	for _, c := range []struct {
		arguments []string
		want      string
	}{{nil, "set APP_PORT or --port"}, {[]string{"--header", "x"}, "must be name=value"}} {
		program := exec.Command(os.Args[0], c.arguments...)
		program.Env = []string{asAgent + "=1"}
		output, err := program.CombinedOutput()
		require.Error(t, err)
		require.Contains(t, string(output), c.want)
	}
}
