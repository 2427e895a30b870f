// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package peer

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapr-custody/custody/internal/identity"
)

const (
	// maxFiles bounds the files of a folder, each of which holds one document at least.
	maxFiles = identity.MaxRegistrations
	// quiet is how long ago the last change of a file must be where the kernel does
	// not tell of writers.
	quiet = 10 * time.Millisecond
	// step is more than the coarsest times of files: two changes within it may leave
	// a file that looks the same.
	step = time.Second
	// othersMayWrite are the bits of a mode that let anyone but the owner write.
	othersMayWrite = 0o022
)

// errBusy means that a file is being written to.
var errBusy = errors.New("is open for writing: close it, or write another file and rename it")

// errAway means that the folder itself cannot be read, or may be written to by others.
var errAway = errors.New("the folder cannot be read")

// listing is what stands in a folder.
type listing struct {
	names []string
	// look is what can be told of the files without reading them.
	look string
	// fresh says that a file had changed so lately that its next change may look the same.
	fresh bool
}

func list(dir string) (listing, error) {
	entries, err := entries(dir)
	if err != nil {
		return listing{}, fmt.Errorf("%w: %w", errAway, err)
	}
	var l listing
	var look strings.Builder
	for _, entry := range entries {
		if entry.IsDir() || !isRegistrationFile(entry.Name()) {
			continue
		}
		path := filepath.Join(dir, entry.Name())
		info, err := stat(path)
		if err != nil {
			return listing{}, vanished(path, err)
		}
		fmt.Fprintf(&look, "%q %d %d %d %d %d\n", path, info.Dev, info.Ino, info.Size, info.Mtim.Nano(), info.Ctim.Nano())
		l.fresh = l.fresh || time.Since(time.Unix(info.Ctim.Unix())) < step
		l.names = append(l.names, path)
	}
	if len(l.names) > maxFiles {
		return listing{}, fmt.Errorf("%s holds %d files, the limit is %d", dir, len(l.names), maxFiles)
	}
	// An empty folder has been looked at, too.
	l.look = fmt.Sprintf("%d\n", len(l.names)) + look.String()
	return l, nil
}

func entries(dir string) ([]os.DirEntry, error) {
	info, err := stat(dir)
	if err != nil {
		return nil, err
	}
	if info.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil, fmt.Errorf("%s is not a folder", dir)
	}
	return os.ReadDir(dir)
}

// isRegistrationFile: *.yaml and *.yml in any case, and nothing that begins with a
// dot or looks like what an editor leaves.
func isRegistrationFile(name string) bool {
	ext := strings.ToLower(filepath.Ext(name))
	return (ext == ".yaml" || ext == ".yml") && !strings.HasPrefix(name, ".") && !strings.HasPrefix(name, "#")
}

// vanished takes a file that has gone since it was listed for one that is being
// written; a link that leads nowhere stays an error.
func vanished(path string, err error) error {
	if _, gone := os.Lstat(path); errors.Is(gone, os.ErrNotExist) {
		return fmt.Errorf("%s: %w", path, errBusy)
	}
	return err
}

// stat refuses what anyone but root and this user could have written: who writes
// registrations says who is who.
func stat(path string) (unix.Stat_t, error) {
	var info unix.Stat_t
	if err := unix.Stat(path, &info); err != nil {
		return info, fmt.Errorf("%s: %w", path, err)
	}
	return info, trusted(path, info)
}

func trusted(path string, info unix.Stat_t) error {
	if info.Mode&othersMayWrite != 0 {
		return fmt.Errorf("%s may be written to by others than its owner (mode %#o): chmod go-w it", path, info.Mode&0o7777)
	}
	if euid := os.Geteuid(); info.Uid != 0 && int(info.Uid) != euid {
		return fmt.Errorf("%s belongs to user %d: it must belong to root or to the user %d of the component server", path, info.Uid, euid)
	}
	return nil
}

// load reads all files as they stood together at one moment.
func load(dir string, seen listing) (*identity.Registrations, [sha256.Size]byte, error) {
	var documents []identity.Registration
	digest := sha256.New()
	for _, name := range seen.names {
		data, err := readAtRest(name)
		if err != nil {
			return nil, [sha256.Size]byte{}, err
		}
		fmt.Fprintf(digest, "%q %d\n", name, len(data))
		digest.Write(data)
		parsed, err := identity.ParseRegistrations(name, data)
		if err != nil {
			return nil, [sha256.Size]byte{}, err
		}
		documents = append(documents, parsed...)
	}
	if now, err := list(dir); err != nil || now.look != seen.look {
		return nil, [sha256.Size]byte{}, errors.Join(fmt.Errorf("%s: a file %w", dir, errBusy), err)
	}
	registrations, err := identity.NewRegistrations(documents)
	return registrations, [sha256.Size]byte(digest.Sum(nil)), err
}

// readAtRest reads a file to which nobody writes: a document of which the end is
// missing may lack selectors, and so let in more than it should. As package
// policydir does, it asks the kernel for a read lease (fcntl(2)), which holds writers
// off for the moment; where none is to be had, the last change must be some time ago.
func readAtRest(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		if errors.Is(err, unix.EAGAIN) {
			return nil, fmt.Errorf("%s: %w", path, errBusy)
		}
		return nil, vanished(path, err)
	}
	defer f.Close() // The lease ends here, too.
	_, lease := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	var info unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &info); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	switch {
	case info.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, fmt.Errorf("%s is not a regular file", path)
	case errors.Is(lease, unix.EAGAIN),
		lease != nil && time.Since(time.Unix(info.Mtim.Unix())) < quiet:
		return nil, fmt.Errorf("%s: %w", path, errBusy)
	}
	if err := trusted(path, info); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, identity.MaxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, nil
}
