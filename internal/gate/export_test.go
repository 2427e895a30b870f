// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package gate

// TakeForTest reserves a step as one who decides does, and gives what releases it.
func TakeForTest(s *Steps, step *Step) (release func()) {
	taken, _, _ := s.tryTake(step)
	return func() { s.release(taken) }
}

// LimitForTest bounds how many steps are remembered.
func LimitForTest(s *Steps, most int) { s.most = most }
