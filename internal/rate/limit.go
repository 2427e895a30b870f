// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package rate

import (
	"fmt"
	"math/bits"
	"strconv"
	"time"
)

// MaxCount is the highest Count of a limit.
const MaxCount = 1_000_000

// Limit is Count calls each Per. Count is from 1 to MaxCount, and Per is a second, a minute or an hour; any other
// value, zero too, is refused wherever it is used.
type Limit struct {
	Count int
	Per   time.Duration
}

// String gives the limit in the words of policies, such as "30/minute".
func (l Limit) String() string { return strconv.Itoa(l.Count) + "/" + unitName(l.Per) }

func unitName(per time.Duration) string {
	switch per {
	case time.Second:
		return "second"
	case time.Minute:
		return "minute"
	case time.Hour:
		return "hour"
	}
	return per.String()
}

func (l Limit) validate() error {
	if l.Count < 1 || l.Count > MaxCount || (l.Per != time.Second && l.Per != time.Minute && l.Per != time.Hour) {
		return fmt.Errorf("rate: limit %s is not a count from 1 to %d for each second, minute or hour", l, MaxCount)
	}
	return nil
}

// interval is the time after which one call comes back. It is rounded up, so that the rate is never above the limit.
func (l Limit) interval() int64 { return (int64(l.Per) + int64(l.Count) - 1) / int64(l.Count) }

// window is the time in which an empty bucket fills up: Per, and less than Count nanoseconds more.
func (l Limit) window() int64 { return int64(l.Count) * l.interval() }

// carry gives the time when a bucket of the limit to is full that has the calls left that one of the limit l has, which
// is full at the time full. What has come back of the next call counts too, so that frequent edits starve nobody.
func (l Limit) carry(full, now int64, to Limit) int64 {
	if full <= now {
		return now
	}
	left := max(0, l.window()-(full-now))
	// The quotient is at most MaxCount hours, which 63 bits hold; the product needs more.
	high, low := bits.Mul64(uint64(left), uint64(to.interval()))
	carried, _ := bits.Div64(high, low, uint64(l.interval()))
	return now + to.window() - int64(carried)
}
