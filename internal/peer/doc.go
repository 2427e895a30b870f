// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package peer asks the kernel who is at the other end of a Unix socket, and tells
// gRPC handlers who calls: [FromContext] fails for all whom no registration knows.
//
// What it guarantees, on Linux:
//
//   - Nothing that comes over the wire counts. The PID, user and group are those
//     which the kernel noted at connect(2) (SO_PEERCRED, unix(7)).
//   - A PID that was given to another process is never attested in its place: the
//     process is held by a pidfd (SO_PEERPIDFD, which is the connected process
//     itself; before Linux 6.5 pidfd_open(2)), everything is read through one handle
//     of its folder in /proc, and it must run at the end of the reading as it did at
//     the beginning: the same program, started once.
//   - The executable is hashed as the kernel opened it, not what now has its name. Its
//     path counts only if that very file has this path for us: a process in a mount
//     namespace of its own can give any file any name.
//   - A connection has no caller any more once the process has ended, or once the
//     registration it rests on is gone or gives another identity.
//   - Whatever cannot be found out is a refusal, with what to do about it.
//
// What it does not guarantee: the arguments and the environment are the process's own
// words; package identity says what that is worth. The process that connected may
// hand its connection to another while it lives. It may have been another program when
// it connected, for it can call execve(2) and keep the connection: what is attested is
// what it is when the connection is accepted. A debugger, or a library put into a
// program by LD_PRELOAD, leaves the executable as it is. And root can be anyone. All
// but the last take a process of the same user, so that users of their own, or
// unix:pid, keep it out. Before Linux 6.5 a PID may be given anew between
// connect and accept, if the process that connected handed on the connection and
// ended; unix:pid holds then, too.
package peer
