// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package peer

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxExecutable bounds the work for one peer.
	maxExecutable = 2 << 30
	maxSums       = 256
	// settled is how long ago the last change of a file must be for its digest to be
	// kept: times of files go in steps, and two changes within a step look like one.
	settled = 2 * time.Second
)

// sums remembers the digests of executables, since daprd has 200 MB and connects
// once for each component. A file is taken for the one that was hashed if device,
// inode, size and both times agree. That is safe enough: nobody but root can set the
// change time, every change of the content moves it, a file that ran when it was
// hashed was then open for writing to nobody (ETXTBSY, execve(2)), and one whose last
// change is less than two seconds old is hashed each time. A file system in user
// space (FUSE) answers as it likes, and may give us other bytes than it ran: there is
// no digest of files that lie on one.
type sums struct {
	mu    sync.Mutex
	known map[version]*sum
}

// version is one content of one file.
type version struct {
	dev, ino     uint64
	size         int64
	mtime, ctime unix.Timespec
}

type sum struct {
	mu     sync.Mutex
	kept   bool
	digest [sha256.Size]byte
}

// of is the SHA-256 of a file, zero if it lies on a file system in user space. Many
// who ask at once have it computed once.
func (s *sums) of(f *os.File) ([sha256.Size]byte, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("the executable cannot be read: %w", err)
	}
	if fs.Type == unix.FUSE_SUPER_MAGIC {
		return [sha256.Size]byte{}, nil
	}
	before, err := versionOf(f)
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	entry := s.entry(before)
	entry.mu.Lock()
	defer entry.mu.Unlock()
	if entry.kept {
		return entry.digest, nil
	}
	digest, err := hash(f)
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	after, err := versionOf(f)
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	if after != before {
		return [sha256.Size]byte{}, fmt.Errorf("%w: its executable is being written to", ErrChanged)
	}
	if time.Since(time.Unix(before.ctime.Unix())) >= settled {
		entry.kept, entry.digest = true, digest
	}
	return digest, nil
}

func (s *sums) entry(v version) *sum {
	s.mu.Lock()
	defer s.mu.Unlock()
	entry := s.known[v]
	if entry == nil {
		if s.known == nil || len(s.known) >= maxSums {
			s.known = make(map[version]*sum)
		}
		entry = &sum{}
		s.known[v] = entry
	}
	return entry
}

func versionOf(f *os.File) (version, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return version{}, fmt.Errorf("the executable cannot be read: %w", err)
	}
	if st.Size > maxExecutable {
		return version{}, fmt.Errorf("%w: its executable has %d bytes, the limit is %d", ErrHidden, st.Size, maxExecutable)
	}
	return version{dev: st.Dev, ino: st.Ino, size: st.Size, mtime: st.Mtim, ctime: st.Ctim}, nil
}

func hash(f *os.File) (digest [sha256.Size]byte, err error) {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, maxExecutable)); err != nil {
		return digest, fmt.Errorf("the executable cannot be read: %w", err)
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}
