// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package serverfile reads what an operator says of a component server: the document kind: ComponentServer, which
// custody-components serve and custody up take.
//
// A file is taken whole or not at all. All that is wrong in it is told together, with line, column, field and what to
// change. Nothing here looks at the folders that it names.
package serverfile

import (
	"fmt"
	"path/filepath"
	"slices"

	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/manifest"
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

// What one caller may have in flight if the document does not say, and the bounds of what it may say.
const (
	DefaultRequests = 1024
	DefaultBytes    = 256 << 20
	maxRequests     = 100_000
	minBytes        = 1 << 20
	maxBytes        = 1 << 30
)

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
	// Requests is how many requests one caller may have in flight, and Bytes how many these and their answers may have.
	Requests int
	Bytes    int64
	// Apps are those whose sidecars custody up tells of the server. None means all apps of the run.
	Apps []string
}

const (
	room         = "serverfile"
	maxDocuments = 100 // that are looked at to say that there is one too many
)

var (
	specKeys     = []string{"policyDir", "journalDir", "durability", "rateFile", "stores", "databases", "ca", "perCaller", "apps"}
	callerKeys   = []string{"requests", "bytes"}
	specRequired = []string{"policyDir", "journalDir"}
	durabilities = []string{"group", "sync"}
)

// Parse reads the one document of a file. path is where the file is: what it names is relative to its folder. The error is
// a *manifest.ErrorList, unless it is the working folder that is not known.
func Parse(path string, data []byte) (*File, error) {
	folder, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", room, path, err)
	}
	p := &parser{folder: folder, Reader: manifest.Reader{
		File: path, MaxBytes: MaxBytes, MaxDocuments: maxDocuments, Problems: manifest.Problems{Room: room},
	}}
	roots := p.Documents(data)
	f := &File{Path: path}
	switch {
	case len(roots) > 1:
		p.Fail(roots[1], "", "there is more than one document: keep one")
	case len(roots) == 1:
		p.document(roots[0], f)
	case p.None():
		p.Add(manifest.At(path, 1, 1), "", "the file is empty: write a document with kind: %s", Kind)
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	return f, nil
}

// parser reads a file in a folder.
type parser struct {
	manifest.Reader
	folder string
}

func (p *parser) document(n *yaml.Node, f *File) {
	name, spec := p.Document(n, APIVersion, Kind, specKeys, specRequired)
	f.Name = name
	if spec != nil {
		p.spec(spec, f)
	}
}

func (p *parser) spec(m map[string]*yaml.Node, f *File) {
	f.PolicyDir, f.JournalDir = p.path(m, "policyDir"), p.path(m, "journalDir")
	f.RateFile, f.Stores = p.path(m, "rateFile"), p.path(m, "stores")
	f.Databases, f.CA = p.path(m, "databases"), p.path(m, "ca")
	switch databases, ca := m["databases"], m["ca"]; {
	case databases != nil && ca == nil:
		p.Fail(databases, "spec.databases", "belongs together with spec.ca: name both, or neither")
	case databases == nil && ca != nil:
		p.Fail(ca, "spec.ca", "belongs together with spec.databases: name both, or neither")
	}
	durability, ok := p.Text(m["durability"], "spec.durability")
	if ok && !slices.Contains(durabilities, durability) {
		p.Fail(m["durability"], "spec.durability", "%q is neither group nor sync: write one of them", durability)
	}
	f.Durability = durability
	p.perCaller(m["perCaller"], f)
	for i, item := range p.List(m["apps"], "spec.apps") {
		at := manifest.Index("spec.apps", i)
		app, ok := p.Text(item, at)
		if ok && slices.Contains(f.Apps, app) {
			p.Fail(item, at, "%q is given twice: remove it", app)
		}
		f.Apps = append(f.Apps, app)
	}
}

// perCaller reads what one caller may have in flight.
func (p *parser) perCaller(n *yaml.Node, f *File) {
	f.Requests, f.Bytes = DefaultRequests, DefaultBytes
	if n == nil {
		return
	}
	m, ok := p.Members(n, "spec.perCaller", callerKeys, nil)
	if !ok {
		return
	}
	if requests := m["requests"]; requests != nil {
		f.Requests = p.Number(requests, "spec.perCaller.requests", 1, maxRequests)
	}
	if bytes := m["bytes"]; bytes != nil {
		f.Bytes = int64(p.Number(bytes, "spec.perCaller.bytes", minBytes, maxBytes))
	}
}

// path gives a path of the spec from the root, "" if it is left out.
func (p *parser) path(m map[string]*yaml.Node, key string) string {
	path, ok := p.Text(m[key], manifest.Join("spec", key))
	if !ok || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(p.folder, path)
}
