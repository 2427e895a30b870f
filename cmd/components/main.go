// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Custody-components is what has to speak to databases, apart from custody, which does not:
//
//	custody-components history --component FILE [--app A] [--namespace N] [--instance I] [--summary]
//	custody-components serve --config FILE [--registrations DIR] [flags]
//	custody-components db setup|check|undo|rotate-ca --databases FILE [flags]
//
// history opens the state store of a Dapr Component file with the code that daprd uses, and prints the rows of workflow
// instances as JSON, one instance on each line. It writes nothing that daprd would not have written before. custody runs
// it; by itself it verifies nothing.
//
// serve serves the pluggable components state.custody and bindings.custody-postgres to sidecars.
//
// db makes PostgreSQL servers the second lock behind the guard (docs/databases.md), and custody db runs it.
package main

import (
	"context"
	"errors"
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

usage: custody-components serve --config FILE [flags]

Serves state.custody and bindings.custody-postgres to sidecars, each known by
its SPIFFE ID. "custody-components serve --help" says more.

usage: custody-components db setup|check|undo|rotate-ca --databases FILE [flags]

Makes a PostgreSQL server the second lock of the Database documents of a file
or folder. "custody-components db --help" says more.
`

type command func(ctx context.Context, out io.Writer, args []string) error

func main() {
	commands := map[string]command{"history": runHistory, "serve": runServe, "db": runDB}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprint(os.Stderr, usageText)
		os.Exit(2)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer cancel()
	if err := commands[os.Args[1]](ctx, os.Stdout, os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "custody-components:", err)
		cancel()
		os.Exit(exitStatus(err))
	}
}

// exitStatus is 2 unless the error says another.
func exitStatus(err error) int {
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		return coded.ExitCode()
	}
	return 2
}
