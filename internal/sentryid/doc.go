// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package sentryid gets a process its identity from Dapr's Sentry, in the trust domain that the process states, and has
// roots speak for the trust domains that are named and for no other. Stock daprd does neither: self-hosted it states no
// trust domain, and takes every root for every trust domain.
//
// It does not decide which identity the process may have: Sentry does, by the token that the process shows.
package sentryid
