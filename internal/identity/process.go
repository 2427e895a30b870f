// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// Process is what the kernel said of the process at the other end of a Unix
// socket (package peer asks it). It proves nothing by itself: only
// [Registrations.Match] makes a [Caller] of it. The zero Process is no process and
// matches nothing.
type Process struct {
	// PID is the process as this host numbers it.
	PID int
	// Started is when it began, in clock ticks since boot (field 22 of
	// proc_pid_stat(5)): with the PID it names one process and never another.
	Started uint64
	// UID and GID are the effective ones at the moment when it connected.
	UID, GID uint32
	// Executable is the path of the file that it runs, as this process sees it.
	// It is empty where the file has no name here, as in another container.
	Executable string
	// SHA256 is over the content of that file. It is zero where the file could
	// not be relied on to stay as it was read.
	SHA256 [sha256.Size]byte
	// AppID is what stands behind --app-id in its arguments, empty if it has none.
	AppID string
	// Namespace is what NAMESPACE is in its environment, "default" if it is not set,
	// as Dapr reads it (pkg/security/security.go, CurrentNamespace).
	Namespace string
}

// Instance names one process for ever: "4711@8812345" is its PID and when it
// started. It is the value of the selector unix:pid.
func (p Process) Instance() string {
	return strconv.Itoa(p.PID) + "@" + strconv.FormatUint(p.Started, 10)
}

// String describes the process in one line.
func (p Process) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "process %s of user %d", p.Instance(), p.UID)
	if p.Executable != "" {
		fmt.Fprintf(&b, ", %s", p.Executable)
	}
	if p.SHA256 != ([sha256.Size]byte{}) {
		fmt.Fprintf(&b, ", sha256 %s", hex.EncodeToString(p.SHA256[:]))
	}
	if p.AppID != "" {
		fmt.Fprintf(&b, ", app %q in namespace %q", p.AppID, p.Namespace)
	}
	return b.String()
}
