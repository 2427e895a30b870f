// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Custody is the command line of Custody: it starts a trust domain on this
// machine, tells what its guards decided, and verifies receipts offline.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/spf13/cobra"
)

func main() {
	root := newRootCommand()
	out := &answer{to: os.Stdout}
	root.SetOut(out)
	cmd, err := root.ExecuteContextC(context.Background())
	if lost := out.failure(); lost != nil {
		err = withoutAnswer(cmd, err, lost)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "custody:", plainLines(err.Error()))
		os.Exit(exitStatus(err))
	}
}

// changes marks a command that does something, and then says what.
const changes = "changes"

// withoutAnswer is the end of a command of whose answer something was not written. A question is not answered then,
// whatever the answer is; what was changed is changed; and who reads the output of a run may go away.
func withoutAnswer(cmd *cobra.Command, err, lost error) error {
	lost = fmt.Errorf("the answer could not be written: %w", lost)
	switch _, changing := cmd.Annotations[changes]; {
	case cmd.Name() == upName, changing && err != nil:
		return err
	case changing:
		return &exitError{code: exitNo, err: fmt.Errorf("done, but %w", lost)}
	}
	return usage(lost)
}

// answer remembers that something was not written, wherever it was.
type answer struct {
	to io.Writer

	mu  sync.Mutex
	err error
}

func (a *answer) Write(text []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n, err := a.to.Write(text)
	if a.err == nil {
		a.err = err
	}
	return n, err
}

func (a *answer) failure() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// exitStatus is 1 unless the error says another.
func exitStatus(err error) int {
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		return coded.ExitCode()
	}
	return 1
}
