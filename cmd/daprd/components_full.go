// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

//go:build allcomponents || stablecomponents

package main

// Dapr's own sets of components; which of the two is decided by the same tag
// inside the imported package.
import _ "github.com/dapr/dapr/cmd/daprd/components"
