// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHeadroomIsForWhoHasNotSetTheCollector(t *testing.T) {
	for name, want := range map[string]int{"": headroomBytes, "GOGC": 0, "GOMEMLIMIT": 0, "GODEBUG": headroomBytes} {
		got := headroom(func(asked string) (string, bool) { return "", asked == name })
		require.Len(t, got, want, name)
	}
}
