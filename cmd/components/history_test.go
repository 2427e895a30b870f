// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	contribmetadata "github.com/dapr/components-contrib/metadata"
	"github.com/dapr/components-contrib/state"
	"github.com/dapr/components-contrib/state/redis"
	"github.com/dapr/components-contrib/state/sqlite"
	"github.com/dapr/kit/logger"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/history"
	"github.com/dapr-custody/custody/internal/testkit"
)

const sqliteComponent = `apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: store}
spec:
  type: %s
  version: v1
  metadata:
  - {name: %s, value: %s}
  - {name: cleanupIntervalInSeconds, value: 1}
  - {name: actorStateStore, value: true}
%s`

// filledDatabase is an SQLite store that was filled.
func filledDatabase(t *testing.T) (file string, written map[string]history.Rows) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "store.db")
	return file, fill(t, sqlite.NewSQLiteStateStore(logger.NewLogger("test")), map[string]string{"connectionString": file})
}

// fill writes two instances into a store, and rows that are none of a workflow.
func fill(t *testing.T, store state.Store, properties map[string]string) (written map[string]history.Rows) {
	t.Helper()
	require.NoError(t, store.Init(t.Context(), state.Metadata{Base: contribmetadata.Base{Properties: properties}}))
	t.Cleanup(func() { require.NoError(t, store.Close()) }) // as daprd, it stays open
	ca := testkit.NewCA(t, "custody.test")
	written = map[string]history.Rows{}
	for app, instance := range map[string]string{"intake": `a%b_c\d`, "fraud": "refund-7"} {
		h := testkit.NewHistory(t, ca.SVID(app), instance, time.Now())
		h.Start("refund")
		h.Schedule(0, "check", "1", "")
		h.Save()
		h.Turn()
		h.Complete(0, "2", h.SVID)
		h.End("3")
		h.Save()
		rows := h.Rows()
		written[instance] = rows
		for row, value := range rows.Rows {
			key := history.Key{App: app, Namespace: "default", Instance: instance, Row: row}
			require.NoError(t, store.Set(t.Context(), &state.SetRequest{Key: key.String(), Value: value}))
		}
	}
	for _, key := range []string{"intake||order", `intake||dapr.internal.default.intake.workflow||A%B_C\D||metadata`, `intake||dapr.internal.default.intake.workflow||axbxcxd||history-000000`} {
		require.NoError(t, store.Set(t.Context(), &state.SetRequest{Key: key, Value: []byte("x")}))
	}
	return written
}

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "component.yaml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

func readAll(t *testing.T, args ...string) []history.Rows {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, runHistory(t.Context(), &out, args))
	var all []history.Rows
	for decoder := json.NewDecoder(&out); decoder.More(); {
		var rows history.Rows
		require.NoError(t, decoder.Decode(&rows))
		all = append(all, rows)
	}
	return all
}

func TestHistory(t *testing.T) {
	file, written := filledDatabase(t)
	component := write(t, fmt.Sprintf(sqliteComponent, "state.sqlite", "connectionString", file, ""))
	guarded := write(t, fmt.Sprintf(sqliteComponent, "state.custody", "connectionString", file,
		"  - {name: backend, value: sqlite}\n  - {name: journalDir, value: /nowhere}\n"))
	for _, c := range []string{component, guarded} {
		require.Equal(t, []history.Rows{written["refund-7"]}, readAll(t, "--component", c, "--instance", "refund-7"))
		require.Equal(t, []history.Rows{written[`a%b_c\d`]}, readAll(t, "--component", c, "--instance", `a%b_c\d`))
	}
	all := readAll(t, "--component", component, "--summary")
	require.Len(t, all, 3)
	require.Equal(t, "fraud", all[0].App)
	s := history.Summarize(all[0])
	require.Equal(t, "refund COMPLETED 6 2", fmt.Sprint(s.Name, " ", s.Status, " ", s.Events, " ", s.Signatures))
	require.Len(t, readAll(t, "--component", component, "--app", "fraud", "--namespace", "default"), 1)
	require.Empty(t, readAll(t, "--component", component, "--namespace", "other"))
	require.Empty(t, readAll(t, "--component", component, "--instance", "REFUND-7"), "another ID, though SQLite finds it alike")
}

