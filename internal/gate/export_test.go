// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package gate

import "github.com/dapr-custody/custody/internal/journal"

// TakeForTest reserves a step as one who decides does, and gives what releases it.
func TakeForTest(s *Steps, step *Step) (release func()) {
	taken, _, _ := s.tryTake(step)
	return func() { s.release(taken) }
}

// LimitForTest bounds how many steps are remembered.
func LimitForTest(s *Steps, most int) { s.most = most }

// LimitSignersForTest bounds how many signers of answers are remembered.
func LimitSignersForTest(s *Steps, most int) { s.certificates.most = most }

// CountCertificatesForTest counts the records that are read for certificates from now on.
func CountCertificatesForTest(s *Steps) *int {
	n := new(int)
	s.certificates.readAt = func(dir string, at journal.Place) (journal.Kind, []byte, error) {
		*n++
		return journal.ReadAt(dir, at)
	}
	return n
}

// ReadCertificatesAtForTest has all certificates read at one place.
func ReadCertificatesAtForTest(s *Steps, at journal.Place) {
	s.certificates.readAt = func(dir string, _ journal.Place) (journal.Kind, []byte, error) { return journal.ReadAt(dir, at) }
}
