// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package rate

import "os"

// SlotSize lets tests find slots in a file. The header has this size too.
const SlotSize = slotSize

// SwapFile puts another file in the place of the present one.
func (l *Limiter) SwapFile(file *os.File) *os.File {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.file
	l.file = file
	return old
}

// Keys is how many keys are counted.
func (l *Limiter) Keys() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.places)
}

// Sum gives a slot its checksum, so that tests can change what it covers.
func Sum(s *[SlotSize]byte) uint32 { return checksum(s) }
