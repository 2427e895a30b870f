// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpcaller_test

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/internal/txn"
	"github.com/dapr-custody/custody/middleware/mcpcaller"
)

func TestMintedTokensAreSentAgainForAMinute(t *testing.T) {
	svid, start, made := testkit.NewCA(t, "custody.local").SVID("refunds"), time.Now(), 0
	var m mcpcaller.Minted
	sign := func() (*txn.Token, error) { made++; return &txn.Token{Compact: strconv.Itoa(made)}, nil }
	for _, c := range []struct {
		after time.Duration
		want  string
	}{{0, "1"}, {time.Minute - 1, "1"}, {time.Minute, "2"}, {time.Minute - 1, "3"}, {time.Minute, "3"}} {
		got, err := m.Get("a", svid, start.Add(c.after), sign)
		require.NoError(t, err)
		require.Equal(t, c.want, got, "after %s; a clock that was set back makes a new one", c.after)
	}
	got, err := m.Get("a", svid, testkit.SetBack(t, start.Add(2*time.Minute), 45), sign)
	require.NoError(t, err)
	require.Equal(t, "3", got, "the clock says fifteen seconds after the last one")
	got, err = m.Get("a", svid, testkit.SetBack(t, start.Add(2*time.Minute), 3600), sign)
	require.NoError(t, err)
	require.Equal(t, "4", got)
	failed := errors.New("no key")
	_, err = m.Get("b", svid, start, func() (*txn.Token, error) { return nil, failed })
	require.ErrorIs(t, err, failed)
	for n := range 2000 {
		_, err := m.Get(strconv.Itoa(n), svid, start, sign)
		require.NoError(t, err)
		require.LessOrEqual(t, m.Len(), 512)
	}
}
