// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package manifest_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/manifest"
)

func reader() *manifest.Reader {
	r := &manifest.Reader{File: "f.yaml", MaxBytes: 4096, MaxDocuments: 2}
	r.Room = "room"
	return r
}

// read takes a document of one name, one count and one switch.
func read(r *manifest.Reader, data string) (names []string) {
	for _, root := range r.Documents([]byte(data)) {
		m, ok := r.Members(root, "", []string{"name", "count", "only", "list"}, []string{"name"})
		if !ok {
			continue
		}
		names = append(names, r.Name(m["name"], "name"))
		r.Number(m["count"], "count", 1, 9)
		r.MustBeTrue(m["only"], "only")
		for i, n := range r.List(m["list"], "list") {
			r.Text(n, manifest.Index("list", i))
		}
	}
	return names
}

func TestReaderTakesWhatIsPlain(t *testing.T) {
	r := reader()
	require.Equal(t, []string{"a"}, read(r, "# b\r\nname: a\r\nlist: [\"\\u2028\"]\r\n"))
	r = reader()
	require.Equal(t, []string{"a.b-1", "c"}, read(r, "---\nname: a.b-1\ncount: 9\nonly: true\nlist: [x, \"1\"]\n---\n---\nname: c\n"))
	require.NoError(t, r.Err())
	require.True(t, r.None())
}

func TestReaderSaysWhatToChange(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"too large", strings.Repeat("#", 4097), "f.yaml:1:1: the file has 4097 bytes, the limit is 4096: split it"},
		{"not UTF-8", "name: \xff", "f.yaml:1:1: the file is not UTF-8 text: save it as UTF-8"},
		{"tab", "name: a\nlist:\n\t- x", "f.yaml:3:1: a tab is used for indentation, which YAML does not allow: use spaces"},
		{"a carriage return alone", "# a\rname: a", "f.yaml:1:4: U+000D ends a line for some readers of YAML and not for others: use a line feed"},
		{"two of them", "name: a\r\r\n", "f.yaml:1:8: U+000D ends a line for some readers of YAML and not for others: use a line feed"},
		{"next line", "name: a\n# b\u0085only: true", "f.yaml:2:4: U+0085 ends a line for some readers of YAML and not for others: use a line feed"},
		{"line separator", "# a\u2028name: a", "f.yaml:1:4: U+2028 ends a line for some readers of YAML and not for others: use a line feed"},
		{"paragraph separator", "name: a #\u2029only: true", "f.yaml:1:10: U+2029 ends a line for some readers of YAML and not for others: use a line feed"},
		{"too many", "name: a\n---\nname: b\n---\nname: c", "f.yaml:5:1: more than 2 documents in one file: split it"},
		{"open quote", "name: 'a", "f.yaml:1: not valid YAML: found unexpected end of stream"},
		{"no mapping", "- a", "f.yaml:1:1: want a mapping with the keys name, count, only, list"},
		{"unknown", "name: a\nzzzzzz: 1", "f.yaml:2:1: zzzzzz: unknown field: want one of name, count, only, list"},
		{"like another", "names: a", `f.yaml:1:1: names: unknown field: did you mean "name"?`},
		{"missing", "count: 1", "f.yaml:1:1: name: is missing: add it"},
		{"twice", "name: a\nname: b", "f.yaml:2:1: name: is given twice, the first one near line 1: remove one"},
		{"alias", "name: &x a\nlist: [*x]", "f.yaml:1:7: name: anchors (&x) are not supported: remove it\n" +
			"f.yaml:2:8: list[0]: aliases (*x) are not supported: write the value out"},
		{"tag", "name: !!str a", "f.yaml:1:7: name: tags (!!str) are not supported: remove it"},
		{"number as text", "name: 1", `f.yaml:1:7: name: want text: put it in quotes, "1"`},
		{"empty", "name: ''", "f.yaml:1:7: name: is empty: give a value"},
		{"name", "name: A_b", "f.yaml:1:7: name: \"A_b\" is not a legal name: use lower case letters, digits, dashes and dots, " +
			"with a letter or digit at both ends, 253 at most"},
		{"below", "name: a\ncount: 0", "f.yaml:2:8: count: want a whole number from 1 to 9"},
		{"above", "name: a\ncount: 10", "f.yaml:2:8: count: want a whole number from 1 to 9"},
		{"no number", "name: a\ncount: 1.5", "f.yaml:2:8: count: want a whole number from 1 to 9"},
		{"false", "name: a\nonly: false", "f.yaml:2:7: only: want true: write true, or remove the field"},
		{"no list", "name: a\nlist: x", "f.yaml:2:7: list: want a list: write [x], or one \"- \" line for each entry"},
		{"empty list", "name: a\nlist: []", "f.yaml:2:7: list: the list is empty: add an entry or remove the field"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := reader()
			read(r, c.in)
			require.EqualError(t, r.Err(), "room: "+c.want)
		})
	}
}

func TestProblemsAreSortedAndBounded(t *testing.T) {
	r := reader()
	for line := 25; line > 0; line-- {
		r.Add(manifest.At("f.yaml", line, 0), "", "wrong")
	}
	var list *manifest.ErrorList
	require.True(t, errors.As(r.Err(), &list))
	require.Len(t, list.Problems, 20)
	require.Equal(t, 5, list.Omitted)
	require.Equal(t, 1, list.Problems[0].Line)
	require.True(t, strings.HasSuffix(list.Error(), "f.yaml:20: wrong\nand 5 more"))
	var one *manifest.Error
	require.True(t, errors.As(r.Err(), &one))
	require.Equal(t, "room: f.yaml:1: wrong", one.Error())
}

// FuzzReader holds that what is read has no second meaning: an error, or names that are legal.
func FuzzReader(f *testing.F) {
	for _, seed := range []string{"name: a\ncount: 3", "name: a\n---\nname: b", "{name: a, list: [x]}", "name: &a b\nlist: [*a]", "\t", "'"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data string) {
		r := reader()
		names := read(r, data)
		if r.Err() != nil {
			require.NotContains(t, r.Err().Error(), "%!")
			return
		}
		for _, name := range names {
			require.Regexp(t, `^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`, name)
		}
	})
}
