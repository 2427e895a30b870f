// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package testkit holds what tests of several packages share: a certificate
// authority that mints real X.509-SVIDs, real servers on real sockets, and
// parts that fail on demand. Nothing outside tests imports it.
package testkit
