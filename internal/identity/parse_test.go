// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package identity_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/identity"
)

func TestParseRegistrations(t *testing.T) {
	all := document("orders.mcp-1", orders, `unix:uid: "0"`, "unix:path: /usr/local/bin/daprd", "unix:sha256: "+strings.Repeat("ab", 32),
		`unix:pid: "1@0"`, "dapr:app-id: orders-mcp", "dapr:namespace: team_1")
	parsed, err := identity.ParseRegistrations("reg.yaml", []byte("# only a comment\n---\n"+all+"---\n"+document("b", orders, `unix:uid: "4294967295"`)))
	require.NoError(t, err)
	require.Len(t, parsed, 2)
	require.Equal(t, "orders.mcp-1", parsed[0].Name())
	require.Equal(t, orders, parsed[0].ID().String())
	require.Equal(t, "reg.yaml:3", parsed[0].Source())
}

func TestParseRegistrationsRefuses(t *testing.T) {
	good := document("a", orders, `unix:uid: "0"`)
	change := func(from, to string) string {
		require.Contains(t, good, from)
		return strings.Replace(good, from, to, 1)
	}
	tests := []struct {
		name, in string
		want     []string
	}{
		{"empty", "", []string{"reg.yaml:1:1: the file holds no registration"}},
		{"comments", "# nothing\n---\n", []string{"the file holds no registration"}},
		{"not YAML", "a: [\n", []string{"reg.yaml:", "not valid YAML"}},
		{"not UTF-8", "a: \xff\n", []string{"not UTF-8"}},
		{"a list", "- a\n", []string{"reg.yaml:1:1: want a mapping with the keys apiVersion, kind, metadata, spec"}},
		{"too large", "# " + strings.Repeat("x", identity.MaxFileBytes), []string{"the limit is 1048576"}},
		{"version", change("v1alpha1", "v1"), []string{`reg.yaml:1:13: apiVersion: "custody.dev/v1" is not supported`}},
		{"kind", change("WorkloadRegistration", "AccessPolicy"), []string{"reg.yaml:2:7: kind:", "write WorkloadRegistration"}},
		{"no name", change("{name: a}", "{}"), []string{"reg.yaml:3:11: metadata.name: is missing"}},
		{"bad name", change("{name: a}", "{name: A_b}"), []string{`metadata.name: "A_b" is not a legal name`}},
		{"ID", change(orders, "orders-mcp"), []string{"reg.yaml:5:13: spec.spiffeID:", "is no SPIFFE ID"}},
		{"ID of a domain", change(orders, "spiffe://custody.local"), []string{"reg.yaml:5:13: spec.spiffeID:", "names a trust domain and no workload"}},
		{"a slip", change("spiffeID", "spiffeId"), []string{`reg.yaml:5:3: spec.spiffeId: unknown field: did you mean "spiffeID"?`}},
		{"unknown field", change("  selectors", "  ttl: 5\n  selectors"), []string{`reg.yaml:6:3: spec.ttl: unknown field: want one of spiffeID, selectors`}},
		{"unknown selector", change("unix:uid", "unix:group"), []string{`reg.yaml:7:5: spec.selectors.unix:group: unknown field`}},
		{"slip in a selector", change("unix:uid", "unix:uld"), []string{`did you mean "unix:uid"?`}},
		{"no selectors", change("\n    unix:uid: \"0\"", " {}"), []string{"spec.selectors: the kernel is asked nothing"}},
		{"null selectors", change("\n    unix:uid: \"0\"", ""), []string{"spec.selectors: want a mapping"}},
		{"app ID alone", change(`unix:uid: "0"`, "dapr:app-id: a"), []string{"reg.yaml:7:5: spec.selectors: the kernel is asked nothing: add one of unix:uid, unix:path, unix:sha256, unix:pid,"}},
		{"uid as a number", change(`"0"`, "0"), []string{`reg.yaml:7:15: spec.selectors.unix:uid: want text: put it in quotes, "0"`}},
		{"uid by name", change(`"0"`, "root"), []string{`"root" is no user ID`}},
		{"uid with zeros", change(`"0"`, `"00"`), []string{"is no user ID"}},
		{"uid too large", change(`"0"`, `"4294967296"`), []string{"is no user ID"}},
		{"uid empty", change(`"0"`, `""`), []string{"spec.selectors.unix:uid: is empty"}},
		{"uid list", change(`"0"`, `["0"]`), []string{"want one text"}},
		{"relative path", change(`unix:uid: "0"`, "unix:path: bin/daprd"), []string{"is no absolute path"}},
		{"path not plain", change(`unix:uid: "0"`, "unix:path: /usr/../bin/daprd"), []string{"is no absolute path"}},
		{"short sum", change(`unix:uid: "0"`, "unix:sha256: abcd"), []string{"is no SHA-256"}},
		{"large letters", change(`unix:uid: "0"`, "unix:sha256: "+strings.Repeat("AB", 32)), []string{"is no SHA-256"}},
		{"pid alone", change(`unix:uid: "0"`, `unix:pid: "12"`), []string{"is no process"}},
		{"pid with zeros", change(`unix:uid: "0"`, `unix:pid: "12@05"`), []string{"is no process"}},
		{"pid 0", change(`unix:uid: "0"`, `unix:pid: "0@5"`), []string{"is no process"}},
		{"app ID with a slash", change(`unix:uid: "0"`, "unix:uid: \"0\"\n    dapr:app-id: a/b"), []string{"reg.yaml:8:18: spec.selectors.dapr:app-id:", "is not legal"}},
		{"namespace with a star", change(`unix:uid: "0"`, "unix:uid: \"0\"\n    dapr:namespace: '*'"), []string{"is not legal"}},
		{"twice", change(`unix:uid: "0"`, "unix:uid: \"0\"\n    unix:uid: \"1\""), []string{"reg.yaml:8:5: spec.selectors.unix:uid: is given twice, the first one near line 7"}},
		{"anchor", change(`"0"`, `&a "0"`), []string{"spec.selectors.unix:uid: anchors (&a) are not supported"}},
		{"tag", change(`"0"`, `!!str 0`), []string{"spec.selectors.unix:uid: tags (!!str) are not supported"}},
		{"merge", change(`unix:uid: "0"`, "<<: {unix:uid: \"0\"}"), []string{`spec.selectors.<<: unknown field`}},
		{"all is told", change("v1alpha1", "v1") + "---\n" + change(orders, "x"), []string{"reg.yaml:1:13: apiVersion", "reg.yaml:13:13: spec.spiffeID"}},
		{"too many", strings.Repeat(good+"---\n", identity.MaxRegistrations+1), []string{"more than 1000 documents"}},
		{"many faults", strings.Repeat("a: 1\n---\n", 100), []string{"and 480 more"}},
	}
	_, err := identity.ParseRegistrations("reg.yaml", []byte(good))
	require.NoError(t, err)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			parsed, err := identity.ParseRegistrations("reg.yaml", []byte(test.in))
			require.Nil(t, parsed)
			for _, want := range test.want {
				require.ErrorContains(t, err, want)
			}
			var one *identity.RegistrationError
			require.ErrorAs(t, err, &one)
			require.Positive(t, one.Line)
		})
	}
}

// Whatever is taken asks the kernel something, gives an ID, and says no to nobody.
func FuzzParseRegistrations(f *testing.F) {
	f.Add([]byte(document("a", orders, `unix:uid: "0"`, "dapr:app-id: a")))
	f.Add([]byte(document("a", orders, `unix:pid: "1@0"`) + "---\n" + document("b", orders, "unix:path: /bin/true")))
	f.Add([]byte("apiVersion: custody.dev/v1alpha1\nkind: [WorkloadRegistration"))
	f.Add([]byte("{? {a: b}: c, *d : &e f}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		parsed, err := identity.ParseRegistrations("f", data)
		if err != nil {
			require.Nil(t, parsed)
			return
		}
		require.NotEmpty(t, parsed)
		for _, p := range parsed {
			require.NotEmpty(t, p.Name())
			require.NotEmpty(t, p.ID().Path())
		}
		r, err := identity.NewRegistrations(parsed)
		if err != nil {
			return
		}
		caller, err := r.Match(identity.Process{})
		require.ErrorIs(t, err, identity.ErrUnregistered)
		require.True(t, caller.IsZero())
	})
}
