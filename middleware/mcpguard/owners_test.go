// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard_test

import (
	"fmt"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/middleware/mcpguard"
)

// Whoever opens many pushes out its own, the one that was unused for the longest time first.
func TestNobodyPushesOutWhatIsAnothers(t *testing.T) {
	alice, mallory := spiffeid.RequireFromString("spiffe://custody.local/alice"), spiffeid.RequireFromString("spiffe://custody.local/mallory")
	const most = 100
	o := mcpguard.NewOwners(most)
	for n := range 10 {
		require.NoError(t, o.Open(fmt.Sprint("alice", n), alice))
	}
	for n := range 5 * most {
		require.NoError(t, o.Open(fmt.Sprint("mallory", n), mallory))
		require.True(t, n < 1 || o.Has("mallory1", mallory), "what is used stays")
	}
	ids, callers := o.Len()
	require.Equal(t, most, ids)
	require.Equal(t, 2, callers)
	for n := range 10 {
		require.True(t, o.Has(fmt.Sprint("alice", n), alice))
		require.False(t, o.Has(fmt.Sprint("alice", n), mallory))
	}
	require.False(t, o.Has("mallory0", mallory))
	require.True(t, o.Has(fmt.Sprint("mallory", 5*most-1), mallory))
	require.Error(t, o.Open("alice1", mallory), "it is not given away")

	for n := range most { // alice, who has more now
		require.NoError(t, o.Open(fmt.Sprint("more", n), alice))
	}
	ids, _ = o.Len()
	require.Equal(t, most, ids)
	require.True(t, o.Has("mallory1", mallory), "of each as many are left as of the other")

	for n := range 5 * most {
		o.End(fmt.Sprint("mallory", n))
	}
	_, callers = o.Len()
	require.Equal(t, 1, callers)
	require.False(t, o.Has("mallory1", mallory))
	require.NoError(t, o.Open("mallory1", mallory))
}
