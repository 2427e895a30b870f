// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/database"
	"github.com/dapr-custody/custody/internal/localdomain"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/serverfile"
)

// Each way has what it says: TLS or not, Dapr's second store, and no credential where certificates are used.
func TestDatabaseFolder(t *testing.T) {
	t.Parallel()
	at, err := url.Parse("postgres://postgres:hunter2@127.0.0.1:5433/postgres?sslmode=disable")
	require.NoError(t, err)
	d := databaseFolder(t.TempDir(), at, "/server.crt")
	require.NoError(t, d.write())
	file, err := localdomain.LoadRunFile(d.path)
	require.NoError(t, err)
	require.Len(t, file.Apps, 2)
	_, err = policy.Parse("bench.yaml", []byte(d.files["policies/bench.yaml"]))
	require.NoError(t, err)
	documents, err := database.Parse("bench.yaml", []byte(d.files["databases/bench.yaml"]))
	require.NoError(t, err)
	require.Equal(t, 5433, documents[0].Port)
	_, err = serverfile.Parse("components.yaml", []byte(d.files["components.yaml"]))
	require.NoError(t, err)
	for name, want := range map[string]struct{ kind, version, holds string }{
		"sql-dapr-notls":   {"bindings.postgres", "v1", "sslmode=disable"},
		"sql-dapr":         {"bindings.postgres", "v1", "sslmode=verify-full"},
		"sql-custody":      {"bindings.custody-postgres", "v1", "bench-db"},
		"state-dapr-notls": {"state.postgresql", "v2", "sslmode=disable"},
		"state-dapr":       {"state.postgresql", "v2", "sslmode=verify-full"},
		"state-custody":    {"state.custody", "v1", "sslmode=verify-full"},
		"state-sidecar":    {"state.custody", "v1", "sslmode=verify-full"},
	} {
		text := d.files["resources/"+name+".yaml"]
		if name == "state-sidecar" {
			text = d.files["resources-beside/state.yaml"]
			require.Contains(t, text, "name: policyDir")
		}
		var c struct {
			Spec struct{ Type, Version string }
		}
		require.NoError(t, yaml.Unmarshal([]byte(text), &c), name)
		require.Equal(t, want.kind, c.Spec.Type, name)
		require.Equal(t, want.version, c.Spec.Version, name)
		require.Contains(t, text, want.holds, name)
	}
	require.NotContains(t, d.files["resources/sql-custody.yaml"], "hunter2")
}

func TestDatabasesSummary(t *testing.T) {
	t.Parallel()
	var d Databases
	for round, p50 := range []float64{2, 4, 3} {
		d.Cells = append(d.Cells,
			Cell{Variant: "select dapr", Connections: 8, Round: round + 1, P50: 2, P99: 1, PerSecond: 100},
			Cell{Variant: "select custody", Connections: 8, Round: round + 1, P50: p50, P99: 1, PerSecond: 50})
	}
	d.summarise([]int{8})
	require.Equal(t, "select custody", d.Ratios[0].Of)
	require.Equal(t, Spread{1.5, 1, 2}, d.Ratios[0].P50)
	require.InDelta(t, 0.5, d.Ratios[0].PerSecond.Median, 0)
	require.Equal(t, "p50 at most 1.15: missed", d.Ratios[0].Aim)
	require.Equal(t, "p50 at most 1.15: met", aimed(1.15, aimDatabase))
	require.Contains(t, d.table([]int{8}), "select custody / select dapr        8            1.50 (1.00-2.00)")
	var compared []string
	for _, r := range d.Ratios {
		compared = append(compared, r.Of+" / "+r.To)
	}
	require.Contains(t, compared, "get sidecar / get dapr")
	require.NotContains(t, compared, "select sidecar / select dapr")
}

// A whole HTTP request, with the length of its body.
func TestWire(t *testing.T) {
	t.Parallel()
	raw := wire("127.0.0.1:1", operations()[0].request, wayDapr)
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
	require.NoError(t, err)
	require.Equal(t, "/v1.0/bindings/sql-dapr", req.URL.Path)
	body, err := io.ReadAll(req.Body)
	require.NoError(t, err)
	require.True(t, bytes.HasSuffix(raw, body))
	require.JSONEq(t, `{"operation":"query","metadata":{"sql":"`+pointSelect+`","params":"[42]"}}`, string(body))
}
