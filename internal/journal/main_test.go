// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package journal_test

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/journal"
)

// roleEnv makes a re-executed test binary do the work of a child process instead of running tests.
const roleEnv = "CUSTODY_JOURNAL_TEST_ROLE"

func TestMain(m *testing.M) {
	var child func(dir string) error
	switch os.Getenv(roleEnv) {
	case "":
		os.Exit(m.Run())
	case "writer":
		child = writeUntilKilled
	case "limited":
		child = hitFileSizeLimit
	}
	if err := child(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func open(tb testing.TB, options journal.Options) *journal.Writer {
	tb.Helper()
	w, err := journal.Open(options)
	require.NoError(tb, err)
	return w
}

// write makes a journal with n records and closes it.
func write(tb testing.TB, options journal.Options, n int) {
	tb.Helper()
	w := open(tb, options)
	for i := range n {
		_, err := w.Append(journal.KindIntent, []byte("record "+strconv.Itoa(i)))
		require.NoError(tb, err)
	}
	require.NoError(tb, w.Close())
}

func read(dir string) ([]journal.Record, error) {
	var records []journal.Record
	err := journal.Read(dir, func(r journal.Record) error {
		r.Payload = append([]byte(nil), r.Payload...)
		records = append(records, r)
		return nil
	})
	return records, err
}
