// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

// headroomBytes is how much more memory a sidecar may take, at most, so that it collects its garbage less often. What
// lives in the heap of an idle sidecar is about 8 MiB, and Go collects each time as much again was allocated, which is
// every 150 calls.
const headroomBytes = 16 << 20

// headroom is memory that is never touched, so that the system gives none for it, and that the garbage collector takes
// for a part of what lives. It is nil where the operator has set the collector himself (GOGC, GOMEMLIMIT).
func headroom(environment func(string) (string, bool)) []byte {
	for _, name := range [...]string{"GOGC", "GOMEMLIMIT"} {
		if _, set := environment(name); set {
			return nil
		}
	}
	return make([]byte, headroomBytes)
}
