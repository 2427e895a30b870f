// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package identity_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/identity"
)

const orders = "spiffe://custody.local/ns/default/orders-mcp"

// document is a registration with the given selectors, one per line.
func document(name, id string, selectors ...string) string {
	return fmt.Sprintf("apiVersion: custody.dev/v1alpha1\nkind: WorkloadRegistration\nmetadata: {name: %s}\nspec:\n  spiffeID: %s\n  selectors:\n    %s\n",
		name, id, strings.Join(selectors, "\n    "))
}

func daprd() identity.Process {
	return identity.Process{
		PID: 4711, Started: 8812345, UID: 1000, GID: 100, Executable: "/usr/local/bin/daprd", SHA256: sha256.Sum256([]byte("daprd")),
		AppID: "orders-mcp", Namespace: "default",
	}
}

func registrations(t *testing.T, documents ...string) *identity.Registrations {
	t.Helper()
	parsed, err := identity.ParseRegistrations("reg.yaml", []byte(strings.Join(documents, "---\n")))
	require.NoError(t, err)
	r, err := identity.NewRegistrations(parsed)
	require.NoError(t, err)
	return r
}

// Each selector lets in what it names and nothing beside it.
func TestMatchEachSelector(t *testing.T) {
	sum := sha256.Sum256([]byte("daprd"))
	tests := []struct {
		selector string
		near     func(*identity.Process)
	}{
		{`unix:uid: "1000"`, func(p *identity.Process) { p.UID = 1001 }},
		{`unix:path: /usr/local/bin/daprd`, func(p *identity.Process) { p.Executable = "/usr/local/bin/daprd2" }},
		{`unix:path: /usr/local/bin/daprd`, func(p *identity.Process) { p.Executable = "" }},
		{`unix:sha256: ` + hex.EncodeToString(sum[:]), func(p *identity.Process) { p.SHA256[31]++ }},
		{`unix:sha256: ` + hex.EncodeToString(sum[:]), func(p *identity.Process) { p.SHA256 = [32]byte{} }},
		{`unix:sha256: "` + strings.Repeat("0", 64) + `"`, nil},
		{`unix:pid: "4711@8812345"`, func(p *identity.Process) { p.PID = 4712 }},
		{`unix:pid: "4711@8812345"`, func(p *identity.Process) { p.Started++ }},
		{`dapr:app-id: orders-mcp`, func(p *identity.Process) { p.AppID = "orders-mcp2" }},
		{`dapr:app-id: orders-mcp`, func(p *identity.Process) { p.AppID = "" }},
		{`dapr:namespace: default`, func(p *identity.Process) { p.Namespace = "prod" }},
	}
	for _, test := range tests {
		t.Run(test.selector, func(t *testing.T) {
			selectors := []string{test.selector}
			if strings.HasPrefix(test.selector, "dapr:") {
				selectors = append(selectors, `unix:uid: "1000"`)
			}
			r := registrations(t, document("a", orders, selectors...))
			if test.near == nil { // It matches nothing at all.
				_, err := r.Match(identity.Process{PID: 1})
				require.ErrorIs(t, err, identity.ErrUnregistered)
				return
			}
			caller, err := r.Match(daprd())
			require.NoError(t, err)
			require.Equal(t, orders, caller.String())
			require.Equal(t, identity.ProofUnixPeer, caller.Proof())
			require.Empty(t, caller.CertificateDigest())

			near := daprd()
			test.near(&near)
			caller, err = r.Match(near)
			require.ErrorIs(t, err, identity.ErrUnregistered)
			key, _, _ := strings.Cut(test.selector, ": ")
			require.ErrorContains(t, err, "nearest of 1 is a (reg.yaml:1), but "+key+" is ")
			require.True(t, caller.IsZero())
		})
	}
}

