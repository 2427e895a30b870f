// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package gate

import "time"

// wall is a clock that gives what a record of its times will say, and nothing else. Two times of time.Now are compared by
// how long the process has run, and so as if nobody had set the clock back in between.
func wall(now func() time.Time) func() time.Time {
	return func() time.Time { return now().Round(0) }
}
