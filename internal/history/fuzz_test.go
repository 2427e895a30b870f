// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package history_test

import (
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/history"
)

// Whatever a row is replaced by, reading and verifying ends, and no event is verified that the app did not sign.
func FuzzVerify(f *testing.F) {
	w := newWorldTB(f)
	whole := w.whole().Rows()
	for row, value := range whole.Rows {
		f.Add(row, value, "")
		f.Add(row, value, "metadata")
	}
	f.Add("history-399999", []byte{}, "metadata")
	good := w.verify(whole)
	require.True(f, good.OK())
	f.Fuzz(func(t *testing.T, row string, value []byte, without string) {
		rows := whole
		rows.Rows = maps.Clone(whole.Rows)
		rows.Rows[row] = value
		delete(rows.Rows, without)
		in, err := history.Decode(rows)
		if err != nil {
			require.ErrorIs(t, err, history.ErrRows)
			return
		}
		report := history.Verify(in, history.Options{
			Bundles: w.ca.Bundle(), Signed: true, Anchors: []history.Anchor{{Index: 1, At: time.Unix(1, 0)}},
		})
		require.Len(t, report.Events, len(in.Events))
		for i, e := range report.Events {
			if e.Verified {
				require.Equal(t, whole.Rows[history.HistoryRow(i)], in.Events[i].Raw)
			}
		}
	})
}
