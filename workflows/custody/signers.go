// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"strings"
	"sync"

	"github.com/dapr-custody/custody/internal/linkpack"
	"github.com/dapr-custody/custody/internal/receipt"
)

// maxSigners is of how many keys of one app a worker has certificates at hand. A replica has one at a time.
const maxSigners = receipt.MaxHeld / 2

// signers are certificates that came with links of one app, for links that come without. What one app sends says nothing
// of the keys of another.
type signers struct {
	mu  sync.Mutex
	now held
}

// held is never changed: what a call was said to need no certificates of is there when its answer comes.
type held linkpack.Certificates

func (s *signers) held() held {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// read reads a link as it stands in a header, and puts certificates into one that comes without.
func (s *signers) read(text string, with held) (Link, *receipt.Receipt, error) {
	e, err := receipt.DecodeHeader(text)
	if err != nil {
		return Link{}, nil, err
	}
	linkpack.Certificates(with).Complete(e)
	for _, signature := range e.Signatures {
		if len(signature.Certificate) == 0 {
			return Link{}, nil, fmt.Errorf("it has no certificate of key %.80q, which was not said to be held", signature.KeyID)
		}
	}
	link, r, err := decoded(e)
	if err == nil {
		s.learn(e, with)
	}
	return link, r, err
}

// learn keeps what is new. Where that is too much it begins anew.
func (s *signers) learn(e *receipt.Envelope, known held) {
	for _, signature := range e.Signatures {
		if _, old := known[signature.KeyID]; old {
			continue
		}
		if sum := sha256.Sum256(signature.Certificate); hex.EncodeToString(sum[:]) != signature.KeyID {
			continue // Another link of that key would get a certificate that is not its own.
		}
		s.mu.Lock()
		next := maps.Clone(s.now)
		if next == nil || len(next) >= maxSigners {
			next = held{}
		}
		next[signature.KeyID] = signature
		s.now = next
		s.mu.Unlock()
	}
}

// heldHeader is what the own sidecar is told of them.
func heldHeader(all ...held) string {
	var names []string
	for _, h := range all {
		for keyID := range h {
			names = append(names, heldName(keyID))
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, " ")
}
