// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package identity says who is at the other end of a door.
//
// It guarantees that a [Caller] exists only for a workload whose proof was
// verified here: an X.509-SVID chain checked against the bundle of its own
// trust domain, at the time of the request; or what the kernel said of a process
// at the other end of a Unix socket, matched to one SPIFFE ID by the operator's
// WorkloadRegistration documents, all selectors of one. A Caller cannot be built
// from a header, a name or a token that was merely presented.
//
// A match is worth what its selectors are worth. The kernel answers for the user,
// the executable and the PID; the arguments and the environment of a process are
// its own words, so that dapr:app-id and dapr:namespace only tell apart what the
// unix: selectors let in: any process of the same user can start the same program
// with another --app-id. unix:pid, and users of their own, shut that door.
//
// It does not decide what a caller may do (package policy), and it does no
// network or disk I/O: bundles, the clock and what the kernel said are handed in.
package identity
