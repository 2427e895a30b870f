// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package peer

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// OldKernel is an Attestor that goes the way of kernels without SO_PEERPIDFD.
func OldKernel() *Attestor { return &Attestor{oldKernel: true} }

// AppID and NamespaceOf read the arguments and the environment of a process.
func AppID(cmdline []byte) (string, error)       { return appID(cmdline) }
func NamespaceOf(environ []byte) (string, error) { return namespace(environ) }

// Program is what tells the programs of a process apart.
func Program(pid int) (any, error) {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer procDir(fd).close()
	return procDir(fd).snapshot()
}

// Digest is what a hashes a file to.
func (a *Attestor) Digest(f *os.File) ([32]byte, error) { return a.sums.of(f) }

// Kept is how many digests a would give without reading the file.
func (a *Attestor) Kept() int {
	kept := 0
	for _, s := range a.sums.known {
		if s.kept {
			kept++
		}
	}
	return kept
}

// ParseStat reads /proc/PID/stat.
func ParseStat(text string) (started uint64, err error) {
	p, err := parseStat(text)
	return p.started, err
}
