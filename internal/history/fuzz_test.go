// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package history_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/history"
)

// Whatever the rows are, reading and verifying them ends, and nothing is verified that was not signed by the app.
func FuzzVerify(f *testing.F) {
	w := newWorldTB(f)
	seeds := []history.Rows{w.whole().Rows(), w.begin("wf-1").Rows(), {App: "intake", Namespace: "default", Instance: "wf-1"}}
	for _, rows := range seeds {
		text, err := json.Marshal(rows)
		require.NoError(f, err)
		f.Add(text)
	}
	good := w.verify(seeds[0])
	require.True(f, good.OK())
	f.Fuzz(func(t *testing.T, text []byte) {
		var rows history.Rows
		if json.Unmarshal(text, &rows) != nil {
			return
		}
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
				require.Equal(t, seeds[0].Rows[history.HistoryRow(i)], in.Events[i].Raw)
			}
		}
	})
}
