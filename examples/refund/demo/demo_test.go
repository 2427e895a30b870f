// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/examples/stage"
)

func TestNothingIsLeftOfAFailedStart(t *testing.T) {
	bin, temp := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", temp)
	for _, program := range []string{"custody-components", "daprd", "controlplane", "refund"} {
		require.NoError(t, os.WriteFile(filepath.Join(bin, program), nil, 0o755))
	}
	s := stage.Settings{Bin: bin, Example: ".."}
	require.ErrorContains(t, run(t.Context(), s, &stage.Printer{Out: &bytes.Buffer{}}), "no custody in "+bin)
	script := "#!/bin/sh\nif [ $1 = ps ]; then echo '[]'; else echo no sentry >&2; exit 1; fi"
	require.NoError(t, os.WriteFile(filepath.Join(bin, "custody"), []byte(script), 0o755))
	require.ErrorContains(t, run(t.Context(), s, &stage.Printer{Out: &bytes.Buffer{}}), "no sentry")
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	require.Empty(t, left)
}

// That something fails for another reason must not count.
func TestOnlyARefusalIsADenial(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		body   string
		want   bool
	}{
		{"denied", 403, `{"error":{"code":-32013,"message":"Denied by policy: you. Reference: 1"}}`, true},
		{"paid", 200, `{"result":{}}`, false},
		{"Dapr's own", 403, `{"errorCode":"ERR_DIRECT_INVOKE","message":"Denied by policy"}`, false},
		{"chain wanted", 428, `{"error":{"message":"Denied by policy"}}`, false},
		{"closed", 503, `{"error":{"message":"The guard of this server cannot decide"}}`, false},
		{"no JSON", 403, `Denied by policy`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, denial(stage.Answer{Status: c.status, Body: []byte(c.body)}) != "")
		})
	}
	for text, want := range map[string]bool{
		`{"status":"COMPLETED","output":{"paid":false,"refused":"Denied by policy: you"}}`: true,
		`{"status":"COMPLETED","output":{"paid":true,"receipt":"P-00001"}}`:                false,
		`{"status":"FAILED","error":"Denied by policy"}`:                                   false,
		`{"status":"COMPLETED","output":{"paid":false,"refused":"denied before"}}`:         false,
	} {
		var s state
		require.NoError(t, json.Unmarshal([]byte(text), &s))
		require.Equal(t, want, s.denied(), text)
	}
}

func TestFindingIsWhatIsLookedFor(t *testing.T) {
	const output = "WRONG  link/missing, step a\nWRONG  history/rolled-back, instance good: no\nGOOD: WRONG  other\n"
	line, found := finding(output, "history/rolled-back")
	require.True(t, found)
	require.Equal(t, "WRONG  history/rolled-back, instance good: no", line)
	line, found = finding("WRONG  forged-approval, link sha256:"+strings.Repeat("0a", 32)+": "+domain+"intake signed it\n", "forged-approval")
	require.True(t, found)
	require.Equal(t, "WRONG  forged-approval, link sha256:0a0a0a0a...: intake signed it", line)
	for _, what := range []string{"other", "history/replaced", "step a"} {
		_, found := finding(output, what)
		require.False(t, found, what)
	}
}

func TestParseLink(t *testing.T) {
	payload := `{"predicate":{"action":{"kind":"custody.approval"},"workflow":{"chain":{"instance":"good"},"task":4,"step":"refund-approval"}}}`
	envelope, err := json.Marshal(map[string]any{"payload": []byte(payload)})
	require.NoError(t, err)
	l, err := parseLink(envelope)
	require.NoError(t, err)
	require.Equal(t, "custody.approval", l.kind)
	require.Equal(t, "refund-approval", l.step.Step)
	require.Equal(t, 4, l.step.Task)
	require.Equal(t, "good", l.step.Chain.Instance)
	require.Regexp(t, `^sha256:[0-9a-f]{64}$`, l.digest)
	got, err := approvalOf([]json.RawMessage{envelope})
	require.NoError(t, err)
	require.Equal(t, payload, string(got))

	for _, bad := range []string{``, `{"payload":"!"}`, `{"payload":"e30x"}`} {
		_, err := parseLink(json.RawMessage(bad))
		require.Error(t, err, bad)
	}
	_, err = approvalOf(nil)
	require.ErrorContains(t, err, "no approval")
}

func TestChangeDigitChangesOneByte(t *testing.T) {
	for _, what := range []string{`x"amount":1999}`, `xy"amount":1999}`, `xyz"amount": a8`} {
		export := []byte(`{"row": "` + base64.StdEncoding.EncodeToString([]byte(what)) + `"}`)
		changed, err := changeDigit(export, []byte(what), `"amount":`)
		require.NoError(t, err)
		require.Len(t, changed, len(export))
		differ := 0
		for i := range export {
			if changed[i] != export[i] {
				differ++
			}
		}
		require.Equal(t, 1, differ)
		require.True(t, json.Valid(changed))
	}
	for _, what := range []string{``, `"amount":`, `"order":7`} {
		_, err := changeDigit([]byte(`""`), []byte(what), `"amount":`)
		require.ErrorContains(t, err, "the export has no", what)
	}
	_, err := changeDigit([]byte(`""`), []byte(`"amount":7`), `"amount":`)
	require.ErrorContains(t, err, "written otherwise")
	require.Nil(t, started(map[string][]byte{"signature-000000": []byte(`"amount":7`), "history-000000": nil}))
}

// Against a guard that pays whoever asks, no attack is taken for refused.
func TestAnAttackThatSucceedsIsSeen(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPost && r.URL.Path == "/refunds/x":
		case r.Method == http.MethodGet && r.URL.Path == "/approvals/x":
			fmt.Fprint(w, `[{"event":"e"}]`)
		case r.Method == http.MethodPost && r.URL.Path == "/approve/x":
		case r.Method == http.MethodGet && r.URL.Path == "/refunds/x":
			fmt.Fprint(w, `{"status":"COMPLETED","output":{"paid":true,"receipt":"P-00009"}}`)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(web.Close)
	address, err := url.Parse(web.URL)
	require.NoError(t, err)
	port, err := strconv.Atoi(address.Port())
	require.NoError(t, err)
	var out bytes.Buffer
	p := &play{out: &stage.Printer{Out: &out}, stage: &stage.Stage{Run: stage.Run{Apps: []stage.App{
		{AppID: "intake", AppPort: port}, {AppID: "approver", AppPort: port},
	}}}}
	try := p.deviates("x", order{payment: broken, Grow: 1})
	require.NoError(t, p.attempts(t.Context(), attempt{"grown", "denied", try}))
	require.True(t, p.Differed())
	require.Contains(t, out.String(), "grown: NOT AS EXPECTED\n    -> paid, receipt P-00009")

	_, err = p.ask(t.Context(), "intake", http.MethodGet, "/refunds/y", nil, nil)
	require.ErrorContains(t, err, "404")
}
