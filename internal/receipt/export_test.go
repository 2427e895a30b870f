// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package receipt

// PAE lets tests sign bytes that Sign would refuse to make.
func PAE(payloadType string, payload []byte) []byte { return appendPAE(nil, payloadType, payload) }

// DecodeCanonical and DecodeAny are the two ways to read a payload, of which the first gives nil for most.
func DecodeCanonical(payload []byte) *Receipt { return decodeCanonical(payload) }

func DecodeAny(payload []byte) (*Receipt, error) { return decodeAny(payload) }
