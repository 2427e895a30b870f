// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpcaller

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dapr-custody/custody/internal/journal"
)

// Metadata is what spec.metadata of the component may say. metadata.yaml beside
// this file is the same in the form that Dapr's tools read.
type Metadata struct {
	// JournalDir is the folder of the journal. Required.
	JournalDir string
	// Durability is when a record counts as written. Empty means group.
	Durability journal.Durability
	// MaxRequestBytes bounds the body of a step's call, and of what the app says to
	// its sidecar. Zero means 4 MiB.
	MaxRequestBytes int
}

const (
	defaultMaxRequestBytes = 4 << 20
	mostBytes              = 1 << 30
)

// ParseMetadata reads the component's metadata. Names are matched without
// regard to case, as Dapr does; a name that is not known is an error.
func ParseMetadata(properties map[string]string) (Metadata, error) {
	var meta Metadata
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		if err := meta.set(name, strings.TrimSpace(properties[name])); err != nil {
			problems = append(problems, fmt.Errorf("metadata %q %w", name, err))
		}
	}
	if len(problems) == 0 {
		problems = append(problems, meta.complete())
	}
	return meta, errors.Join(problems...)
}

func (m *Metadata) set(name, value string) error {
	switch strings.ToLower(name) {
	case "journaldir":
		m.JournalDir = value
	case "durability":
		m.Durability = journal.Durability(value)
	case "maxrequestbytes":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > mostBytes {
			return fmt.Errorf("is %q, not a number of bytes from 1 to %d", value, mostBytes)
		}
		m.MaxRequestBytes = n
	default:
		return errors.New("is not known; known are journalDir, durability, maxRequestBytes")
	}
	return nil
}

// complete puts in what may be left out and refuses what cannot be.
func (m *Metadata) complete() error {
	if m.JournalDir == "" {
		return errors.New(`metadata "journalDir" is missing: name a folder for the journal; nothing is signed without a record`)
	}
	m.Durability = cmp.Or(m.Durability, journal.DurabilityGroup)
	if err := m.Durability.Check(); err != nil {
		return fmt.Errorf(`metadata "durability": %w`, err)
	}
	if m.MaxRequestBytes == 0 {
		m.MaxRequestBytes = defaultMaxRequestBytes
	}
	var err error
	m.JournalDir, err = filepath.Abs(m.JournalDir)
	return err
}
