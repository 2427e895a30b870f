// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dapr-custody/custody/internal/journal"
)

// Metadata is what spec.metadata of the component may say. metadata.yaml beside
// this file is the same in the form that Dapr's tools read.
type Metadata struct {
	// Server is the name that policies give the MCP server. Empty means the app ID.
	Server string
	// Path is the path of the MCP endpoint. Empty means "/mcp".
	Path string
	// PolicyDir is the folder with the policies. Required unless the
	// Configuration's access control says everything; then no file is read.
	PolicyDir string
	// JournalDir is the folder of the journal. Required.
	JournalDir string
	// Durability is when a record counts as written. Empty means group.
	Durability journal.Durability
	// MaxRequestBytes bounds a request's body. Zero means 4 MiB.
	MaxRequestBytes int
	// MaxAnswerBytes bounds what of an answer is held in memory to be filtered
	// or digested. A larger answer to a message of MCP is withheld. Zero means 16 MiB.
	MaxAnswerBytes int
	// RateFile is the file that keeps what was counted against the rates of rules.
	// Empty means that it is kept until the process ends.
	RateFile string
	// DenyAs is how a caller is told that policy denied it a tool. Empty means DenyAsError.
	DenyAs DenyAs
	// MaxRequestTime bounds how long a request's body may take to arrive. Zero
	// means 30 s.
	MaxRequestTime time.Duration
	// MaxQuestionAge is how long ago the question of a workflow's step may have been
	// signed: a step that is done again after a crash comes with its old one. Zero
	// means 24 h.
	MaxQuestionAge time.Duration
}

// DenyAs is the form of a denial.
type DenyAs string

const (
	// DenyAsError is HTTP 403 with a JSON-RPC error, which ends what the client does.
	DenyAsError DenyAs = "error"
	// DenyAsToolError is the result of a tool with isError, which a model reads and
	// can act on. What is no tools/call gets an error nevertheless.
	DenyAsToolError DenyAs = "toolError"
)

const (
	defaultPath            = "/mcp"
	defaultMaxRequestBytes = 4 << 20
	defaultMaxAnswerBytes  = 16 << 20
	mostBytes              = 1 << 30
	defaultMaxRequestTime  = 30 * time.Second
	defaultMaxQuestionAge  = 24 * time.Hour
)

// ParseMetadata reads the component's metadata. Names are matched without
// regard to case, as Dapr does; a name that is not known is an error.
func ParseMetadata(properties map[string]string) (Metadata, error) {
	meta := Metadata{}
	var problems []error
	fields := meta.fields()
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		set, ok := fields[strings.ToLower(name)]
		if !ok {
			problems = append(problems, fmt.Errorf("metadata %q is not known; known are %s", name, strings.Join(fieldNames(), ", ")))
			continue
		}
		if err := set(strings.TrimSpace(properties[name])); err != nil {
			problems = append(problems, fmt.Errorf("metadata %q: %w", name, err))
		}
	}
	if len(problems) == 0 {
		problems = append(problems, meta.complete())
	}
	return meta, errors.Join(problems...)
}

func fieldNames() []string {
	return []string{
		"server", "path", "policyDir", "journalDir", "durability", "maxRequestBytes", "maxAnswerBytes", "maxRequestTime", "denyAs", "rateFile",
		"maxQuestionAge",
	}
}

func (m *Metadata) fields() map[string]func(string) error {
	text := func(to *string) func(string) error {
		return func(value string) error {
			*to = value
			return nil
		}
	}
	return map[string]func(string) error{
		"server":          text(&m.Server),
		"path":            text(&m.Path),
		"policydir":       text(&m.PolicyDir),
		"journaldir":      text(&m.JournalDir),
		"durability":      func(value string) error { m.Durability = journal.Durability(value); return nil },
		"maxrequestbytes": func(value string) error { return size(&m.MaxRequestBytes, value) },
		"maxanswerbytes":  func(value string) error { return size(&m.MaxAnswerBytes, value) },
		"ratefile":        text(&m.RateFile),
		"denyas":          func(value string) error { m.DenyAs = DenyAs(value); return nil },
		"maxrequesttime":  func(value string) error { return span(&m.MaxRequestTime, value) },
		"maxquestionage":  func(value string) error { return span(&m.MaxQuestionAge, value) },
	}
}

func size(to *int, value string) error {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > mostBytes {
		return fmt.Errorf("%q is not a number of bytes from 1 to %d", value, mostBytes)
	}
	*to = n
	return nil
}

func span(to *time.Duration, value string) error {
	d, err := time.ParseDuration(value)
	if err != nil || d <= 0 {
		return fmt.Errorf("%q is not a time above zero such as 30s", value)
	}
	*to = d
	return nil
}

// complete puts in what may be left out and refuses what cannot be.
func (m *Metadata) complete() error {
	m.Path = cmp.Or(m.Path, defaultPath)
	if !strings.HasPrefix(m.Path, "/") || path.Clean(m.Path) != m.Path || strings.ContainsAny(m.Path, "%?#") {
		return fmt.Errorf(`metadata "path": %q is not a plain absolute path such as %q`, m.Path, defaultPath)
	}
	if m.JournalDir == "" {
		return errors.New(`metadata "journalDir" is missing: name a folder for the journal; no call passes without a record`)
	}
	m.Durability = cmp.Or(m.Durability, journal.DurabilityGroup)
	if err := m.Durability.Check(); err != nil {
		return fmt.Errorf(`metadata "durability": %w`, err)
	}
	switch m.DenyAs {
	case "":
		m.DenyAs = DenyAsError
	case DenyAsError, DenyAsToolError:
	default:
		return fmt.Errorf(`metadata "denyAs": %q is neither %q nor %q`, m.DenyAs, DenyAsError, DenyAsToolError)
	}
	m.MaxRequestBytes = cmp.Or(m.MaxRequestBytes, defaultMaxRequestBytes)
	m.MaxAnswerBytes = cmp.Or(m.MaxAnswerBytes, defaultMaxAnswerBytes)
	m.MaxRequestTime = cmp.Or(m.MaxRequestTime, defaultMaxRequestTime)
	m.MaxQuestionAge = cmp.Or(m.MaxQuestionAge, defaultMaxQuestionAge)
	return m.absolute()
}

func (m *Metadata) absolute() error {
	for _, dir := range []*string{&m.PolicyDir, &m.JournalDir, &m.RateFile} {
		if *dir == "" {
			continue
		}
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return err
		}
		*dir = abs
	}
	return nil
}
