// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package guarded

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dapr/components-contrib/state"

	"github.com/dapr-custody/custody/internal/journal"
)

// settings is what spec.metadata says to this component. metadata.yaml beside this file is the same in the form that
// Dapr's tools read.
type settings struct {
	backend    string
	journalDir string
	durability journal.Durability
	// policyDir and rateFile are those of a door within daprd. Empty: no door, and no file.
	policyDir, rateFile string
	// outbox: Dapr keeps one in the store. Who serves sidecars is not told so.
	outbox bool
}

// unserved refuses what only daprd takes. It is told before anything else is held against metadata, since who writes
// it believes that it decides.
func unserved(properties map[string]string) error {
	for name := range properties {
		if lower := strings.ToLower(name); lower == "policydir" || lower == "ratefile" {
			return fmt.Errorf("metadata %q: a component server serves this store, and its own %s counts (kind: ComponentServer): remove it here",
				name, map[string]string{"policydir": "policyDir", "ratefile": "rateFile"}[lower])
		}
	}
	return nil
}

// parse takes the component's own settings out of the metadata, and gives the rest, which is the backend's. Of a store
// that is served, the server says where the journal is and what decides. Names are matched without regard to case, as
// Dapr does.
func parse(meta state.Metadata, backends []string, served bool) (settings, state.Metadata, error) {
	s := settings{durability: journal.DurabilityGroup}
	rest, given, misspelled, twice := meta, map[string]bool{}, "", ""
	rest.Properties = maps.Clone(meta.Properties)
	for name, value := range meta.Properties {
		switch strings.ToLower(name) {
		case "backend":
			s.backend = strings.TrimSpace(value)
		case "journaldir":
			s.journalDir = strings.TrimSpace(value)
		case "durability":
			s.durability = journal.Durability(strings.TrimSpace(value))
		case "policydir":
			s.policyDir = strings.TrimSpace(value)
		case "ratefile":
			s.rateFile = strings.TrimSpace(value)
		case outboxProperty:
			s.outbox = !served && value != ""
			continue
		default:
			if strings.Contains(strings.ToLower(name), "polic") {
				misspelled = name
			}
			continue
		}
		if given[strings.ToLower(name)] {
			twice = name
		}
		given[strings.ToLower(name)] = true
		delete(rest.Properties, name)
	}
	switch {
	case twice != "":
		return s, rest, fmt.Errorf("metadata %q is given twice, in another case: remove one", twice)
	case s.backend == "":
		return s, rest, fmt.Errorf(`metadata "backend" is missing: name the store that keeps the state: %s`, strings.Join(backends, ", "))
	case !slices.Contains(backends, s.backend):
		return s, rest, fmt.Errorf(`metadata "backend": %q is not one of %s`, s.backend, strings.Join(backends, ", "))
	case served && (s.journalDir != "" || given["durability"]):
		return s, rest, errors.New(`metadata "journalDir" and "durability" are the component server's to say: remove them`)
	case served:
		return s, rest, unserved(meta.Properties)
	case s.journalDir == "":
		return s, rest, errors.New(`metadata "journalDir" is missing: name a folder for the journal`)
	}
	if err := s.durability.Check(); err != nil {
		return s, rest, fmt.Errorf(`metadata "durability": %w`, err)
	}
	switch {
	case misspelled != "":
		return s, rest, fmt.Errorf(`metadata %q is no setting of a store: write "policyDir", or nothing is decided`, misspelled)
	case given["policydir"] && s.policyDir == "":
		return s, rest, errors.New(`metadata "policyDir" is empty: name the folder of the policies, or remove it and nothing is decided`)
	case s.rateFile != "" && s.policyDir == "":
		return s, rest, errors.New(`metadata "rateFile" counts for the rules of a "policyDir", which is missing: add it, or remove "rateFile"`)
	}
	return s, rest, s.absolute()
}

func (s *settings) absolute() error {
	for _, path := range []*string{&s.journalDir, &s.policyDir, &s.rateFile} {
		if *path == "" {
			continue
		}
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = absolute
	}
	return nil
}
