// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policyedit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/policydir"
)

// folder is a folder of policy files that compile together, locked.
type folder struct {
	dir   string
	opts  policy.CompileOptions
	lock  *os.File
	files []*file
}

// file is a policy file as it was read.
type file struct {
	name      string
	path      string
	data      []byte
	info      os.FileInfo
	roots     []*yaml.Node
	documents []policy.Document
}

// open locks and reads a folder. What is wrong with its files is one *policy.ErrorList.
func open(dir string, opts policy.CompileOptions) (*folder, error) {
	lock, err := os.Open(dir)
	if err != nil {
		return nil, prefixed("policy folder", err)
	}
	f := &folder{dir: dir, opts: opts, lock: lock}
	if err = f.load(); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// close gives the lock back, which hangs on the open folder: nothing is left behind.
func (f *folder) close() { f.lock.Close() }

func (f *folder) load() error {
	for {
		err := syscall.Flock(int(f.lock.Fd()), syscall.LOCK_EX) //nolint:gosec // a file descriptor
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EINTR) {
			return prefixed("lock "+f.dir, err)
		}
	}
	names, err := policydir.List(f.dir)
	if err != nil {
		return fmt.Errorf("policyedit: %w", err)
	}
	var wrong policy.ErrorList
	for _, name := range names {
		file, err := read(filepath.Join(f.dir, name))
		if err != nil {
			return err
		}
		if file == nil {
			continue
		}
		if err := file.parse(); !note(&wrong, err) {
			return err
		}
		f.files = append(f.files, file)
	}
	if len(wrong.Problems) > 0 {
		return &wrong
	}
	_, _, err = policy.Compile(f.documents(), f.opts)
	return err
}

// note collects the problems of a file; it returns false for any other error.
func note(into *policy.ErrorList, err error) bool {
	var list *policy.ErrorList
	if !errors.As(err, &list) {
		return err == nil
	}
	into.Problems = append(into.Problems, list.Problems...)
	into.Omitted += list.Omitted
	return true
}

// read returns nil for a folder with the name of a policy file.
func read(path string) (*file, error) {
	handle, err := os.Open(path)
	if err != nil {
		return nil, prefixed("policy file", err)
	}
	defer handle.Close()
	info, err := handle.Stat()
	if err != nil {
		return nil, prefixed("policy file", err)
	}
	if info.IsDir() {
		return nil, nil //nolint:nilnil // guards pass over it, too
	}
	data, err := io.ReadAll(io.LimitReader(handle, policy.MaxFileBytes+1))
	if err != nil {
		return nil, prefixed("policy file", err)
	}
	return &file{name: filepath.Base(path), path: path, data: data, info: info}, nil
}

func (f *file) parse() error {
	documents, err := policy.Parse(f.path, f.data)
	if err != nil {
		return err
	}
	f.documents = documents
	f.roots, err = roots(f.data)
	return err
}

// roots returns the documents that hold something, as policy.Parse counts them.
func roots(data []byte) ([]*yaml.Node, error) {
	var found []*yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("policyedit: %w", err)
		}
		if len(document.Content) == 1 && document.Content[0].Kind == yaml.MappingNode {
			root := document.Content[0]
			// What stands above and below the mapping goes with it when it is encoded anew.
			root.HeadComment = joinComments(document.HeadComment, root.HeadComment)
			root.FootComment = joinComments(root.FootComment, document.FootComment)
			found = append(found, root)
		}
	}
}

func joinComments(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "\n\n" + b
}

func (f *folder) documents() []policy.Document {
	var all []policy.Document
	for _, file := range f.files {
		all = append(all, file.documents...)
	}
	return all
}

// changed is the time of the last change to the folder or a file in it.
func (f *folder) changed() time.Time {
	var last time.Time
	if info, err := f.lock.Stat(); err == nil {
		last = info.ModTime()
	}
	for _, file := range f.files {
		if t := file.info.ModTime(); t.After(last) {
			last = t
		}
	}
	return last
}

// file returns the file of a name, nil if it is not there yet.
func (f *folder) file(name string) (*file, error) {
	if filepath.Base(name) != name || !policydir.IsPolicyFile(name) {
		return nil, fmt.Errorf("policyedit: %q is no name for a policy file: give a name that ends in .yaml, without a folder", name)
	}
	for _, file := range f.files {
		if file.name == name {
			return file, nil
		}
	}
	return nil, nil //nolint:nilnil // to be made
}
