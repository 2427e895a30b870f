// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFreePortsAreHeldAndDiffer(t *testing.T) {
	t.Parallel()
	p := newPorts()
	seen := map[int]bool{}
	for range 50 {
		r, err := p.free(t.Context())
		require.NoError(t, err)
		require.False(t, seen[r.number])
		seen[r.number] = true
		require.GreaterOrEqual(t, r.number, lowestPort)
		if p.top-lowestPort >= 1000 {
			require.Less(t, r.number, p.top, "not a port that a client may get")
		}
		_, err = newPorts().exact(t.Context(), r.number)
		require.ErrorIs(t, err, errPortInUse)
	}
	require.NoError(t, p.releaseAll())
}

func TestReleasedPortCanBeUsed(t *testing.T) {
	t.Parallel()
	p := newPorts()
	r, err := p.free(t.Context())
	require.NoError(t, err)
	require.NoError(t, r.release())
	require.NoError(t, r.release(), "twice is harmless")
	ln, err := net.Listen("tcp4", address(r.number))
	require.NoError(t, err)
	require.NoError(t, ln.Close())
}

// Between release and use nobody listens on the port, and a run that starts then must not take it.
func TestReleasedPortIsNotFreeForOtherRuns(t *testing.T) {
	t.Parallel()
	p, other := newPorts(), newPorts()
	r, err := p.free(t.Context())
	require.NoError(t, err)
	require.NoError(t, r.release())
	_, err = other.claimed(t.Context(), r.number)
	require.ErrorIs(t, err, errPortInUse)
	require.NoError(t, p.releaseAll())
	_, err = other.claimed(t.Context(), r.number)
	require.NoError(t, err)
	require.NoError(t, other.releaseAll())
}

func TestAnyPortWithoutARange(t *testing.T) {
	t.Parallel()
	p := &ports{top: 0}
	r, err := p.free(t.Context())
	require.NoError(t, err)
	require.NotZero(t, r.number)
	require.NoError(t, p.releaseAll())
}

// A port of the control plane that is in use is named with the flag that chooses another.
func TestControlPlanePortInUse(t *testing.T) {
	t.Parallel()
	p := newPorts()
	taken, err := p.free(t.Context())
	require.NoError(t, err)
	for flag, opts := range map[string]Options{
		"--listen-sentry":    {SentryPort: taken.number},
		"--listen-placement": {PlacementPort: taken.number},
		"--listen-scheduler": {SchedulerPort: taken.number},
	} {
		d := &Domain{ctx: t.Context(), ports: newPorts(), opts: opts}
		err := d.planControlPlane()
		require.ErrorIs(t, err, errPortInUse)
		require.ErrorContains(t, err, "stop what listens there, or choose another with "+flag)
		require.NoError(t, d.ports.releaseAll())
	}
	require.NoError(t, p.releaseAll())
}
