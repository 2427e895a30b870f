// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody

import (
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

// read reads a link as it stands in a header. It has the certificates that are held of its signer, whether it comes with
// any or not. What is new of a signer is kept for what comes without, here and in histories; so it has to be beside a
// signature that is its own.
func (s *signers) read(text string, with held) (Link, *receipt.Receipt, error) {
	e, err := receipt.DecodeHeader(text)
	if err != nil {
		return Link{}, nil, err
	}
	if len(e.Signatures) != 1 {
		return Link{}, nil, fmt.Errorf("it has %d signatures, and not that of one sidecar", len(e.Signatures))
	}
	signature := &e.Signatures[0]
	known, old := with[signature.KeyID]
	switch {
	case old:
		signature.Certificate, signature.Intermediates = known.Certificate, known.Intermediates
	case len(signature.Certificate) == 0:
		return Link{}, nil, fmt.Errorf("it has no certificate of key %.80q, which was not said to be held", signature.KeyID)
	default:
		if err := e.CheckSignature(); err != nil {
			return Link{}, nil, err
		}
	}
	link, r, err := decoded(e)
	if err == nil && !old {
		s.learn(*signature)
	}
	return link, r, err
}

// learn keeps what is new. Where that is too much it begins anew.
func (s *signers) learn(signature receipt.Signature) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.now[signature.KeyID]; known {
		return
	}
	next := maps.Clone(s.now)
	if next == nil || len(next) >= maxSigners {
		next = held{}
	}
	next[signature.KeyID] = signature
	s.now = next
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
