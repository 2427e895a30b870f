// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package redact_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/redact"
)

func compile(t testing.TB, paths []string, detectors ...string) *redact.Plan {
	t.Helper()
	p, err := redact.Compile(redact.Spec{Paths: paths, Detectors: detectors})
	require.NoError(t, err)
	return p
}

func TestCompileRefuses(t *testing.T) {
	many := make([]string, 65)
	for i := range many {
		many[i] = fmt.Sprintf("$.a%d", i)
	}
	for _, c := range []struct {
		name string
		in   redact.Spec
		want string
	}{
		{"nothing", redact.Spec{}, "redact: neither paths nor detectors are given, so nothing would be redacted"},
		{"only binary", redact.Spec{Binary: redact.BinaryPass}, "redact: neither paths nor detectors are given, so nothing would be redacted"},
		{"binary", redact.Spec{Detectors: []string{"email"}, Binary: "passs"}, `redact: binary "passs" is unknown (did you mean "pass"?): use remove or pass`},
		{
			"detector misspelled",
			redact.Spec{Detectors: []string{"emial"}},
			`redact: detector "emial" is unknown (did you mean "email"?): use email, card, iban, phone, us-ssn, secret`,
		},
		{"detector in capitals", redact.Spec{Detectors: []string{"IBAN"}}, `redact: detector "IBAN" is unknown (did you mean "iban"?): use email, card, iban, phone, us-ssn, secret`},
		{"detector unlike any", redact.Spec{Detectors: []string{"address"}}, `redact: detector "address" is unknown: use email, card, iban, phone, us-ssn, secret`},
		{"too many paths", redact.Spec{Paths: many}, "redact: 65 paths are more than 64"},
		{"path too long", redact.Spec{Paths: []string{"$." + strings.Repeat("a", 255)}}, "257 bytes are more than 256"},
		{"path", redact.Spec{Paths: []string{"$.a", "a.b"}}, `redact: path "a.b": column 1: a path begins with $`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := redact.Compile(c.in)
			require.Nil(t, p)
			require.ErrorContains(t, err, c.want)
		})
	}
	_, err := redact.Compile(redact.Spec{Paths: append(many[:63:63], "$."+strings.Repeat("a", 254))})
	require.NoError(t, err)
}

func TestPathsAreRefused(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", "column 1: a path begins with $"},
		{"$", "column 2: name at least one member"},
		{" $.a", "column 1:"},
		{"$.", "column 3: expected a name or *"},
		{"$..", "column 4: expected a name or *"},
		{"$...a", "column 4: expected a name or *"},
		{"$a", "column 2: expected . or ["},
		{"$.a ", "column 4: expected . or ["},
		{"$.a-b", "column 4: expected . or [; a name with other characters than letters, digits and _ is written ['name']"},
		{"$.1a", "column 3: expected a name or *"},
		{"$.**", "column 4: expected . or ["},
		{"$.[0]", "column 3: expected a name or *"},
		{"$[", "column 3: expected 'name', an index or *"},
		{"$[]", "column 3: expected 'name'"},
		{"$[a]", "column 3: expected 'name'"},
		{"$[-1]", "column 3: expected 'name', an index or * here; slices, filters and indexes from the end are not known"},
		{"$[?@.a]", "column 3: expected 'name'"},
		{"$[01]", "column 3: an index has at most 9 digits and no leading zero"},
		{"$[1234567890]", "column 3: an index has at most 9 digits"},
		{"$[0:2]", "column 4: expected ]; slices and lists of names are not known"},
		{"$['a','b']", "column 6: expected ]"},
		{"$['a'", "column 6: expected ]"},
		{"$['a", "the quote at column 3 is not closed"},
		{`$['a\']`, "the quote at column 3 is not closed"},
		{`$["\'"]`, `column 6: \' stands only between single quotes`},
		{`$['\x']`, "column 4: the name in quotes is not well formed"},
		{`$['\ud800']`, "column 4: the name in quotes is not well formed"},
		{"$['a\nb']", "column 4: the name in quotes is not well formed"},
		{"$.a\xff", "not UTF-8"},
		{"$" + strings.Repeat(".a", 33), "column 66: more than 32 segments"},
	} {
		t.Run(c.in, func(t *testing.T) {
			_, err := redact.Compile(redact.Spec{Paths: []string{c.in}})
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestSpecIsCanonical(t *testing.T) {
	p, err := redact.Compile(redact.Spec{
		Paths: []string{
			"$.b", "$['a']", `$["a"]`, "$.a", "$..['x-y']", "$[*]", "$.*", "$..*", "$..[0]", `$['it\'s']`, `$["it's"]`, `$['\u00e4']`, "$.ä",
			`$["\n\\\""]`, "$['']",
		},
		Detectors: []string{"us-ssn", "card", "email", "card"},
	})
	require.NoError(t, err)
	want := redact.Spec{
		Paths: []string{
			"$..*", `$..['x-y']`, "$..[0]", "$.*", "$.a", "$.b", "$.ä", `$['']`, `$['\u000a\\"']`, `$['it\'s']`,
		},
		Detectors: []string{"card", "email", "us-ssn"},
		Binary:    redact.BinaryRemove,
	}
	require.ElementsMatch(t, want.Paths, p.Spec().Paths)
	require.IsIncreasing(t, p.Spec().Paths)
	require.Equal(t, want.Detectors, p.Spec().Detectors)
	require.Equal(t, want.Binary, p.Spec().Binary)
	again, err := redact.Compile(p.Spec())
	require.NoError(t, err)
	require.Equal(t, p, again)
}

func TestMerge(t *testing.T) {
	pass := func(p []string, d ...string) *redact.Plan {
		plan, err := redact.Compile(redact.Spec{Paths: p, Detectors: d, Binary: redact.BinaryPass})
		require.NoError(t, err)
		return plan
	}
	require.Nil(t, redact.Merge())
	require.Nil(t, redact.Merge(nil, nil))
	one, two := pass([]string{"$.b", "$.a"}, "email"), pass([]string{"$['a']"}, "card", "email")
	before := one.Spec()
	require.Equal(t, redact.Spec{Paths: []string{"$.a", "$.b"}, Detectors: []string{"card", "email"}, Binary: redact.BinaryPass},
		redact.Merge(one, nil, two).Spec())
	require.Equal(t, redact.Merge(one, two), redact.Merge(two, one))
	require.Equal(t, redact.BinaryRemove, redact.Merge(one, compile(t, nil, "card"), two).Spec().Binary)
	require.Equal(t, before, one.Spec())
	require.Equal(t, one, redact.Merge(one))
	var none *redact.Plan
	require.Zero(t, none.Spec())
}