func TestMatchSeveral(t *testing.T) {
	const other = "spiffe://custody.local/ns/default/cart"
	uid, app, ns := `unix:uid: "1000"`, "dapr:app-id: orders-mcp", "dapr:namespace: default"
	tests := []struct {
		name      string
		documents []string
		want      error
		text      string
	}{
		{name: "none", documents: []string{document("a", orders, `unix:uid: "1001"`)}, want: identity.ErrUnregistered, text: `unix:uid is "1000" and not "1001"`},
		{name: "all must hold", documents: []string{document("a", orders, uid, app, "dapr:namespace: prod")}, want: identity.ErrUnregistered},
		{name: "one of two", documents: []string{document("a", orders, uid, app), document("b", other, uid, "dapr:app-id: cart")}},
		{name: "two of one ID", documents: []string{document("a", orders, uid, app), document("b", orders, uid, ns)}},
		{name: "two of two IDs", documents: []string{document("a", orders, uid, app), document("b", other, uid, ns)}, want: identity.ErrAmbiguous, text: "a (reg.yaml:1)"},
		{
			name: "more selectors do not win", documents: []string{document("a", orders, uid, app, ns), document("b", other, uid)},
			want: identity.ErrAmbiguous, text: other + " by b (reg.yaml:11)",
		},
		{
			name: "the nearest is told", documents: []string{document("b", other, `unix:uid: "7"`, "dapr:app-id: cart"), document("a", orders, uid, "dapr:app-id: orders")},
			want: identity.ErrUnregistered, text: `nearest of 2 is a (reg.yaml:10), but dapr:app-id is "orders-mcp" and not "orders"`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			caller, err := registrations(t, test.documents...).Match(daprd())
			if test.want == nil {
				require.NoError(t, err)
				require.Equal(t, orders, caller.String())
				return
			}
			require.ErrorIs(t, err, test.want)
			require.ErrorContains(t, err, test.text)
			require.True(t, caller.IsZero())
		})
	}
}

// Nothing registered, nothing asked, nothing matches.
func TestMatchFailsClosed(t *testing.T) {
	var none *identity.Registrations
	_, err := none.Match(daprd())
	require.ErrorIs(t, err, identity.ErrUnregistered)
	require.ErrorContains(t, err, "there is no registration at all")
	require.Zero(t, none.Len())
	empty, err := identity.NewRegistrations(nil)
	require.NoError(t, err)
	_, err = empty.Match(daprd())
	require.ErrorIs(t, err, identity.ErrUnregistered)

	root := registrations(t, document("a", orders, `unix:uid: "0"`))
	require.Equal(t, 1, root.Len())
	_, err = root.Match(identity.Process{})
	require.ErrorIs(t, err, identity.ErrUnregistered, "the zero Process is not root")
	_, err = root.Match(identity.Process{PID: 1})
	require.NoError(t, err)

	_, err = identity.NewRegistrations(make([]identity.Registration, 1))
	require.ErrorContains(t, err, "not made by ParseRegistrations")
	twice, err := identity.ParseRegistrations("reg.yaml", []byte(document("a", orders, `unix:uid: "0"`)+"---\n"+document("a", orders, `unix:uid: "1"`)))
	require.NoError(t, err)
	_, err = identity.NewRegistrations(twice)
	require.ErrorContains(t, err, `reg.yaml:9: metadata.name: "a" is already used at reg.yaml:1`)
	many := make([]identity.Registration, identity.MaxRegistrations+1)
	_, err = identity.NewRegistrations(many)
	require.ErrorContains(t, err, "the limit is 1000")
}

func TestFormatRegistration(t *testing.T) {
	id := spiffeid.RequireFromString(orders)
	data, err := identity.FormatRegistration("orders-mcp", id, map[string]string{
		identity.SelectorPID: daprd().Instance(), identity.SelectorAppID: "123", identity.SelectorUID: "1000",
	})
	require.NoError(t, err)
	r := registrations(t, string(data))
	p := daprd()
	p.AppID = "123"
	caller, err := r.Match(p)
	require.NoError(t, err)
	require.Equal(t, id, caller.ID())

	for name, selectors := range map[string]map[string]string{
		"none": nil, "unknown": {"unix:user": "1"}, "wrong": {identity.SelectorUID: "root"}, "no kernel": {identity.SelectorAppID: "a"},
	} {
		_, err := identity.FormatRegistration("a", id, selectors)
		require.Error(t, err, name)
	}
	_, err = identity.FormatRegistration("a", spiffeid.ID{}, map[string]string{identity.SelectorUID: "1"})
	require.ErrorContains(t, err, "spec.spiffeID")
}

func TestProcessString(t *testing.T) {
	require.Equal(t, `process 1@0 of user 0`, identity.Process{PID: 1}.String())
	text := daprd().String()
	require.Contains(t, text, `process 4711@8812345 of user 1000, /usr/local/bin/daprd, sha256 `)
	require.Contains(t, text, `, app "orders-mcp" in namespace "default"`)
}
