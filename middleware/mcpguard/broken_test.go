// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/middleware/mcpguard"
)

// A step whose intent could not be written was not passed on, and can be.
func TestStepWithoutAJournal(t *testing.T) {
	r := newRig(t, testkit.MCPOptions{JSON: true})
	w := r.worker("alice")
	body := call("echo", "hi")
	question := w.asking(body)
	require.NoError(t, r.factory.Close())
	require.Equal(t, http.StatusServiceUnavailable, w.send(question, body).status)
	require.Empty(t, r.server.Requests())
	r.again()
	require.Equal(t, http.StatusOK, w.send(question, body).status)
	require.Len(t, r.server.Requests(), 1)
}

// A journal that is not what was written cannot say which steps were passed on.
func TestJournalThatWasChanged(t *testing.T) {
	r := newRig(t, testkit.MCPOptions{JSON: true})
	w := r.worker("alice")
	require.Equal(t, http.StatusOK, w.call("echo", "hi").status)
	require.NoError(t, r.factory.Close())
	file := filepath.Join(r.journal, "00000001.journal")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(text), `"task":1`, `"task":2`, 1)), 0o600))
	r.factory = mcpguard.NewFactory(func() (mcpguard.Host, error) { return r.host, nil })
	_, err = r.factory.Make("mcpguard", r.meta)
	require.ErrorContains(t, err, "checksum")
}

func withBackend(answer string, media string) func(*rig) {
	return func(r *rig) {
		backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", media)
			w.Header().Set(mcpguard.HeaderAnswer, "forged")
			w.Header().Set(mcpguard.HeaderChain, "forged")
			if _, err := w.Write([]byte(answer)); err != nil {
				r.t.Error(err)
			}
		}))
		r.t.Cleanup(backend.Close)
		r.useBackend(backend)
	}
}

// An answer that does not pass is a link too, and one whose header went out before can be asked for.
func TestAnswersThatDoNotPassAsTheyAre(t *testing.T) {
	result := `{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"` + strings.Repeat("n", 4096) + `"}]}}`
	for name, tt := range map[string]struct {
		answer, media string
		max           string
		status        int
		outcome       string
		header        bool
	}{
		"as it is":                  {result, "application/json", "", 200, receipt.StatusOK, true},
		"withheld":                  {strings.Replace(result, `"id":7`, `"id":8`, 1), "application/json", "", 502, receipt.StatusWithheld, true},
		"withheld events":           {"data: {\"jsonrpc\":\"2.0\",\"id\":8,\"result\":{}}\n\n", "text/event-stream", "", 502, receipt.StatusWithheld, true},
		"too large to be held":      {result, "text/plain", "1024", 200, receipt.StatusOK, false},
		"events that end too early": {"data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\n", "text/event-stream", "", 200, receipt.StatusIncomplete, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, testkit.MCPOptions{}, withBackend(tt.answer, tt.media), func(r *rig) {
				if tt.max != "" {
					r.meta["maxAnswerBytes"] = tt.max
				}
			})
			w := r.worker("alice")
			body := call("echo", "hi")
			question := w.asking(body)
			got := w.send(question, body)
			require.Equal(t, tt.status, got.status, got.body)
			require.Empty(t, got.header.Values(mcpguard.HeaderChain))
			if tt.header {
				require.Equal(t, tt.outcome, w.answer(got).Outcome.Status)
			} else {
				require.Empty(t, got.header.Values(mcpguard.HeaderAnswer))
			}
			told := w.ask(question)
			require.Contains(t, told.body, `"state":"settled"`)
			again := w.send(question, body)
			require.Equal(t, http.StatusConflict, again.status)
			require.Equal(t, tt.outcome, w.answer(again).Outcome.Status)
		})
	}
}

// The record of an answer is over all that passed, so nothing passes after it.
func TestNothingPassesAfterTheAnswer(t *testing.T) {
	event := func(message string) string { return "data: {\"jsonrpc\":\"2.0\"," + message + "}\n\n" }
	notice, answer := event(`"method":"notifications/message"`), event(`"id":7,"result":{}`)
	for name, after := range map[string]string{
		"nothing": "", "a comment": ": still there\n\n", "a notification": notice, "a request": event(`"id":1,"method":"ping"`),
		"the answer again": answer, "no message": "data: hello\n\n",
	} {
		for _, before := range []string{"", notice} {
			t.Run(name+" after "+before, func(t *testing.T) {
				r := newRig(t, testkit.MCPOptions{}, withBackend(before+answer+after, "text/event-stream"))
				got := r.post(r.as("alice"), call("echo", "hi"))
				require.Equal(t, http.StatusOK, got.status, got.body)
				var passed []string
				for _, block := range strings.SplitAfter(got.body, "\n\n") {
					if strings.HasPrefix(block, "data: ") {
						passed = append(passed, block)
					}
				}
				require.Equal(t, before+answer, strings.Join(passed, ""))
				require.Equal(t, receipt.StatusOK, r.lastRecord().Outcome.Status)
				require.Equal(t, receipt.Sum([]byte(before+answer)), r.lastRecord().Outcome.ResponseDigest)
			})
		}
	}
}

