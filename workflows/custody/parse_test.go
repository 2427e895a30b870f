// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/workflows/custody"
)

func TestEvents(t *testing.T) {
	const response = `{"jsonrpc":"2.0","id":1,"result":{}}`
	for _, c := range []struct {
		name, in string
		response string
		answer   string
	}{
		{name: "one", in: "data: " + response + "\n\n", response: response},
		{name: "with carriage returns", in: "data:" + response + "\r\n\r\n", response: response},
		{name: "in two lines", in: "data: {\"jsonrpc\":\"2.0\",\ndata: \"result\":{}}\n\n", response: "{\"jsonrpc\":\"2.0\",\n\"result\":{}}"},
		{name: "after others", in: ": hello\n\nid: 1\ndata: {\"method\":\"ping\",\"id\":3}\n\ndata: " + response + "\n\n", response: response},
		{name: "with an answer before", in: ": custody-answer abc\n\ndata: " + response + "\n\n", response: response, answer: "abc"},
		{name: "with an answer behind", in: "data: " + response + "\n\n: custody-answer abc\n\n", response: response, answer: "abc"},
		{name: "cut off", in: "data: " + response + "\n"},
		{name: "none", in: ""},
		{name: "too many", in: strings.Repeat("data: {\"method\":\"ping\"}\n\n", 200_000) + "data: " + response + "\n\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, answer, err := custody.ReadEvents(strings.NewReader(c.in))
			require.Equal(t, c.response, string(got))
			require.Equal(t, c.response == "", err != nil)
			require.Equal(t, c.answer, answer)
		})
	}
}

func FuzzEvents(f *testing.F) {
	f.Add("data: {\"result\":{}}\n\n: custody-answer abc\n")
	f.Add("event: message\r\ndata: {\r\ndata: \"error\":{}}\r\n\r\n")
	f.Fuzz(func(t *testing.T, in string) {
		response, _, err := custody.ReadEvents(strings.NewReader(in))
		require.Equal(t, err == nil, response != nil)
	})
}

func FuzzUnwrap(f *testing.F) {
	f.Add([]byte(`{"custody.dev/chain":{"heads":["sha256:00"]},"value":1}`))
	f.Add([]byte(`{"custody.dev/chain":null}`))
	f.Add([]byte(`"plain"`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		heads, value, err := custody.Unwrap(raw)
		if heads == nil && err == nil && !strings.Contains(string(raw), "custody.dev/chain") {
			require.Equal(t, raw, value, "what bears no chain is left as it is")
		}
	})
}

func TestFailureCarriesTheChain(t *testing.T) {
	heads := []string{"sha256:aa", "sha256:bb"}
	for _, text := range []string{"no money", "", "a [custody.dev/chain b]", "x [custody.dev/chain "} {
		message, got := custody.SplitFailure(custody.JoinFailure(errors.New(text), heads).Error())
		require.Equal(t, text, message)
		require.Equal(t, heads, got)
	}
	message, got := custody.SplitFailure("task failed with an error: no chain [custody.dev/chain !]")
	require.Equal(t, "no chain [custody.dev/chain !]", message)
	require.Nil(t, got)
}

func FuzzFailure(f *testing.F) {
	f.Add("no money [custody.dev/chain e30]")
	f.Fuzz(func(t *testing.T, text string) {
		message, _ := custody.SplitFailure(text)
		require.Contains(t, text, message)
	})
}

func FuzzLink(f *testing.F) {
	f.Add("e30")
	f.Add("eyJwYXlsb2FkIjoiIn0")
	f.Fuzz(func(t *testing.T, text string) {
		link, err := custody.ReadLink(text)
		require.Equal(t, err != nil, link.Digest == "")
	})
}

func TestHeaderValue(t *testing.T) {
	for in, want := range map[string]string{
		"charge_card":     "charge_card",
		"prüfe":           "=?base64?cHLDvGZl?=",
		" led by a space": "=?base64?IGxlZCBieSBhIHNwYWNl?=",
		"=?base64?YQ==?=": "=?base64?PT9iYXNlNjQ/WVE9PT89?=",
	} {
		require.Equal(t, want, custody.HeaderValue(in))
	}
}
