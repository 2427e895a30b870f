// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package receipt

// PAE lets tests sign bytes that Sign would refuse to make.
func PAE(payloadType string, payload []byte) []byte { return appendPAE(nil, payloadType, payload) }
