// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// The selectors that a WorkloadRegistration may hold.
const (
	// SelectorUID is the number of the user that the process ran as when it connected.
	SelectorUID = "unix:uid"
	// SelectorPath is the absolute path of its executable.
	SelectorPath = "unix:path"
	// SelectorSHA256 is the SHA-256 of its executable, 64 hex digits in small letters.
	SelectorSHA256 = "unix:sha256"
	// SelectorPID is one process and no other: [Process.Instance].
	SelectorPID = "unix:pid"
	// SelectorAppID is the app ID of the daprd.
	SelectorAppID = "dapr:app-id"
	// SelectorNamespace is the namespace of the daprd.
	SelectorNamespace = "dapr:namespace"
)

const (
	kernelSelectors = "unix:"
	maxPath         = 4096
	maxSegment      = 253
)

// selectorKeys are all selectors in the order in which they are compared and told.
var selectorKeys = [...]string{SelectorUID, SelectorPath, SelectorSHA256, SelectorPID, SelectorAppID, SelectorNamespace}

// selector is one thing that must be so of a process.
type selector struct{ key, want string }

// check returns what is wrong with the value of a selector.
func (s selector) check() error {
	switch s.key {
	case SelectorUID:
		if n, err := strconv.ParseUint(s.want, 10, 32); err != nil || strconv.FormatUint(n, 10) != s.want {
			return fmt.Errorf("%q is no user ID: write its number, as `id -u` prints it", s.want)
		}
	case SelectorPath:
		if !path.IsAbs(s.want) || path.Clean(s.want) != s.want || len(s.want) > maxPath || strings.ContainsRune(s.want, 0) {
			return fmt.Errorf("%q is no absolute path in plain form: write what `readlink -f` prints", s.want)
		}
	case SelectorSHA256:
		if sum, err := hex.DecodeString(s.want); err != nil || len(sum) != sha256.Size || strings.ToLower(s.want) != s.want {
			return fmt.Errorf("%q is no SHA-256: write 64 hex digits in small letters, as `sha256sum` prints them", s.want)
		}
	case SelectorPID:
		return checkInstance(s.want)
	case SelectorAppID, SelectorNamespace:
		if err := spiffeid.ValidatePathSegment(s.want); err != nil || len(s.want) > maxSegment {
			return fmt.Errorf("%q is not legal: use letters, digits, dashes and underscores, %d at most", s.want, maxSegment)
		}
	}
	return nil
}

// checkInstance takes what Process.Instance prints, and nothing that reads the same.
func checkInstance(text string) error {
	pid, started, _ := strings.Cut(text, "@")
	n, err := strconv.ParseUint(pid, 10, 31)
	ticks, errTicks := strconv.ParseUint(started, 10, 64)
	if err != nil || errTicks != nil || n == 0 || (Process{PID: int(n), Started: ticks}).Instance() != text {
		return fmt.Errorf("%q is no process: write its PID, an @ and the clock tick at which it started "+
			"(field 22 of /proc/PID/stat), as in 4711@8812345", text)
	}
	return nil
}

// of is the value of the selector for a process, empty where it is not known.
func (s selector) of(p Process) string {
	switch s.key {
	case SelectorUID:
		return strconv.FormatUint(uint64(p.UID), 10)
	case SelectorPath:
		return p.Executable
	case SelectorSHA256:
		if p.SHA256 == ([sha256.Size]byte{}) {
			return ""
		}
		return hex.EncodeToString(p.SHA256[:])
	case SelectorPID:
		return p.Instance()
	case SelectorAppID:
		return p.AppID
	case SelectorNamespace:
		return p.Namespace
	}
	return ""
}

// holds says whether the selector is true of a process. What is empty, in the
// document or of the process, is never true.
func (s selector) holds(p Process) bool { return s.want != "" && s.want == s.of(p) }
