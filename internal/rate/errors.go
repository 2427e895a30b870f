// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package rate

import (
	"errors"
	"fmt"
)

var (
	// ErrFull: there are as many keys as Options.MaxKeys, none of their buckets is full, and the claim has a new key.
	ErrFull = errors.New("as many callers are being counted as may be, and this is another")
	// ErrLocked: another limiter has the file. The text names its process ID.
	ErrLocked = errors.New("file is in use by another process")
	// ErrClosed: the limiter was closed.
	ErrClosed = errors.New("limiter is closed")
	// ErrClock: the clock gives a time before 1970 or after 2199.
	ErrClock = errors.New("clock gives a time that cannot be right")
)

// CorruptError says where a file is not what was written. The file was not touched.
type CorruptError struct {
	File   string
	Offset int64
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("rate: %s, offset %d: %s: if all rate limits may begin anew, remove the file", e.File, e.Offset,
		e.Reason)
}
