// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package identity says who is at the other end of a door.
//
// It guarantees that a [Caller] exists only for a workload whose proof was
// verified here: an X.509-SVID chain checked against the bundle of its own
// trust domain, at the time of the request. A Caller cannot be built from a
// header, a name or a token that was merely presented.
//
// It does not decide what a caller may do (package policy), and it does no
// network or disk I/O: bundles and the clock are handed in.
package identity
