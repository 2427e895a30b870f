// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Custody is the command line of Custody: it starts a trust domain on this
// machine, tells what its guards decided, and verifies receipts offline.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
)

func main() {
	if err := newRootCommand().ExecuteContext(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "custody:", plainLines(err.Error()))
		os.Exit(exitStatus(err))
	}
}

// exitStatus is 1 unless the error says another.
func exitStatus(err error) int {
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		return coded.ExitCode()
	}
	return 1
}
