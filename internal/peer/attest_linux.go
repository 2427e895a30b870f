// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package peer

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/dapr-custody/custody/internal/identity"
)

// Attestor attests the peers of Unix sockets. It remembers digests of executables.
// The zero Attestor is ready, and safe for concurrent use.
type Attestor struct {
	sums sums
	// oldKernel has pidfd_open asked where SO_PEERPIDFD would answer.
	oldKernel bool
}

// Attest asks the kernel for the process at the other end of conn, and reads what
// it is now. The Handle is for whoever serves the connection, to learn of its end; it
// is nil where Attest fails, and then the Process holds what could be found out.
func (a *Attestor) Attest(conn *net.UnixConn) (identity.Process, *Handle, error) {
	process, err := connected(conn)
	if err != nil {
		return process, nil, err
	}
	handle, err := a.hold(conn, process.PID)
	if err != nil {
		return process, nil, err
	}
	if err := a.examine(&process, handle); err != nil {
		return process, nil, errors.Join(err, handle.Close())
	}
	return process, handle, nil
}

// connected is what the kernel noted when the peer connected.
func connected(conn *net.UnixConn) (identity.Process, error) {
	var cred *unix.Ucred
	err := control(conn, func(fd int) (err error) {
		cred, err = unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		return err
	})
	if err != nil {
		return identity.Process{}, fmt.Errorf("the kernel does not say who connected: %w", err)
	}
	return identity.Process{PID: int(cred.Pid), UID: cred.Uid, GID: cred.Gid}, nil
}

// hold takes hold of the process that connected.
func (a *Attestor) hold(conn *net.UnixConn, pid int) (*Handle, error) {
	if pid <= 0 {
		return nil, fmt.Errorf("%w: it runs in a PID namespace that is not seen from here: "+
			"share the namespace (shareProcessNamespace in a pod), or use SPIFFE_ENDPOINT_SOCKET", ErrHidden)
	}
	pidfd := -1
	err := control(conn, func(fd int) (err error) {
		if a.oldKernel {
			return unix.ENOPROTOOPT
		}
		pidfd, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
		return err
	})
	if errors.Is(err, unix.ENOPROTOOPT) { // Before Linux 6.5.
		pidfd, err = unix.PidfdOpen(pid, 0)
	}
	switch {
	case errors.Is(err, unix.ENOSYS):
		return nil, fmt.Errorf("%w: processes cannot be held here (%w): use Linux 5.3 or later, and let pidfd_open pass", ErrHidden, err)
	case errors.Is(err, unix.ESRCH), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENODATA):
		return nil, ErrEnded
	case err != nil:
		return nil, fmt.Errorf("%w: pidfd: %w", ErrHidden, err)
	}
	return &Handle{pidfd: pidfd}, nil
}

func control(conn *net.UnixConn, ask func(fd int) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var asked error
	if err := raw.Control(func(fd uintptr) { asked = ask(int(fd)) }); err != nil {
		return err
	}
	return asked
}

// examine fills process with what the process is. All of it is of one process,
// since its folder is a handle, too; and of one program, since at the end it is the
// one that it was at the beginning.
func (a *Attestor) examine(process *identity.Process, handle *Handle) error {
	dir, err := openProc(process.PID, handle)
	if err != nil {
		return err
	}
	defer dir.close()
	before, err := dir.snapshot()
	if err != nil {
		return dir.explain(err, process, handle)
	}
	process.Started = before.started
	if err := a.read(dir, process); err != nil {
		return dir.explain(err, process, handle)
	}
	after, err := dir.snapshot()
	if err != nil {
		return dir.explain(err, process, handle)
	}
	if after != before {
		return fmt.Errorf("%w: it started another program while it was examined", ErrChanged)
	}
	return handle.Ended()
}

func (a *Attestor) read(dir procDir, process *identity.Process) error {
	uid, err := dir.uid()
	if err != nil {
		return err
	}
	if uid != process.UID {
		return fmt.Errorf("%w: it connected as user %d and is now user %d", ErrChanged, process.UID, uid)
	}
	if err := a.executable(dir, process); err != nil {
		return err
	}
	cmdline, err := dir.readAll("cmdline")
	if err != nil {
		return err
	}
	if process.AppID, err = appID(cmdline); err != nil {
		return err
	}
	environ, err := dir.readAll("environ")
	if err != nil {
		return err
	}
	process.Namespace, err = namespace(environ)
	return err
}

func (a *Attestor) executable(dir procDir, process *identity.Process) error {
	exe, err := dir.open("exe")
	if err != nil {
		return err
	}
	defer exe.Close()
	if process.Executable, err = dir.path(exe); err != nil {
		return err
	}
	process.SHA256, err = a.sums.of(exe)
	return err
}

// explain words why a process could not be read.
func (d procDir) explain(err error, process *identity.Process, handle *Handle) error {
	switch {
	case handle.Ended() != nil, errors.Is(err, unix.ESRCH), errors.Is(err, os.ErrNotExist):
		// A process that is ending has no executable any more.
		return ErrEnded
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: process %d of user %d, by user %d (%w): run the component server as the user of daprd, "+
			"or give it the capability CAP_SYS_PTRACE; the executable must be readable", ErrHidden, process.PID, process.UID, os.Geteuid(), err)
	}
	return err
}
