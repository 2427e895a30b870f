// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpcaller

import (
	"crypto/x509"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/dapr-custody/custody/internal/txn"
)

const (
	// mintedFor is how long a token is sent again, for what it was made for.
	mintedFor = time.Minute
	// maxMinted bounds what is remembered. When it is reached everything is forgotten.
	maxMinted = 512
)

// minted are the tokens that were made of late. To send one again spares the signature and, which is more, lets the other
// sidecar know it: verifying a new one takes several times as long as all the rest of its guard.
type minted struct {
	mu   sync.Mutex
	made map[mint]mintedToken
}

// mint is what a token is made for.
type mint struct {
	// of is the token that is replaced, or the ID of a chain's transaction.
	of    string
	to    spiffeid.ID
	scope string
}

type mintedToken struct {
	made
	leaf *x509.Certificate
	at   time.Time
}

// made is a token that goes out, and how it is named to who has it.
type made struct{ compact, name string }

func madeOf(token *txn.Token) made {
	return made{compact: token.Compact, name: txn.Name(token.Compact)}
}

// get gives the token that was made for the same with the same certificate, or has it made. One that was made from a token
// that is good now is good no shorter, and one that begins a transaction is good longer than it is remembered.
func (m *minted) get(key mint, svid *x509svid.SVID, now time.Time, sign func() (*txn.Token, error)) (made, error) {
	leaf := svid.Certificates[0]
	now = now.Round(0) // The token goes by what the clock says, also after it was set.
	m.mu.Lock()
	known, ok := m.made[key]
	m.mu.Unlock()
	if age := now.Sub(known.at); ok && known.leaf == leaf && age >= 0 && age < mintedFor {
		return known.made, nil
	}
	token, err := sign()
	if err != nil {
		return made{}, err
	}
	fresh := madeOf(token)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.made == nil || len(m.made) >= maxMinted {
		m.made = map[mint]mintedToken{}
	}
	m.made[key] = mintedToken{made: fresh, leaf: leaf, at: now}
	return fresh, nil
}
