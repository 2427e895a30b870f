// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package gate

import (
	"crypto/x509"
	"fmt"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/dapr-custody/custody/internal/journal"
	"github.com/dapr-custody/custody/internal/receipt"
)

// signers gives the signer for the SVID that is in force, and sees to it that
// the journal holds the certificates of a signer before its first receipt.
type signers struct {
	source  x509svid.Source
	journal *journal.Writer
	// noted, if not nil, remembers where the certificates stand.
	noted *certificates

	mu     sync.RWMutex
	leaf   *x509.Certificate
	signer *doorSigner
}

// doorSigner signs for the door that it names.
type doorSigner struct {
	receipt.Signer

	door spiffeid.ID
}

func (s *signers) current(now time.Time) (*doorSigner, error) {
	svid, err := s.source.GetX509SVID()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoIdentity, err)
	}
	if svid == nil || len(svid.Certificates) == 0 {
		return nil, ErrNoIdentity
	}
	leaf := svid.Certificates[0]
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return nil, fmt.Errorf("%w: it is %s, the certificate is valid from %s to %s", ErrClock,
			now.UTC().Format(time.RFC3339), leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	s.mu.RLock()
	signer, known := s.signer, s.leaf == leaf
	s.mu.RUnlock()
	if known {
		return signer, nil
	}
	return s.adopt(svid)
}

// adopt takes up a new SVID after its certificates have been recorded.
func (s *signers) adopt(svid *x509svid.SVID) (*doorSigner, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leaf == svid.Certificates[0] {
		return s.signer, nil
	}
	signer, err := receipt.NewSigner(svid.PrivateKey, svid.Certificates)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoIdentity, err)
	}
	door, err := x509svid.IDFromCert(svid.Certificates[0])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoIdentity, err)
	}
	record, err := receipt.EncodeCertificates(svid.Certificates)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoIdentity, err)
	}
	_, place, err := s.journal.AppendPlaced(journal.KindCertificates, record)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	if s.noted != nil {
		s.noted.note(receipt.KeyID(svid.Certificates[0]), place)
	}
	s.leaf, s.signer = svid.Certificates[0], &doorSigner{Signer: signer, door: door}
	return s.signer, nil
}
