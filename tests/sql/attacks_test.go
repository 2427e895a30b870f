// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sql_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/sqlguard"
)

// attack is a case of testdata/attacks.yaml. What the statement is: SQL, Bytes in hex, or Repeat. What the guard must
// do: refuse it with Class and Statement; or let it pass with a kind other than select among its Kinds, or with a
// relation that it Names. What it does without the guard, on a database of its own, as the superuser or the role As,
// after Before, by the simple protocol as a naive proxy sends it: Probe has another result than before, or something
// is Returned (MAJOR is the server's version, which stands in the file PG_VERSION), Fails with this text, Sleeps so many milliseconds, or Notified on a channel.
type attack struct {
	Name       string
	SQL        string
	Bytes      string
	Repeat     *repeated
	Class      sqlguard.Class
	Statement  string
	Kinds      string
	Names      string
	Effect     string
	As         string
	Within     string // "read only": wrapped in BEGIN READ ONLY and ROLLBACK; "read only session": and COMMIT
	Before     string
	After      string // undoes what concerns the whole cluster
	Probe      string
	Returns    string
	Fails      string
	Sleeps     int
	Notified   string
	Until      int    // the last version that lets it do harm; later ones refuse it by themselves
	SkipEffect string `yaml:"skip_effect"` // why there is nothing to see
}

type repeated struct {
	Head, Unit, Middle, Tail string
	Times                    int
}

func attacks(t testing.TB) []attack {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", "attacks.yaml"))
	require.NoError(t, err)
	defer file.Close()
	decoder := yaml.NewDecoder(file)
	decoder.KnownFields(true)
	var cases []attack
	require.NoError(t, decoder.Decode(&cases))
	return cases
}

func (a *attack) text(t testing.TB) string {
	t.Helper()
	switch {
	case a.Bytes != "":
		raw, err := hex.DecodeString(a.Bytes)
		require.NoError(t, err)
		return string(raw)
	case a.Repeat != nil:
		return a.Repeat.Head + strings.Repeat(a.Repeat.Unit, a.Repeat.Times) + a.Repeat.Middle +
			strings.Repeat(a.Repeat.Tail, a.Repeat.Times)
	}
	return a.SQL
}

func TestAttacksDoNotPass(t *testing.T) {
	inspector := guard(t)
	seen := map[string]bool{}
	for _, a := range attacks(t) {
		require.False(t, seen[a.Name], "two cases are called %q", a.Name)
		seen[a.Name] = true
		t.Run(a.Name, func(t *testing.T) {
			inspected, err := inspector.Inspect(a.text(t))
			if a.Class != "" {
				require.Error(t, err)
				require.Equal(t, a.Class, sqlguard.ClassOf(err), err)
				var refusal *sqlguard.Refusal
				require.ErrorAs(t, err, &refusal)
				if a.Statement != "" {
					require.Equal(t, a.Statement, refusal.Statement)
				}
				return
			}
			require.NoError(t, err)
			require.True(t, a.Kinds != "" || a.Names != "", "the case expects nothing of the guard")
			if a.Kinds != "" {
				require.Contains(t, inspected.Kinds.Names(), a.Kinds)
				require.False(t, inspected.ReadOnly())
			}
			if a.Names != "" {
				require.True(t, slices.ContainsFunc(inspected.Relations, func(r *sqlguard.Relation) bool {
					return r.String() == a.Names
				}), "%s is not among the relations", a.Names)
			}
		})
	}
}

// No case is there for show: each does what it says when nobody guards.
func TestAttacksDoHarmUnguarded(t *testing.T) {
	url := shop(t)
	pristine := state(t, url(""))
	for _, a := range attacks(t) {
		t.Run(a.Name, func(t *testing.T) {
			require.NotEmpty(t, a.Effect)
			if a.SkipEffect != "" {
				return
			}
			if state(t, url("")) != pristine {
				remake(t, url(""))
				pristine = state(t, url(""))
			}
			conn := connect(t, url(a.As))
			defer func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) }()
			if a.After != "" {
				defer run(t, start(t), a.After)
			}
			if a.Before != "" {
				_, err := conn.PgConn().Exec(t.Context(), a.Before).ReadAll()
				require.NoError(t, err)
			}
			a.harm(t, conn)
		})
	}
}

func (a *attack) harm(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	before := ""
	if a.Probe != "" {
		before = probe(t, conn, a.Probe)
	}
	began := time.Now()
	returned, err := a.send(t, conn)
	took := time.Since(began)
	if a.Fails != "" {
		require.ErrorContains(t, err, a.Fails)
		return
	}
	major, _, _ := strings.Cut(conn.PgConn().ParameterStatus("server_version"), ".")
	if a.Until != 0 && version(t, major) > a.Until {
		require.Error(t, err)
		return
	}
	require.NoError(t, err)
	shown := false
	if a.Returns != "" {
		require.Contains(t, returned, strings.ReplaceAll(a.Returns, "MAJOR", major))
		shown = true
	}
	if a.Sleeps > 0 {
		require.GreaterOrEqual(t, took, time.Duration(a.Sleeps)*time.Millisecond)
		shown = true
	}
	if a.Notified != "" {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		notification, err := conn.WaitForNotification(ctx)
		require.NoError(t, err)
		require.Equal(t, a.Notified, notification.Channel)
		shown = true
	}
	if a.Probe != "" {
		// The server reads its settings again when it gets to it.
		require.Eventually(t, func() bool { return probe(t, conn, a.Probe) != before }, 10*time.Second, 10*time.Millisecond,
			"nothing changed: %s", a.Probe)
		shown = true
	}
	require.True(t, shown, "the case says of no effect how to see it")
}

// send runs the text as one simple query, in what a.Within names.
func (a *attack) send(t *testing.T, conn *pgx.Conn) (string, error) {
	t.Helper()
	exec := func(sql string) ([]*pgconn.Result, error) { return conn.PgConn().Exec(t.Context(), sql).ReadAll() }
	end := map[string]string{"": "", "read only": "ROLLBACK", "read only session": "COMMIT"}[a.Within]
	if end != "" {
		_, err := exec("BEGIN READ ONLY")
		require.NoError(t, err)
	}
	results, err := exec(a.text(t))
	if end != "" {
		_, endErr := exec(end)
		err = errors.Join(err, endErr)
	}
	return printed(results), err
}

func printed(results []*pgconn.Result) string {
	var text strings.Builder
	for _, result := range results {
		for _, row := range result.Rows {
			for _, value := range row {
				fmt.Fprintf(&text, "%s\n", value)
			}
		}
	}
	return text.String()
}

func probe(t *testing.T, conn *pgx.Conn, sql string) string {
	t.Helper()
	results, err := conn.PgConn().Exec(t.Context(), sql).ReadAll()
	require.NoError(t, err)
	return printed(results)
}

func version(t testing.TB, major string) int {
	t.Helper()
	number, err := strconv.Atoi(major)
	require.NoError(t, err)
	return number
}
