// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package scripts tests the custody command as a user runs it, with testscript.
package scripts
