// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package toolcall_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/gowebpki/jcs"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dapr-custody/custody/internal/toolcall"
)

// spell writes a string as JSON in one of the many ways there are.
func spell(t *rapid.T, s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch how := rapid.IntRange(0, 3).Draw(t, "how"); {
		case how == 0 || r < ' ' || r == '"' || r == '\\':
			for _, u := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&b, "\\u%04x", u)
			}
		case how == 1 && r == '/':
			b.WriteString("\\/")
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func space(t *rapid.T) string {
	return rapid.SampledFrom([]string{"", "", "", " ", "\n", "\r\n\t"}).Draw(t, "space")
}

func value(t *rapid.T, depth int) string {
	kind := rapid.IntRange(0, 5).Draw(t, "kind")
	if depth == 0 {
		kind %= 4
	}
	switch kind {
	case 0:
		return rapid.SampledFrom([]string{"null", "true", "false"}).Draw(t, "literal")
	case 1:
		return rapid.SampledFrom([]string{"0", "-0", "1", "1.0", "1.50", "1e2", "-2E-3", "9007199254740993", "0.1", "123456789012345678901234567890"}).Draw(t, "number")
	case 2:
		return strconv.Itoa(rapid.Int().Draw(t, "integer"))
	case 3:
		return spell(t, rapid.String().Draw(t, "string"))
	case 4:
		items := make([]string, rapid.IntRange(0, 3).Draw(t, "items"))
		for i := range items {
			items[i] = space(t) + value(t, depth-1) + space(t)
		}
		return "[" + strings.Join(items, ",") + "]"
	default:
		return object(t, depth-1)
	}
}

func object(t *rapid.T, depth int) string {
	names := rapid.SliceOfNDistinct(rapid.String(), 0, 4, rapid.ID[string]).Draw(t, "names")
	members := make([]string, len(names))
	for i, n := range names {
		members[i] = space(t) + spell(t, n) + space(t) + ":" + space(t) + value(t, depth) + space(t)
	}
	return "{" + strings.Join(members, ",") + "}"
}

func shuffled(t *rapid.T, members ...string) string {
	return "{" + strings.Join(rapid.Permutation(members).Draw(t, "order"), ",") + "}"
}

// TestBodyMeansTheSame writes tools/call messages in all kinds of ways and shows that our encoding is a fixpoint, that
// another JSON reader takes it for what Message says, and that it means what was sent.
func TestBodyMeansTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tool := rapid.StringMatching(`[^\x00-\x1f\x7f"\\]{1,12}`).Draw(t, "tool")
		arguments := object(t, 3)
		params := shuffled(t, spell(t, "name")+":"+spell(t, tool), spell(t, "arguments")+":"+arguments, `"x":`+value(t, 2))
		body := space(t) + shuffled(t, `"jsonrpc":`+spell(t, "2.0"), `"id":`+spell(t, "i/d"), spell(t, "method")+":"+spell(t, "tools/call"), spell(t, "params")+":"+params) + space(t)

		m, err := toolcall.Parse(jsonHeaders(), []byte(body), toolcall.Limits{})
		require.NoError(t, err)
		again, err := toolcall.Parse(jsonHeaders(), m.Body(), toolcall.Limits{})
		require.NoError(t, err)
		require.Equal(t, string(m.Body()), string(again.Body()))
		require.Equal(t, m.BodyDigest(), again.BodyDigest())
		require.LessOrEqual(t, len(m.Body()), len(body))

		checkAgainstEncodingJSON(t, m)
		require.Equal(t, tool, m.Name())
		var sent, forwarded any
		decodeNumbers(t, body, &sent)
		decodeNumbers(t, string(m.Body()), &forwarded)
		require.Equal(t, sent, forwarded)
		checkDigestAgainstJCS(t, m)
	})
}

type fataler interface {
	require.TestingT
	Helper()
}

func decodeNumbers(t fataler, s string, into any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	require.NoError(t, d.Decode(into))
}

// checkAgainstEncodingJSON shows that the most lenient reader in use, which ignores case and takes the last of two
// members, finds in Body what the guard found.
func checkAgainstEncodingJSON(t fataler, m *toolcall.Message) {
	t.Helper()
	var lenient struct {
		ID     json.RawMessage
		Method string
		Params struct {
			Name, URI string
			Arguments json.RawMessage
		}
		Result, Error json.RawMessage
	}
	err := json.Unmarshal(m.Body(), &lenient)
	var other *json.UnmarshalTypeError
	if m.Name() == "" && (err == nil || errorsAs(err, &other)) {
		// Members of methods we know nothing about may have any type.
		require.Equal(t, m.Method(), lenient.Method)
		return
	}
	if strings.HasPrefix(m.Method(), "tasks/") || m.Method() == "completion/complete" {
		checkReferenceAgainstEncodingJSON(t, m)
		return
	}
	require.NoError(t, err)
	require.Equal(t, m.Method(), lenient.Method)
	require.Equal(t, string(m.ID()), string(lenient.ID))
	if strings.HasPrefix(m.Method(), "resources/") {
		require.Equal(t, m.Name(), lenient.Params.URI)
		return
	}
	require.Equal(t, m.Name(), lenient.Params.Name)
	require.Equal(t, string(m.Arguments()), string(lenient.Params.Arguments))
}

