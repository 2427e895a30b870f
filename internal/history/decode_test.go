// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package history_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/history"
)

func TestDecodeRefuses(t *testing.T) {
	for _, r := range []history.Rows{
		{App: "a", Namespace: "n"},
		{App: "a", Instance: "i"},
		{Namespace: "n", Instance: "i"},
		{App: "a", Namespace: "n", Instance: "i", Rows: map[string][]byte{"history-000000": bytes.Repeat([]byte{1}, history.MaxRowBytes+1)}},
	} {
		_, err := history.Decode(r)
		require.ErrorIs(t, err, history.ErrRows)
	}
}

func TestKeys(t *testing.T) {
	for _, tt := range []struct {
		text string
		want history.Key
		ok   bool
	}{
		{"a||dapr.internal.n.a.workflow||i||metadata", history.Key{App: "a", Namespace: "n", Instance: "i", Row: "metadata"}, true},
		{"a||dapr.internal.n.a.workflow||i||j||history-000001", history.Key{App: "a", Namespace: "n", Instance: "i||j", Row: "history-000001"}, true},
		{"a||dapr.internal.n.b.workflow||i||metadata", history.Key{}, false},
		{"a||dapr.internal.n.a.activity||i||activityState", history.Key{}, false},
		{"a||dapr.internal..a.workflow||i||metadata", history.Key{}, false},
		{"a||n.a.workflow||i||metadata", history.Key{}, false},
		{"a||dapr.internal.n.a.workflow||metadata", history.Key{}, false},
		{"a||dapr.internal.n.a.workflow||||metadata", history.Key{}, false},
		{"a||key", history.Key{}, false},
		{"", history.Key{}, false},
	} {
		got, ok := history.ParseKey(tt.text)
		require.Equal(t, tt.ok, ok, tt.text)
		require.Equal(t, tt.want, got)
		if ok {
			require.Equal(t, tt.text, got.String())
		}
	}
}
