// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package linkpack_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/linkpack"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
)

// steps are the links of a workflow of calls, two for each.
func steps(t testing.TB, calls int) [][]*receipt.Envelope {
	ca := testkit.NewCA(t, "custody.test")
	c, server := testkit.NewChained(t, ca.SVID("intake"), "refund-7", time.Now()), ca.SVID("payments")
	var all [][]*receipt.Envelope
	for i := range calls {
		question, answer := c.Call(fmt.Sprint("charge ", i), server)
		all = append(all, []*receipt.Envelope{question, answer})
	}
	return all
}

// texts are those links as results keep them, each after the one before.
func texts(t testing.TB, steps [][]*receipt.Envelope) []string {
	var newest *linkpack.Text
	var all []string
	keys := map[string]bool{}
	for _, links := range steps {
		text, made, err := linkpack.After(newest, links, func(keyID string) bool { return keys[keyID] })
		require.NoError(t, err)
		for keyID := range made.Borne {
			keys[keyID] = true
		}
		newest, all = made, append(all, text)
	}
	return all
}

func TestAfter(t *testing.T) {
	in := steps(t, 4)
	memory, all := &linkpack.Memory{}, texts(t, in)
	for i, text := range all {
		read, err := memory.Read(text)
		require.NoError(t, err)
		require.Len(t, read.Links, 2)
		for n, e := range read.Links {
			require.Equal(t, string(in[i][n].AppendJSON(nil)), string(e.AppendJSON(nil)))
		}
		require.Equal(t, i > 0, strings.HasPrefix(text, "links2:"), text)
		require.Len(t, read.Borne, map[bool]int{true: 2}[i == 0], "certificates stand in the first")
		memory.Learn(read)
		require.True(t, memory.Knows(in[i][0].Signatures[0].KeyID))
	}
	alone, err := linkpack.Pack(in[3], func(string) bool { return true })
	require.NoError(t, err)
	require.Less(t, len(all[3]), len(alone)*3/4)
	read, err := memory.Read(alone)
	require.NoError(t, err)
	require.Equal(t, in[3][0], read.Links[0], "the other form is read too, and completed")
	_, err = linkpack.Unpack(all[3])
	require.ErrorIs(t, err, linkpack.ErrForm)
}

// A text is read with that which it comes after, and with no other.
func TestWhatIsNotBefore(t *testing.T) {
	in := texts(t, steps(t, 3))
	memory := &linkpack.Memory{}
	first, err := memory.Read(in[0])
	require.NoError(t, err)
	memory.Learn(first)
	require.Contains(t, in[1], "links2:"+first.Name()+":")
	for name, text := range map[string]string{
		"not read":         in[2],
		"no name":          strings.Replace(in[1], first.Name(), "", 1),
		"another name":     strings.Replace(in[1], first.Name(), "0000000000000000", 1),
		"no colon":         strings.Replace(in[1], first.Name()+":", first.Name(), 1),
		"another form":     strings.Replace(in[1], "links2", "links3", 1),
		"alone":            "links1:" + in[1][len("links2:")+len(first.Name())+1:],
		"cut off":          in[1][:len(in[1])-4],
		"something behind": in[1] + "AAAA",
		"empty":            "",
	} {
		_, err := memory.Read(text)
		require.ErrorIs(t, err, linkpack.ErrForm, name)
	}
	_, err = memory.Read(in[1])
	require.NoError(t, err)
}

// The form is in histories: what was packed once has to be readable forever.
func TestFormAfterStays(t *testing.T) {
	const before = "links1:YmRKTGIuzkxnYslJTUxjTUzKL0ttZaRuoVOhBCpesHkEd8WjVFsLCAAA//8="
	const text = "links2:220e13c4393b2434:Y2RKTGLNL8lILRqEjgMA"
	memory := &linkpack.Memory{}
	first, err := memory.Read(before)
	require.NoError(t, err)
	memory.Learn(first)
	again := golden()
	again[0].Signatures[0].Sig = []byte("other")
	read, err := memory.Read(text)
	require.NoError(t, err)
	require.Equal(t, again, read.Links)
}

// What is large, and what comes after it, is read too.
func TestLargeTexts(t *testing.T) {
	many := slices.Concat(steps(t, 40)...)
	memory := &linkpack.Memory{}
	var newest *linkpack.Text
	for range 2 {
		text, made, err := linkpack.After(newest, many, nil)
		require.NoError(t, err)
		read, err := memory.Read(text)
		require.NoError(t, err)
		require.Equal(t, many, read.Links)
		memory.Learn(read)
		newest = made
	}
}

func FuzzRead(f *testing.F) {
	in := texts(f, steps(f, 2))
	f.Add(in[1])
	f.Add(in[0])
	f.Add("links2:")
	f.Add("links2:0000000000000000:" + base64.StdEncoding.EncodeToString([]byte{1, 0, 0, 0xff, 0xff}))
	memory := &linkpack.Memory{}
	first, err := memory.Read(in[0])
	require.NoError(f, err)
	memory.Learn(first)
	f.Fuzz(func(t *testing.T, text string) {
		read, err := memory.Read(text)
		if err != nil {
			require.ErrorIs(t, err, linkpack.ErrForm)
			return
		}
		again, _, err := linkpack.After(first, read.Links, nil)
		require.NoError(t, err)
		back, err := memory.Read(again)
		require.NoError(t, err)
		require.Equal(t, len(read.Links), len(back.Links))
		for i := range read.Links {
			require.Equal(t, read.Links[i].AppendJSON(nil), back.Links[i].AppendJSON(nil))
		}
	})
}

func BenchmarkAfter(b *testing.B) {
	in := steps(b, 2)
	_, first, err := linkpack.After(nil, in[0], nil)
	require.NoError(b, err)
	b.ReportAllocs()
	size := 0
	for b.Loop() {
		text, _, err := linkpack.After(first, in[1], func(string) bool { return true })
		require.NoError(b, err)
		size = len(text)
	}
	b.ReportMetric(float64(size), "B")
}
