// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package testkit

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policy"
)

// PolicyFiles compiles the files of an example as one set in the namespace default of the trust domain custody.local.
// There must be nothing to warn of.
func PolicyFiles(tb testing.TB, files ...string) *policy.Set {
	tb.Helper()
	var documents []policy.Document
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(tb, err)
		parsed, err := policy.Parse(file, text)
		require.NoError(tb, err)
		documents = append(documents, parsed...)
	}
	set, warnings, err := policy.Compile(documents, policy.CompileOptions{
		TrustDomain: TrustDomain("custody.local"), Namespace: "default",
	})
	require.NoError(tb, err)
	require.Empty(tb, warnings)
	return set
}
