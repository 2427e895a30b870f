// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/examples/stage"
)

// fakeBin is a bin folder in which custody is that shell script.
func fakeBin(t *testing.T, custody string) string {
	t.Helper()
	dir := t.TempDir()
	for _, program := range []string{"daprd", "controlplane", "orders-server", "orders-agent"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, program), nil, 0o755))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "custody"), []byte("#!/bin/sh\n"+custody), 0o755))
	return dir
}

func TestNothingIsLeftOfAFailedStart(t *testing.T) {
	soon, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	for _, c := range []struct {
		name    string
		ctx     context.Context
		custody string
		want    string
	}{
		{"custody ends early", t.Context(), `if [ $1 = ps ]; then echo '[]'; else echo no sentry >&2; exit 1; fi`, "no sentry"},
		{"custody ps fails", t.Context(), `if [ $1 = ps ]; then echo broken >&2; exit 1; else exec sleep 600; fi`, "broken"},
		{"custody ps is not JSON", t.Context(), `if [ $1 = ps ]; then echo no; else exec sleep 600; fi`, "custody ps"},
		{"interrupted", soon, `if [ $1 = ps ]; then echo '[]'; else exec sleep 600; fi`, "context canceled"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bin, temp := fakeBin(t, c.custody), t.TempDir()
			t.Setenv("TMPDIR", temp)
			err := run(c.ctx, stage.Settings{Bin: bin, Example: ".."}, &stage.Printer{Out: &bytes.Buffer{}})
			require.ErrorContains(t, err, c.want)
			left, err := os.ReadDir(temp)
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

func TestMissingProgramIsNamed(t *testing.T) {
	bin := fakeBin(t, "")
	require.NoError(t, os.Remove(filepath.Join(bin, "daprd")))
	_, err := newPlace(stage.Settings{Bin: bin, Example: ".."})
	require.ErrorContains(t, err, "no daprd in "+bin+": run make build first")
}

func TestStageBeginsWithTheBlanketDeny(t *testing.T) {
	st, err := newPlace(stage.Settings{Bin: fakeBin(t, ""), Example: ".."})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	policy := func() string {
		text, err := os.ReadFile(filepath.Join(st.Example, "policies", "orders.yaml"))
		require.NoError(t, err)
		return string(text)
	}
	require.Contains(t, policy(), "nobody-does-anything")
	require.NoError(t, st.installPolicy("policies"))
	require.Contains(t, policy(), "support-looks-up")
	require.NotContains(t, policy(), "nobody-does-anything")
	_, err = os.Stat(filepath.Join(st.Example, "../../bin/custody"))
	require.NoError(t, err)
}

func TestPostCountsOnlyRefusals(t *testing.T) {
	for status, want := range map[int]bool{200: false, 202: false, 400: true, 401: true, 403: true, 500: false, 503: false} {
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			fmt.Fprint(w, `{"error":{"message":"Reference: 01a-b"}}`)
		}))
		p := &play{seen: map[string]refusal{}}
		refused, back, err := p.post(t.Context(), web.URL, mcpHeader(), cancelCall, "support-agent")
		web.Close()
		require.NoError(t, err)
		require.Equal(t, want, refused, back)
		require.Equal(t, map[string]refusal{"01a-b": {agent: "support-agent"}}, p.seen)
	}
}

// TestInternalPortAnswers: against a port that lets everyone in, the attempt
// is not taken for refused.
func TestInternalPortAnswers(t *testing.T) {
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		_, err := w.Write(make([]byte, 5)) // an empty message
		if err == nil {
			w.Header().Set("Grpc-Status", "0")
		}
	}))
	web.EnableHTTP2 = true
	web.StartTLS()
	t.Cleanup(web.Close)
	port := web.Listener.Addr().String()[strings.LastIndex(web.Listener.Addr().String(), ":")+1:]
	number, err := strconv.Atoi(port)
	require.NoError(t, err)
	p := &play{stage: &place{Stage: &stage.Stage{Run: stage.Run{Apps: []stage.App{{AppID: serverApp, DaprInternalGRPCPort: number}}}}}}
	p.stage.Run.Apps = append(p.stage.Run.Apps, stage.App{AppID: "fulfilment-agent", SPIFFEID: "spiffe://custody.local/ns/default/fulfilment-agent"})

	refused, back, err := p.forgedCertificate(t.Context())
	require.NoError(t, err)
	require.False(t, refused, back)
	refused, _, err = p.internalPort(nil)(t.Context())
	require.NoError(t, err)
	require.True(t, refused, "that port wants TLS")

	p.stage.Run.Apps[0].DaprInternalGRPCPort = 1
	_, _, err = p.internalPort(nil)(t.Context())
	require.ErrorContains(t, err, "connection refused", "a closed port is no refusal")
}

func TestFlipByteChangesOneByteOfTheJournal(t *testing.T) {
	dir := t.TempDir()
	_, _, err := flipByte(dir)
	require.ErrorContains(t, err, "no segment")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "guard-status.json"), []byte("{}"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "00000001.journal"), []byte("abcde"), 0o600))
	segment, offset, err := flipByte(dir)
	require.NoError(t, err)
	require.Equal(t, "00000001.journal", segment)
	require.Equal(t, 2, offset)
	text, err := os.ReadFile(filepath.Join(dir, segment))
	require.NoError(t, err)
	require.Equal(t, "abbde", string(text))
}
