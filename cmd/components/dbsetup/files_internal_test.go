// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dbsetup

import (
	"bytes"
	"context"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/examples/orders/postgres"
	"github.com/dapr-custody/custody/internal/database"
)

// What the server does not accept once it is written is put back, and the transaction with it.
func TestFilesAreGivenBack(t *testing.T) {
	scratch, err := postgres.StartScratch(t.Context(), postgres.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, scratch.Close()) })
	admin, err := pgx.ParseConfig(scratch.URL())
	require.NoError(t, err)
	o := Options{Database: &database.Database{Name: "x", DBName: "postgres"}, Admin: admin, Out: new(bytes.Buffer), Now: time.Now}
	s, err := connect(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.close(context.Background())) })
	require.True(t, s.local)

	hba, fresh := s.facts.HBA, s.facts.Data+"/custody-ca.pem"
	before, err := os.ReadFile(hba)
	require.NoError(t, err)
	p := &plan{files: []edit{
		{path: fresh, new: "x\n", fresh: true},
		{path: hba, old: string(before), new: "nonsense\n" + string(before)},
	}}
	p.change("a table", "CREATE TABLE public.made_by_this_test ()")
	err = s.apply(t.Context(), p)
	require.ErrorContains(t, err, "is not accepted by the server: line 1: ")
	require.ErrorContains(t, err, "nothing was changed")
	after, err := os.ReadFile(hba)
	require.NoError(t, err)
	require.Equal(t, string(before), string(after))
	require.NoFileExists(t, fresh)
	require.NoError(t, s.close(t.Context()))

	again, err := connect(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, again.conn.PgConn().Conn().Close())
		require.ErrorContains(t, again.close(context.Background()), "database x: the connection did not end as it should, after the transaction: ")
	})
	there, err := ask[bool](t.Context(), again.tx, "SELECT to_regclass('public.made_by_this_test') IS NOT NULL")
	require.NoError(t, err)
	require.False(t, there)

	p = &plan{files: []edit{{path: hba, old: string(before), new: string(before) + "# more\n"}}}
	p.change("nonsense", "NONSENSE")
	require.ErrorContains(t, again.apply(t.Context(), p), "nonsense: ERROR: syntax error")
	after, err = os.ReadFile(hba)
	require.NoError(t, err)
	require.Equal(t, string(before), string(after))
}

func TestBlocks(t *testing.T) {
	const foreign = "# remark\n\nhost all all all scram-sha-256"
	own := "# custody begin b\nx\ny\n# custody end b\n"
	other := "# custody begin a\nz\n# custody end a\n"
	for name, c := range map[string]struct{ text, want string }{
		"empty file":           {"", own},
		"without":              {foreign, own + foreign},
		"another's":            {other + foreign, own + other + foreign},
		"behind another's":     {other + own + foreign, other + own + foreign},
		"behind a remark":      {"# r\n" + own + foreign, "# r\n" + own + foreign},
		"behind a line":        {foreign + "\n" + own, own + foreign + "\n"},
		"other lines":          {"# custody begin b\nx\n# custody end b\n" + foreign, own + foreign},
		"empty":                {"# custody begin b\n# custody end b\n", own},
		"indented, with CR":    {"  # custody begin b\r\nx\r\ny\r\n# custody end b\r\n", own},
		"a name that is alike": {"# custody begin bb\n# custody end bb\n", own + "# custody begin bb\n# custody end bb\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := withBlock(c.text, "b", []string{"x", "y"})
			require.NoError(t, err)
			require.Equal(t, c.want, got)
			again, err := withBlock(got, "b", []string{"x", "y"})
			require.NoError(t, err)
			require.Equal(t, got, again)
			without, err := withoutBlock(got, "b")
			require.NoError(t, err)
			require.NotContains(t, without, "begin b\n")
			if without == "" {
				return
			}
			require.Contains(t, c.text, without[:1])
		})
	}
	for name, text := range map[string]string{
		"no end": "# custody begin b\nx\n", "no begin": "x\n# custody end b\n", "twice": own + own, "within": "# custody begin a\n" + own + "# custody end a\n",
		"crossed": "# custody begin a\n# custody end b\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := withBlock(text, "b", nil)
			require.ErrorContains(t, err, "by hand")
			_, err = withoutBlock(text, "b")
			require.ErrorContains(t, err, "by hand")
		})
	}
}

// FuzzBlocks: what is outside of the block stays as it was, and whatever is put in comes out again.
func FuzzBlocks(f *testing.F) {
	for _, text := range []string{"", "host all all all trust", "# custody begin b\nx\n# custody end b\n", "a\r\n# custody begin c\n", "\x00\n\n# custody end b"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		with, err := withBlock(text, "b", []string{"x"})
		if err != nil {
			return
		}
		without, err := withoutBlock(text, "b")
		require.NoError(t, err)
		taken, err := withoutBlock(with, "b")
		require.NoError(t, err)
		require.Equal(t, without, taken)
		at, preceded, err := find(split(with), "b")
		require.NoError(t, err)
		require.False(t, preceded)
		require.NotZero(t, at.end)
	})
}
