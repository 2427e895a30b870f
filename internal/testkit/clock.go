// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package testkit

import (
	"testing"
	"time"
	"unsafe"
)

// SetBack gives what time.Now gives after a clock that said now was set back by that many seconds: it says an earlier time,
// and the process has run longer. Now has to be of time.Now. No other way leads to such a time but to set the clock.
func SetBack(tb testing.TB, now time.Time, seconds uint64) time.Time {
	tb.Helper()
	const nanoseconds = 30 // bits of the first word of a time.Time that come after its seconds
	later := now.Add(time.Nanosecond)
	*(*uint64)(unsafe.Pointer(&later)) -= seconds << nanoseconds
	if !later.After(now) || !later.Round(0).Equal(now.Add(time.Nanosecond-time.Duration(seconds)*time.Second).Round(0)) {
		tb.Fatalf("testkit: %v is not %v after the clock was set back by %d s", later, now, seconds)
	}
	return later
}
