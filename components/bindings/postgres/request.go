// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

const (
	keySQL    = "sql"
	keyParams = "params"
	keyTypes  = "paramTypes"
)
