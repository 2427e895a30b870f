// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package nearest_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/nearest"
)

func TestWord(t *testing.T) {
	known := []string{"effect", "from", "to", "maxResultBytes", "card", "cord"}
	for word, want := range map[string]string{
		"effect": "effect", "Effect": "effect", "efect": "effect", "form": "from", "too": "to", "maxresultbytes": "maxResultBytes",
		"maxResultByte": "maxResultBytes", "cird": "card", "something": "", strings.Repeat("effect", 20): "",
	} {
		require.Equal(t, want, nearest.Word(word, known), word)
	}
	require.Empty(t, nearest.Word("effect", nil))
}