func TestHistoryInRedis(t *testing.T) {
	address := testkit.Redis(t)
	written := fill(t, redis.NewRedisStateStore(logger.NewLogger("test")), map[string]string{"redisHost": address})
	component := write(t, `apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: store}
spec:
  type: state.redis
  version: v1
  metadata:
  - {name: redisHost, value: "`+address+`"}
`)
	for _, instance := range []string{"refund-7", `a%b_c\d`} {
		require.Equal(t, []history.Rows{written[instance]}, readAll(t, "--component", component, "--instance", instance))
	}
	require.Len(t, readAll(t, "--component", component, "--summary"), 3)
	require.Empty(t, readAll(t, "--component", component, "--instance", "REFUND-7"))
}

func TestWhatCannotBeRead(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.db")
	secret := "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {name: store}\nspec:\n  type: state.redis\n  version: v1\n  metadata:\n  - {name: redisPassword, secretKeyRef: {name: a}}\n"
	sqlite := func(connection string) string {
		return fmt.Sprintf(sqliteComponent, "state.sqlite", "connectionString", connection, "")
	}
	for _, tt := range []struct{ name, text, want string }{
		{"no store", "kind: Configuration\n", "holds no Component"},
		{"two stores", sqlite("a") + "---\n" + sqlite("b"), "2 state stores"},
		{"not YAML", "a: [", "yaml"},
		{"other type", strings.ReplaceAll(sqlite("a"), "state.sqlite", "state.mongodb"), "state.mongodb"},
		{"memory", strings.ReplaceAll(sqlite("a"), "state.sqlite", "state.in-memory"), "lives within daprd"},
		{"memory of SQLite", sqlite(`":memory:"`), "lives within daprd"},
		{"secret", secret, "redisPassword is a secret"},
		{"no file", sqlite(missing), "opening component store"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := runHistory(t.Context(), io.Discard, []string{"--component", write(t, tt.text)})
			require.ErrorContains(t, err, tt.want)
		})
	}
	require.NoFileExists(t, missing, "reading makes no database")
	for _, args := range [][]string{{}, {"--nonsense"}, {"--component", "x", "more"}, {"--component", missing}} {
		require.Error(t, runHistory(t.Context(), io.Discard, args))
	}
}

func TestProperties(t *testing.T) {
	c, err := loadComponent(write(t, `kind: Component
metadata: {name: one}
spec: {type: state.redis, version: v1, metadata: [{name: a, value: 1}, {name: b, envRef: B}, {name: c}]}
---
kind: Component
metadata: {name: two}
spec: {type: state.sqlite, version: v1, metadata: [{name: actorstatestore, value: "True"}, {name: b, envRef: B}]}
`))
	require.NoError(t, err)
	require.Equal(t, "two", c.Metadata.Name)
	properties, err := c.properties(func(name string) string { return "env " + name })
	require.NoError(t, err)
	require.Equal(t, map[string]string{"actorstatestore": "True", "b": "env B"}, properties)
}

// restless is a store whose instance is written between any two reads, for a while.
type restless struct {
	readable
	gets, calm int
}

func (r *restless) Get(context.Context, *state.GetRequest) (*state.GetResponse, error) {
	r.gets++
	etag := fmt.Sprint(min(r.gets, r.calm))
	return &state.GetResponse{Data: []byte{}, ETag: &etag}, nil
}

func (r *restless) KeysLike(context.Context, *state.KeysLikeRequest) (*state.KeysLikeResponse, error) {
	return &state.KeysLikeResponse{Keys: []string{"a||dapr.internal.n.a.workflow||i||metadata"}}, nil
}

func (r *restless) BulkGet(context.Context, []state.GetRequest, state.BulkGetOpts) ([]state.BulkGetResponse, error) {
	return nil, nil
}

func TestRowsBelongTogether(t *testing.T) {
	var f historyFlags
	of := history.Key{App: "a", Namespace: "n", Instance: "i"}
	store := &restless{calm: 3}
	_, err := f.read(t.Context(), store, of)
	require.NoError(t, err)
	require.Equal(t, 4, store.gets, "the first two differ, the next two do not")
	store = &restless{calm: 1 << 30}
	_, err = f.read(t.Context(), store, of)
	require.ErrorContains(t, err, "written all the time")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	_, err = f.read(ctx, &restless{calm: 1 << 30}, of)
	require.ErrorIs(t, err, context.Canceled)
}
