// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package peer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxRead bounds what is read of one file of a process. The kernel lets arguments and
// environment have 6 MiB together at most (execve(2)).
const maxRead = 6 << 20

// procDir is the folder of one process in /proc. Opened once, it never shows
// another process: reading of it fails when the process has ended.
type procDir int

// openProc opens the folder of the process that handle holds. The number of a
// process may mean another one in /proc, if /proc belongs to another PID namespace:
// the kernel is asked for the number that the pidfd has there.
func openProc(pid int, handle *Handle) (procDir, error) {
	if err := sameNumber(pid, handle); err != nil {
		return -1, err
	}
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	dir := procDir(fd)
	// While it has not ended its number is nobody else's, so that the folder is its own.
	if ended := handle.Ended(); ended != nil {
		if err == nil {
			dir.close()
		}
		return -1, ended
	}
	if err != nil {
		return -1, fmt.Errorf("%w: /proc hides it (%w): mount /proc without hidepid, or run the component server as the user of daprd", ErrHidden, err)
	}
	return dir, nil
}

// sameNumber fails unless /proc knows the process by the number that the socket gave.
func sameNumber(pid int, handle *Handle) error {
	handle.mu.RLock()
	name := "/proc/self/fdinfo/" + strconv.Itoa(handle.pidfd)
	info, err := os.ReadFile(name)
	handle.mu.RUnlock()
	if err != nil {
		return fmt.Errorf("%w: is /proc mounted? %w", ErrHidden, err)
	}
	number, ok := field(info, "Pid:")
	switch {
	case !ok:
		return fmt.Errorf("%w: the kernel does not say which process a pidfd is", ErrHidden)
	case number == "-1":
		return ErrEnded
	case number != strconv.Itoa(pid):
		return fmt.Errorf("%w: /proc is that of another PID namespace: mount the one of this process", ErrHidden)
	}
	return nil
}

// field is the first word behind a name at the beginning of a line.
func field(text []byte, name string) (string, bool) {
	for line := range bytes.Lines(text) {
		rest, ok := bytes.CutPrefix(line, []byte(name))
		if words := bytes.Fields(rest); ok && len(words) > 0 {
			return string(words[0]), true
		}
	}
	return "", false
}

func (d procDir) close() { unix.Close(int(d)) } //nolint:errcheck // It was only read from.

func (d procDir) open(name string) (*os.File, error) {
	fd, err := unix.Openat(int(d), name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// readAll is a file of the process, which must not be empty: a process that is
// ending has no memory, and neither has a thread of the kernel.
func (d procDir) readAll(name string) ([]byte, error) {
	f, err := d.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRead+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxRead:
		return nil, fmt.Errorf("%w: its %s has more than %d bytes", ErrHidden, name, maxRead)
	case len(data) == 0 && name != "environ":
		return nil, fmt.Errorf("%w: its %s is empty", ErrHidden, name)
	}
	return data, nil
}

// uid is the effective user of the process now.
func (d procDir) uid() (uint32, error) {
	status, err := d.readAll("status")
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(status) {
		// Real, effective, saved and of the file system (proc_pid_status(5)).
		words := bytes.Fields(line)
		if len(words) == 5 && string(words[0]) == "Uid:" {
			uid, err := strconv.ParseUint(string(words[2]), 10, 32)
			return uint32(uid), err
		}
	}
	return 0, fmt.Errorf("%w: its status has no user", ErrHidden)
}

// path is the path of its executable for us, empty if that file has no name here.
func (d procDir) path(exe *os.File) (string, error) {
	buffer := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(d), "exe", buffer)
	if err != nil {
		return "", fmt.Errorf("exe: %w", err)
	}
	name := string(buffer[:n])
	if strings.HasSuffix(name, " (deleted)") {
		return "", fmt.Errorf("%w: its executable was replaced or removed after it started (%s): start it again", ErrChanged, name)
	}
	var it, named unix.Stat_t
	if err := unix.Fstat(int(exe.Fd()), &it); err != nil {
		return "", fmt.Errorf("exe: %w", err)
	}
	// The text is what the process calls it. In a mount namespace of its own, which
	// any user can make, that may be the name of any other file.
	if err := unix.Stat(name, &named); err != nil || it.Dev != named.Dev || it.Ino != named.Ino {
		return "", nil //nolint:nilerr // It has no name here.
	}
	return name, nil
}

// program tells one program of a process from the next: execve(2) lays the memory
// out anew, at addresses that are drawn by lot.
type program struct {
	started  uint64
	layout   string
	dev, ino uint64
}

func (d procDir) snapshot() (program, error) {
	text, err := d.readAll("stat")
	if err != nil {
		return program{}, err
	}
	p, err := parseStat(string(text))
	if err != nil {
		return program{}, err
	}
	var exe unix.Stat_t
	if err := unix.Fstatat(int(d), "exe", &exe, 0); err != nil {
		return program{}, fmt.Errorf("exe: %w", err)
	}
	p.dev, p.ino = exe.Dev, exe.Ino
	return p, nil
}

// parseStat reads /proc/PID/stat; see proc_pid_stat(5).
func parseStat(text string) (program, error) {
	// The name of the program stands in parentheses and may hold anything.
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 49 {
		return program{}, errors.New("stat of a process: too few fields")
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return program{}, ErrEnded
	}
	started, err := strconv.ParseUint(fields[19], 10, 64) // starttime, (22).
	if err != nil {
		return program{}, fmt.Errorf("stat of a process: start time: %w", err)
	}
	// startcode to startstack, (26) to (28), and arg_start to env_end, (48) to (51).
	layout := strings.Join(fields[23:26], " ") + " " + strings.Join(fields[45:49], " ")
	return program{started: started, layout: layout}, nil
}
