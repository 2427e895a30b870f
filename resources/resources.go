// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package resources holds what a user copies: components, configurations,
// policies with their JSON Schema, and what a component server is told. The files are embedded, so that the command prints the very ones
// that the tests read.
package resources

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"
)

// PolicySchema names the JSON Schema of policies among the Names.
const PolicySchema = "policies/accesspolicy.schema.json"

//go:embed components configurations databases policies registrations servers
var files embed.FS

// Names lists the files, for example "policies/per-tool.yaml", in order.
func Names() ([]string, error) {
	var names []string
	err := fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			names = append(names, path)
		}
		return err
	})
	return names, err
}

// Read gives the text of one of the Names. An unknown name is an error that
// lists them.
func Read(name string) ([]byte, error) {
	text, err := files.ReadFile(name)
	if err == nil {
		return text, nil
	}
	names, listErr := Names()
	if listErr != nil {
		return nil, listErr
	}
	return nil, fmt.Errorf("there is no resource %q; there are %s", name, strings.Join(names, ", "))
}
