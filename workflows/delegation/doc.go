// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package delegation passes on whom an app acts for: the transaction token that came with the call that it is serving
// (header Txn-Token, docs/delegation.md) goes out with the calls that it makes for it through its own sidecar, whose
// mcpcaller replaces it by one of its own. It is for apps that are no workflows; what workflows/custody calls bears the
// transaction of its chain by itself.
//
//	client := &http.Client{Transport: &delegation.Transport{}}
//	http.Handle("/", delegation.Handler(app)) // which calls with client, and the context of the request
//
// What it guarantees: a token leaves with the context that bears it and no other, so that two calls that are served at
// one time do not get each other's; and it goes to the own sidecar only, also when an answer redirects elsewhere.
//
// What it does not guarantee: it verifies nothing and decides nothing, which the sidecars do. A call that is made with a
// context of another origin, as context.Background(), is made on nobody's behalf.
package delegation