// killedFolder is the variable that tells the process that is killed where its parts are.
const killedFolder = "CUSTODY_TEST_KILLED_FOLDER"

// A process that is killed in the middle of a call leaves the step unknown, and the
// next one does not pass it on.
func TestKilledInTheMiddleOfACall(t *testing.T) {
	if dir := os.Getenv(killedFolder); dir != "" {
		guardUntilKilled(t, dir)
		return
	}
	reached := make(chan struct{}, 1)
	backend := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, in *http.Request) {
		_, err := io.Copy(io.Discard, in.Body)
		if err != nil {
			t.Error(err)
		}
		reached <- struct{}{}
		<-in.Context().Done() // until who asks is gone
	}))
	t.Cleanup(backend.Close)
	r := newRig(t, testkit.MCPOptions{}, func(r *rig) { r.useBackend(backend) })
	require.NoError(t, r.factory.Close())
	w := r.worker("alice")
	cmd, front := r.inAnotherProcess(w)

	body := call("echo", "hi")
	question := w.asking(body)
	failed := make(chan error, 1)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, front+"/mcp", strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set(mcpguard.HeaderQuestion, encoded(question))
	go func() {
		resp, err := http.DefaultClient.Do(request)
		if err == nil {
			err = resp.Body.Close()
		}
		failed <- err
	}()
	<-reached
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, <-failed)
	require.Error(t, cmd.Wait())

	r.factory = mcpguard.NewFactory(func() (mcpguard.Host, error) { return r.host, nil })
	r.guard, err = r.factory.Make("mcpguard", r.meta)
	require.NoError(t, err)
	w.isUnknown(question, body)
	require.Empty(t, reached)
}

// inAnotherProcess runs the guard of the rig in a process of its own, with what the
// rig has, and gives the URL at which the worker reaches it.
func (r *rig) inAnotherProcess(w *worker) (*exec.Cmd, string) {
	t := r.t
	dir := t.TempDir()
	save := func(name string, text []byte, err error) {
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	for name, svid := range map[string]*x509svid.SVID{"server": r.host.SVIDs.(*x509svid.SVID), "alice": w.svid} {
		certificates, key, err := svid.Marshal()
		save(name+".pem", certificates, err)
		save(name+".key", key, err)
	}
	roots, err := r.ca.Bundle().Marshal()
	save("roots.pem", roots, err)
	save("backend", []byte(r.server.URL), nil)
	save("policies", []byte(r.policies), nil)
	save("journal", []byte(r.journal), nil)

	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledInTheMiddleOfACall$")
	cmd.Env = append(os.Environ(), killedFolder+"="+dir)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe() // its end, which comes with ours, ends the process
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = stdin.Close() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err, line)
	front, found := strings.CutPrefix(strings.TrimSpace(line), "front ")
	require.True(t, found, line)
	return cmd, front
}

func guardUntilKilled(t *testing.T, dir string) {
	read := func(name string) []byte {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		return text
	}
	svid := func(name string) *x509svid.SVID {
		s, err := x509svid.Parse(read(name+".pem"), read(name+".key"))
		require.NoError(t, err)
		return s
	}
	server := svid("server")
	roots, err := x509bundle.Parse(server.ID.TrustDomain(), read("roots.pem"))
	require.NoError(t, err)
	backend := string(read("backend"))
	r := &rig{t: t, server: &testkit.MCPServer{Server: &httptest.Server{URL: backend}}}
	factory := mcpguard.NewFactory(func() (mcpguard.Host, error) {
		return mcpguard.Host{
			AppID: "server", Namespace: "default", AppAddress: strings.TrimPrefix(backend, "http://"), ID: server.ID,
			SVIDs: server, Bundles: x509bundle.NewSet(roots), Log: t.Logf,
		}, nil
	})
	r.guard, err = factory.Make("mcpguard", map[string]string{"policyDir": string(read("policies")), "journalDir": string(read("journal"))})
	require.NoError(t, err)
	fmt.Println("front " + r.asSVID(svid("alice")))
	_, err = io.Copy(io.Discard, os.Stdin)
	require.NoError(t, err)
}
