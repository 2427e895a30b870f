// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package server

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// kept is the folder of what callers initialised their components with. The files may hold what a sidecar took from a
// secret store, so only their owner can read them.
type kept struct{ dir string }

type record struct {
	Type       string            `json:"type"`
	Caller     spiffeid.ID       `json:"caller"`
	Name       string            `json:"name"`
	Properties map[string]string `json:"properties"`
}

func (k kept) path(kind string, caller spiffeid.ID, name string) string {
	// SPIFFE IDs and types hold no line break.
	sum := sha256.Sum256([]byte(kind + "\n" + caller.String() + "\n" + name))
	return filepath.Join(k.dir, hex.EncodeToString(sum[:])+".json")
}

// write replaces the record in one step.
func (k kept) write(r record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(k.dir, ".new-*") // made with mode 0600
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), k.path(r.Type, r.Caller, r.Name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}

// read gives what was written last, and whether there is something.
func (k kept) read(kind string, caller spiffeid.ID, name string) (properties map[string]string, found bool, err error) {
	path := k.path(kind, caller, name)
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, false, nil
	case err != nil:
		return nil, false, err
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, false, fmt.Errorf("%s: %w", path, err)
	}
	if r.Type != kind || r.Caller != caller || r.Name != name {
		return nil, false, fmt.Errorf("%s: is the record of another component", path)
	}
	return r.Properties, true, nil
}
