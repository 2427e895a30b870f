// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policydir

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// wanted are the events that tell of a change (inotify(7)). A write is none before
// its file is closed: nobody would read the file until then.
const wanted = unix.IN_CLOSE_WRITE | unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE |
	unix.IN_ATTRIB | unix.IN_MOVE_SELF | unix.IN_DELETE_SELF | unix.IN_ONLYDIR

// events tells of changes in one directory. The kernel keeps the events until
// take, so that pending can ask at any time whether there are some.
type events struct {
	// ready gives a value while events are pending.
	ready chan struct{}

	file *os.File
	stop chan struct{}
	done chan struct{}

	mu sync.RWMutex
	fd int // -1 once it is closed, since its number may be given away then

	// What follows belongs to whoever calls add and take.
	watch  int32 // -1 for none
	buffer []byte
}

func newEvents() (*events, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	e := &events{
		ready: make(chan struct{}), file: os.NewFile(uintptr(fd), "inotify"), stop: make(chan struct{}), done: make(chan struct{}),
		fd: fd, watch: -1, buffer: make([]byte, 16<<10),
	}
	raw, err := e.file.SyscallConn()
	if err == nil {
		_, err = unread(fd)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("inotify: %w", err), e.file.Close())
	}
	go func() {
		defer close(e.done)
		// It fails when the file is closed.
		for raw.Read(pollable) == nil {
			select {
			case e.ready <- struct{}{}:
			case <-e.stop:
				return
			}
		}
	}()
	return e, nil
}

func pollable(fd uintptr) bool {
	some, err := unread(int(fd)) //nolint:gosec // a descriptor
	return some || err != nil
}

// unread reports whether there is something to read. TIOCINQ is FIONREAD.
func unread(fd int) (bool, error) {
	n, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
	return n > 0, err
}

// pending reports whether something has happened since take. It is safe for
// concurrent use.
func (e *events) pending() bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.fd < 0 {
		return false
	}
	some, err := unread(e.fd)
	return some && err == nil
}

// add watches dir, and what was watched before no more.
func (e *events) add(dir string) error {
	watch, err := unix.InotifyAddWatch(e.fd, dir, wanted)
	if err != nil {
		return fmt.Errorf("%s cannot be watched: %w", dir, err)
	}
	before := e.watch
	e.watch = int32(watch) //nolint:gosec // an int in the kernel
	if before >= 0 && before != e.watch {
		// The kernel may have taken it away already, with its directory.
		if _, err := unix.InotifyRmWatch(e.fd, uint32(before)); err != nil && !errors.Is(err, unix.EINVAL) { //nolint:gosec // as above
			return fmt.Errorf("a directory that was replaced is still watched: %w", err)
		}
	}
	return nil
}

// take returns what has happened, and forgets it.
func (e *events) take() happened {
	var all happened
	for {
		n, err := unix.Read(e.fd, e.buffer)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil || n <= 0:
			return all
		default:
			e.parse(e.buffer[:n], &all)
		}
	}
}

// parse reads the events as they stand in inotify(7).
func (e *events) parse(data []byte, all *happened) {
	all.any = true
	for len(data) >= unix.SizeofInotifyEvent {
		watch, mask := int32(binary.NativeEndian.Uint32(data)), binary.NativeEndian.Uint32(data[4:]) //nolint:gosec // as it was written
		end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(data[12:]))
		if end > len(data) {
			return
		}
		name, _, _ := bytes.Cut(data[unix.SizeofInotifyEvent:end], []byte{0})
		data = data[end:]
		if watch != e.watch {
			continue
		}
		if mask&unix.IN_IGNORED != 0 {
			all.unwatched, e.watch = true, -1
		}
		if mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0 {
			all.appeared = append(all.appeared, string(name))
		}
	}
}

func (e *events) close() error {
	e.mu.Lock()
	e.fd = -1
	e.mu.Unlock()
	close(e.stop)
	err := e.file.Close()
	<-e.done
	return err
}
