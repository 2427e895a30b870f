// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
)

// What bounds the links that are carried is the length of their JSON, which need not be made for it.
func TestLinkSize(t *testing.T) {
	one := receipt.Signature{KeyID: "ab", Sig: []byte("sig")}
	two, three := one, one
	two.Certificate = []byte("leaf")
	three.Certificate, three.Intermediates = []byte("leaf of another"), [][]byte{[]byte("above"), []byte("and above that")}
	for _, signatures := range [][]receipt.Signature{{}, {one}, {two}, {three}, {one, two, three}} {
		e := &receipt.Envelope{PayloadType: receipt.PayloadType, Payload: []byte("payload"), Signatures: signatures}
		link := linkOf(e)
		require.Len(t, link.envelope(), link.size())
		require.Equal(t, link.size(), whole([]Link{link})[0].size())
	}
}
