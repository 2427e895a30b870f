// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package serverfile reads what an operator says of a component server: the document kind: ComponentServer, which
// custody-components serve and custody up take.
//
// A file is taken whole or not at all: a field that is not known, doubled or of another type is an error with its line.
// Nothing here looks at the folders that it names.
package serverfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"

	"gopkg.in/yaml.v3"
)

// What a document says of itself.
const (
	APIVersion = "custody.dev/v1alpha1"
	Kind       = "ComponentServer"
)

// Name is that of the file which custody up looks for beside a run file.
const Name = "components.yaml"

// MaxBytes is the largest file that is read.
const MaxBytes = 64 << 10

// File is one document. Its paths are absolute; those that it leaves out are empty.
type File struct {
	// Path is where it was read.
	Path string
	// Name is metadata.name.
	Name string
	// PolicyDir holds the policies that are in force at every door of the server. Required.
	PolicyDir string
	// JournalDir takes the server's journal. Required. Durability is that of the journal, "group" if it is left out.
	JournalDir string
	Durability string
	// RateFile keeps what was counted against rates. Without it that ends with the process.
	RateFile string
	// Stores holds the Components of type state.custody that may be opened, and says where their rows are. Without it
	// no state store is served.
	Stores string
	// Databases holds the Database documents, CA the authority for client certificates of databases. Without them there
	// is no SQL door.
	Databases string
	CA        string
	// Apps are those whose sidecars custody up tells of the server. None means all apps of the run.
	Apps []string
}

type document struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   struct {
		Name string `yaml:"name"`
	} `yaml:"metadata"`
	Spec struct {
		PolicyDir  string   `yaml:"policyDir"`
		JournalDir string   `yaml:"journalDir"`
		Durability string   `yaml:"durability"`
		RateFile   string   `yaml:"rateFile"`
		Stores     string   `yaml:"stores"`
		Databases  string   `yaml:"databases"`
		CA         string   `yaml:"ca"`
		Apps       []string `yaml:"apps"`
	} `yaml:"spec"`
}

// Parse reads the one document of a file. path is where the file is: what it names is relative to its folder.
func Parse(path string, data []byte) (*File, error) {
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("%s: has %d bytes, the limit is %d", path, len(data), MaxBytes)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	var d document
	err := decoder.Decode(&d)
	switch {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%s: is empty: write a document with kind: %s", path, Kind)
	case err != nil:
		return nil, fmt.Errorf("%s: %s", path, plain(err))
	}
	if err := decoder.Decode(&document{}); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: holds more than one document: keep one", path)
	}
	if err := d.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return d.file(path)
}

// inType is what the library adds of our own types.
var inType = regexp.MustCompile(` not found in type .*|into serverfile\.\S+|yaml: (unmarshal errors:\n\s*)?`)

func plain(err error) string {
	return inType.ReplaceAllStringFunc(err.Error(), func(found string) string {
		if found[0] == ' ' {
			return " is not known: remove it or correct its name"
		}
		return ""
	})
}

var (
	nameForm  = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)
	durations = []string{"", "group", "sync"}
)

func (d *document) check() error {
	switch {
	case d.APIVersion != APIVersion:
		return fmt.Errorf("apiVersion: is %q: write %s", d.APIVersion, APIVersion)
	case d.Kind != Kind:
		return fmt.Errorf("kind: is %q: write %s", d.Kind, Kind)
	case !nameForm.MatchString(d.Metadata.Name):
		return fmt.Errorf("metadata.name: %q: write lower case letters, digits, dashes and dots, at most 253", d.Metadata.Name)
	case d.Spec.PolicyDir == "":
		return errors.New("spec.policyDir: is missing: name the folder with the policies for the doors")
	case d.Spec.JournalDir == "":
		return errors.New("spec.journalDir: is missing: name a folder for the journal")
	case !slices.Contains(durations, d.Spec.Durability):
		return fmt.Errorf("spec.durability: %q is neither group nor sync", d.Spec.Durability)
	case (d.Spec.Databases == "") != (d.Spec.CA == ""):
		return errors.New("spec.databases and spec.ca: belong together: name both, or neither")
	}
	for i, app := range d.Spec.Apps {
		if app == "" || slices.Contains(d.Spec.Apps[:i], app) {
			return fmt.Errorf("spec.apps[%d]: %q is empty or given twice: remove it", i, app)
		}
	}
	return nil
}

func (d *document) file(path string) (*File, error) {
	f := &File{Path: path, Name: d.Metadata.Name, Durability: d.Spec.Durability, Apps: d.Spec.Apps}
	for _, each := range []struct {
		to   *string
		from string
	}{
		{&f.PolicyDir, d.Spec.PolicyDir},
		{&f.JournalDir, d.Spec.JournalDir},
		{&f.RateFile, d.Spec.RateFile},
		{&f.Stores, d.Spec.Stores},
		{&f.Databases, d.Spec.Databases},
		{&f.CA, d.Spec.CA},
	} {
		if each.from == "" {
			continue
		}
		if !filepath.IsAbs(each.from) {
			each.from = filepath.Join(filepath.Dir(path), each.from)
		}
		var err error
		if *each.to, err = filepath.Abs(each.from); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return f, nil
}
