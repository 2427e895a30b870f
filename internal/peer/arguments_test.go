// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

//go:build linux

package peer_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/peer"
)

// arguments are those of a process, or its environment, each ended by |, and what is found in them.
type arguments struct{ in, want, err string }

func runArguments(t *testing.T, find func([]byte) (string, error), tests []arguments) {
	t.Helper()
	for _, test := range tests {
		got, err := find([]byte(strings.ReplaceAll(test.in, "|", "\x00")))
		require.Equal(t, test.want, got, test.in)
		if test.err != "" {
			require.ErrorIs(t, err, peer.ErrAmbiguous, test.in)
			require.ErrorContains(t, err, test.err, test.in)
			continue
		}
		require.NoError(t, err, test.in)
	}
}

func TestAppID(t *testing.T) {
	runArguments(t, peer.AppID, []arguments{
		{in: "daprd|--app-id|cart|", want: "cart"},
		{in: "daprd|--app-id=cart|", want: "cart"},
		{in: "daprd|-app-id|cart|", want: "cart"},
		{in: "daprd|-app-id=cart|", want: "cart"},
		{in: "daprd|--enable-mtls|--app-id|cart|--app-port|80|", want: "cart"},
		{in: "daprd|--app-id=a=b|", want: "a=b"},
		{in: "daprd|--app-id|cart", want: "cart"},
		{in: "daprd|"},
		{in: "daprd|--app-port|80|"},
		{in: "--app-id|cart|"},
		{in: "daprd|--|--app-id|cart|"},
		{in: "daprd|app-id|cart|"},
		{in: "daprd|---app-id|cart|"},
		{in: "daprd|--app-idx|cart|"},
		{in: "daprd|--app-i|cart|"},
		{in: "daprd|--APP-ID|cart|"},
		{in: "daprd|--app-id|a|--app-id|a|", err: "--app-id twice"},
		{in: "daprd|--app-id|a|-app-id=b|", err: "--app-id twice"},
		{in: "daprd|--app-id|", err: "no value"},
		{in: "daprd|--app-id=|", err: "no value"},
		{in: "daprd|--app-id||", err: "no value"},
		{in: "daprd|--app-id|--app-port|80|", err: "no value"},
	})
}

func TestNamespace(t *testing.T) {
	runArguments(t, peer.NamespaceOf, []arguments{
		{in: "", want: "default"},
		{in: "HOME=/root|", want: "default"},
		{in: "NAMESPACE=prod|", want: "prod"},
		{in: "A=1|NAMESPACE=a=b|B=2|", want: "a=b"},
		{in: "XNAMESPACE=prod|namespace=x|NAMESPACE|", want: "default"},
		{in: "NAMESPACE=prod|NAMESPACE=prod|", err: "NAMESPACE twice"},
		{in: "NAMESPACE=|", err: "NAMESPACE is empty"},
	})
}

// Whatever a process calls itself, it is an argument or variable of its own, whole.
func FuzzArguments(f *testing.F) {
	f.Add([]byte("daprd\x00--app-id\x00cart\x00"))
	f.Add([]byte("daprd\x00-app-id=cart\x00--\x00--app-id=x"))
	f.Add([]byte("NAMESPACE=prod\x00A=1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if id, err := peer.AppID(data); err == nil && id != "" {
			require.Contains(t, string(data), "app-id")
			require.Contains(t, string(data), id)
			require.NotContains(t, id, "\x00")
		}
		namespace, err := peer.NamespaceOf(data)
		if err != nil {
			require.Empty(t, namespace)
			return
		}
		require.NotEmpty(t, namespace)
		require.NotContains(t, namespace, "\x00")
	})
}
