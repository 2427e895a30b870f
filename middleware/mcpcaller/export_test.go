// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpcaller

import (
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/dapr-custody/custody/internal/txn"
)

// Minted is what is remembered of tokens that were made.
type Minted struct{ minted }

// Get gives the token that is remembered for what it is made of, or has it made.
func (m *Minted) Get(of string, svid *x509svid.SVID, now time.Time, sign func() (*txn.Token, error)) (string, error) {
	token, err := m.get(mint{of: of}, svid, now, sign)
	return token.compact, err
}

// Len is how many are remembered.
func (m *Minted) Len() int { return len(m.made) }
