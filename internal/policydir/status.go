// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policydir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// StatusFile is the name under which a guard writes its Status into its journal
// folder.
const StatusFile = "guard-status.json"

// ofDoor stands between the name of a status file and that of the door. No app ID holds it.
const ofDoor = "@"

// StatusFileOf is where one of several doors writes its Status, beside the file at path that would be the only one's.
func StatusFileOf(path, door string) string {
	ending := filepath.Ext(path)
	return strings.TrimSuffix(path, ending) + ofDoor + url.PathEscape(door) + ending
}

// StatusFileBeside is the path that StatusFileOf was given, and any other path as it is.
func StatusFileBeside(path string) string {
	folder, name := filepath.Split(path)
	if owner, _, found := strings.Cut(name, ofDoor); found {
		return folder + owner + filepath.Ext(name)
	}
	return path
}

// Announce is an OnChange that logs what is wrong, each thing by itself, and writes the Status into files.
func Announce(log func(text string), files ...string) func(Status) {
	return func(status Status) {
		if status.LastError != "" {
			log(status.LastError)
		}
		for _, warning := range status.Warnings {
			log(warning)
		}
		for _, file := range files {
			if err := WriteStatus(file, status); err != nil {
				log(fmt.Sprintf("the status could not be written: %v", err))
			}
		}
	}
}

// maxStatus bounds what ReadStatus reads.
const maxStatus = 16 << 20

// State sums a Status up.
type State string

// The states.
const (
	// StateInForce: the files as they stand are in force.
	StateInForce State = "in force"
	// StateRefusing: there is no Set, and everything is refused.
	StateRefusing State = "REFUSING: no policy"
	// StateKept: the files as they stand cannot be used; the Set before them is in force.
	StateKept State = "kept last good set"
)

// Status says what a Watcher has in force. The zero Status is a refusing one.
type Status struct {
	App   string `json:"app"`
	Guard string `json:"guard"`
	PID   int    `json:"pid"`
	Dir   string `json:"dir"`
	// Tools is the path of the guard's policy.Catalogue, empty if it keeps none.
	Tools string `json:"tools,omitempty"`
	// Digest names the Set in force, empty if there is none.
	Digest   string    `json:"digest"`
	LoadedAt time.Time `json:"loadedAt,omitzero"`
	Policies int       `json:"policies"`
	Rules    int       `json:"rules"`
	// RatesPerProcess says that the Set holds rates, and that what is counted against
	// them is forgotten when the guard's process ends.
	RatesPerProcess bool `json:"ratesPerProcess,omitempty"`
	// Files are the names of the files in force, without the directory.
	Files []string `json:"files"`
	// LastError says why the files as they stand are not in force, one problem a
	// line. It is empty if they are, or are again.
	LastError   string    `json:"lastError,omitempty"`
	LastErrorAt time.Time `json:"lastErrorAt,omitzero"`
	Warnings    []string  `json:"warnings,omitempty"`
}

// State sums the Status up.
func (s Status) State() State {
	switch {
	case s.Digest == "":
		return StateRefusing
	case s.LastError != "":
		return StateKept
	default:
		return StateInForce
	}
}

// WriteStatus replaces the file at path with s. A reader sees the old file or the
// new one.
func WriteStatus(path string, s Status) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("policydir: status: %w", err)
	}
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("policydir: status: %w", err)
	}
	_, err = temp.Write(append(data, '\n'))
	err = errors.Join(err, temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("policydir: status: %w", errors.Join(err, os.Remove(temp.Name())))
	}
	return nil
}

// ReadStatus reads what WriteStatus wrote.
func ReadStatus(path string) (Status, error) {
	f, err := os.Open(path)
	if err != nil {
		return Status{}, fmt.Errorf("policydir: status: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxStatus))
	if err = errors.Join(err, f.Close()); err != nil {
		return Status{}, fmt.Errorf("policydir: status: %w", err)
	}
	var s Status
	if err := json.Unmarshal(data, &s); err != nil {
		return Status{}, fmt.Errorf("policydir: status %s: %w", path, err)
	}
	return s, nil
}
