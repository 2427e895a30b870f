// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Custody-components is what has to speak to databases, apart from custody, which does not:
//
//	custody-components history --component FILE [--app A] [--namespace N] [--instance I] [--summary]
//
// history opens the state store of a Dapr Component file with the code that daprd uses, and prints the rows of workflow
// instances as JSON, one instance on each line. It writes nothing that daprd would not have written before. custody runs
// it; by itself it verifies nothing.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

const usageText = `usage: custody-components history --component FILE [flags]

Prints the rows of workflow instances that the state store of a Dapr Component
file holds, as JSON, one instance on each line. Types: state.sqlite,
state.postgresql and state.redis. "custody-components history --help" lists the
flags.
`

type command func(ctx context.Context, out io.Writer, args []string) error

func main() {
	commands := map[string]command{"history": runHistory, "serve": runServe}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprint(os.Stderr, usageText)
		os.Exit(2)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer cancel()
	if err := commands[os.Args[1]](ctx, os.Stdout, os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "custody-components:", err)
		cancel()
		os.Exit(2)
	}
}