func checkReferenceAgainstEncodingJSON(t fataler, m *toolcall.Message) {
	t.Helper()
	var lenient struct {
		Method string
		Params struct {
			TaskID any
			Ref    struct{ Type, Name, URI any }
		}
	}
	require.NoError(t, json.Unmarshal(m.Body(), &lenient))
	require.Equal(t, m.Method(), lenient.Method)
	switch ref := lenient.Params.Ref; {
	case m.Method() != "completion/complete":
		require.Equal(t, m.Name(), lenient.Params.TaskID)
	case ref.Type == "ref/prompt":
		require.Equal(t, m.Name(), fmt.Sprint("ref/prompt ", ref.Name))
	default:
		require.Equal(t, m.Name(), fmt.Sprint(ref.Type, " ", ref.URI))
	}
}

func checkDigestAgainstJCS(t fataler, m *toolcall.Message) {
	t.Helper()
	got, err := m.ArgumentsDigest()
	require.NoError(t, err)
	if m.Arguments() == nil {
		require.Empty(t, got)
		return
	}
	canonical, err := jcs.Transform(m.Arguments())
	require.NoError(t, err)
	require.Equal(t, hexOf(string(canonical)), got)
}

// TestDigestsAreOfTheCanonicalForm tries names that are next to each other, so that order, escapes and nesting meet, in
// arguments and in results.
func TestDigestsAreOfTheCanonicalForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`([a-c" !]|[A\\\\]|é|\x{1F600}|\x{FB33}){0,3}`)
		var object func(depth int) string
		object = func(depth int) string {
			names := rapid.SliceOfNDistinct(name, 0, 5, rapid.ID[string]).Draw(t, "names")
			members := make([]string, len(names))
			for i, n := range names {
				content := value(t, 1)
				if depth > 0 && rapid.Bool().Draw(t, "deeper") {
					content = rapid.SampledFrom([]string{"", "[", "[[],"}).Draw(t, "open") + object(depth-1)
					content += strings.Repeat("]", strings.Count(content[:1], "["))
				}
				members[i] = spell(t, n) + ":" + content
			}
			return "{" + strings.Join(members, ",") + "}"
		}
		text := object(3)
		m, err := toolcall.Parse(jsonHeaders(), []byte(call(`"name":"t","arguments":`+text)), toolcall.Limits{})
		require.NoError(t, err)
		checkDigestAgainstJCS(t, m)
		a, err := toolcall.ReadAnswer([]byte(`{"jsonrpc":"2.0","id":1,"result":{"zz":`+text+`,"structuredContent":[-1,1.5]}}`), toolcall.Limits{})
		require.NoError(t, err)
		checkAnswerAgainstJCS(t, a)
	})
}

func checkAnswerAgainstJCS(t fataler, a *toolcall.Answer) {
	t.Helper()
	got, err := a.Digest()
	require.NoError(t, err)
	canonical, err := jcs.Transform(a.Part())
	require.NoError(t, err)
	require.Equal(t, hexOf(string(canonical)), got)
}

func TestArgumentsDigest(t *testing.T) {
	parse := func(arguments string) *toolcall.Message {
		m, err := toolcall.Parse(jsonHeaders(), []byte(call(`"name":"t","arguments":`+arguments)), toolcall.Limits{})
		require.NoError(t, err)
		return m
	}
	digest := func(arguments string) string {
		d, err := parse(arguments).ArgumentsDigest()
		require.NoError(t, err)
		return d
	}
	require.Equal(t, hexOf(`{"a":1,"b":"x"}`), digest(`{"b":"\u0078", "a":1.0}`))
	require.Equal(t, hexOf(`{"a":1,"b":"\"","c":"\\"}`), digest(`{"c":"\\","b":"\"","a":1}`), "escaped quotes end no string")
	require.NotEqual(t, digest(`{"a":1}`), digest(`{"a":"1"}`))
	require.NotEqual(t, digest(`{}`), digest(`{"a":null}`))
	require.Equal(t, hexOf("{\"\U0001F600\":1,\"\ufb33\":2}"), digest("{\"\ufb33\":2,\"\U0001F600\":1}"), "names sort by UTF-16")

	one, other := parse(`{"n":9007199254740992}`), parse(`{"n":9007199254740993}`)
	require.Equal(t, digest(`{"n":9007199254740992}`), digest(`{"n":9007199254740993}`), "RFC 8785 rounds")
	require.NotEqual(t, one.BodyDigest(), other.BodyDigest(), "the body does not")

	m, err := toolcall.Parse(jsonHeaders(), []byte(call(`"name":"t"`)), toolcall.Limits{})
	require.NoError(t, err)
	none, err := m.ArgumentsDigest()
	require.NoError(t, err)
	require.Empty(t, none)
}
