// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policydir

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/dapr-custody/custody/internal/policy"
)

// quiet is how long ago the last change of a file must be where the system does
// not tell of writers. Times of files go in steps of 4 ms on many systems.
const quiet = 10 * time.Millisecond

// errDirectory marks a directory with the name of a policy file.
var errDirectory = errors.New("is a directory")

// rest says whether anyone is writing to a file.
type rest int

const (
	// restUnknown: the system does not tell.
	restUnknown rest = iota
	// restHeld: no one is, and no one can until the file is closed.
	restHeld
	// restBusy: someone has it open for writing.
	restBusy
)

// read returns the content of a file that is at rest, or a *busyError.
func read(path string) (content, error) {
	// Not blocking, for a named pipe would keep us waiting for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		switch {
		case vanished(path, err):
			return content{}, &busyError{path, "it comes and goes"}
		case errors.Is(err, syscall.EAGAIN):
			return content{}, &busyError{path, "another process holds it"}
		}
		return content{}, fmt.Errorf("the policy file cannot be read: %w", err)
	}
	c, err := readFile(f)
	// The lease ends here, too.
	return c, errors.Join(err, f.Close())
}

func readFile(f *os.File) (content, error) {
	before, err := f.Stat()
	switch {
	case err != nil:
		return content{}, err
	case before.IsDir():
		return content{}, errDirectory
	case !before.Mode().IsRegular():
		return content{}, fmt.Errorf("%s is not a regular file", f.Name())
	}
	switch hold(f) {
	case restBusy:
		return content{}, &busyError{f.Name(), "it is open for writing"}
	case restUnknown:
		if age := time.Since(before.ModTime()); age >= 0 && age < quiet {
			return content{}, &busyError{f.Name(), "it changes all the time"}
		}
	case restHeld:
		// Take the size and time of the file as it is now that it is held.
		if before, err = f.Stat(); err != nil {
			return content{}, err
		}
	}
	data, err := io.ReadAll(io.LimitReader(f, policy.MaxFileBytes+1))
	if err != nil {
		return content{}, fmt.Errorf("the policy file cannot be read: %w", err)
	}
	after, err := f.Stat()
	if err != nil {
		return content{}, err
	}
	if !same(before, after) || (len(data) <= policy.MaxFileBytes && int64(len(data)) != after.Size()) {
		return content{}, &busyError{f.Name(), "it changes all the time"}
	}
	return content{data: data, digest: sha256.Sum256(data), info: after}, nil
}
