// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package identity_test

import (
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/identity"
)

func TestApp(t *testing.T) {
	namespace, app, ok := identity.App(spiffeid.RequireFromString("spiffe://custody.test/ns/prod/intake"))
	require.Equal(t, "prod intake", namespace+" "+app)
	require.True(t, ok)
	for _, id := range []string{
		"spiffe://custody.test", "spiffe://custody.test/intake", "spiffe://custody.test/ns/prod", "spiffe://custody.test/ns/prod/intake/x",
		"spiffe://custody.test/NS/prod/intake", "spiffe://custody.test/x/ns/prod/intake", "spiffe://custody.test/nsx/prod/intake",
	} {
		namespace, app, ok = identity.App(spiffeid.RequireFromString(id))
		require.Equal(t, " ", namespace+" "+app, id)
		require.False(t, ok, id)
	}
	_, _, ok = identity.App(spiffeid.ID{})
	require.False(t, ok)
}
