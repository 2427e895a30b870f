// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// patience is how long a command says nothing to who sits before it.
const patience = 2 * time.Second

// tellIfSlow has a command that takes long say that it is still at it, where a person sees it: what goes into a file or
// to a program is as it is. What "up" waits for it tells itself.
func tellIfSlow(cmd *cobra.Command, _ []string) {
	if w := cmd.ErrOrStderr(); onTerminal(w) && cmd.Name() != upName {
		time.AfterFunc(patience, func() { stillAtIt(w, cmd.CommandPath()) })
	}
}

func stillAtIt(w io.Writer, command string) {
	fmt.Fprintf(w, "%s is still at it; Ctrl-C ends it\n", command)
}

func onTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
