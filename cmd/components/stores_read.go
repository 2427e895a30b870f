// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/manifest"
)

const maxStoreDocuments = 1000

var (
	storeKeys      = []string{"apiVersion", "kind", "metadata", "spec", "scopes"}
	storeRequired  = []string{"apiVersion", "kind", "metadata", "spec"}
	storeNameKeys  = []string{"name", "namespace"}
	storeSpecKeys  = []string{"type", "version", "initTimeout", "ignoreErrors", "metadata"}
	storeValueKeys = []string{"name", "value", "envRef"}
)

// storeReader reads the Components of one file.
type storeReader struct {
	manifest.Reader
	lookup func(string) (string, bool)
}

// read takes the documents of a file. The error is a *manifest.ErrorList.
func (s *stores) read(file string, text []byte, lookup func(string) (string, bool)) error {
	r := &storeReader{lookup: lookup, Reader: manifest.Reader{
		File: file, MaxBytes: maxComponentFile, MaxDocuments: maxStoreDocuments, Problems: manifest.Problems{Room: "stores"},
	}}
	for _, root := range r.Documents(text) {
		d := &storeDocument{namespace: s.namespace}
		if !r.document(root, d) {
			continue
		}
		if s.meets(d) {
			r.Fail(root, "scopes", "two documents of component %s are for the same app: give each the scopes of its own", d.name)
		}
		s.documents = append(s.documents, d)
	}
	return r.Err()
}

// document reports whether there is a Component with a name. Of another kind of document no more is said than that.
func (r *storeReader) document(n *yaml.Node, d *storeDocument) bool {
	m, ok := r.Members(n, "", storeKeys, storeRequired)
	if !ok || !r.is(m["apiVersion"], "apiVersion", "dapr.io/v1alpha1") || !r.is(m["kind"], "kind", "Component") || m["spec"] == nil {
		return false
	}
	spec, ok := r.Members(m["spec"], "spec", storeSpecKeys, []string{"type"})
	if !ok || !r.is(spec["type"], "spec.type", guardedType) {
		return false
	}
	r.name(m["metadata"], d)
	for i, item := range r.List(m["scopes"], "scopes") {
		if app, ok := r.Text(item, manifest.Index("scopes", i)); ok {
			d.scopes = append(d.scopes, app)
		}
	}
	r.Text(spec["version"], "spec.version")
	r.Text(spec["initTimeout"], "spec.initTimeout")
	r.Truth(spec["ignoreErrors"], "spec.ignoreErrors")
	d.properties = map[string]string{}
	for i, item := range r.List(spec["metadata"], "spec.metadata") {
		r.property(item, manifest.Index("spec.metadata", i), d.properties)
	}
	return d.name != ""
}

func (r *storeReader) is(n *yaml.Node, field, want string) bool {
	got, ok := r.Text(n, field)
	if ok && got != want {
		r.Fail(n, field, "%q is not %s: keep only Components of type %s here", got, want, guardedType)
	}
	return got == want
}

func (r *storeReader) name(n *yaml.Node, d *storeDocument) {
	if n == nil {
		return
	}
	m, ok := r.Members(n, "metadata", storeNameKeys, []string{"name"})
	if !ok {
		return
	}
	d.name, _ = r.Text(m["name"], "metadata.name") // What is wrong is noted.
	if namespace, ok := r.Text(m["namespace"], "metadata.namespace"); ok {
		d.namespace = namespace
	}
}

func (r *storeReader) property(n *yaml.Node, field string, properties map[string]string) {
	m, ok := r.Members(n, field, storeValueKeys, []string{"name"})
	if !ok {
		return
	}
	name, ok := r.Text(m["name"], field+".name")
	if !ok {
		return
	}
	if known, _ := get(properties, name); has(properties, known) {
		r.Fail(m["name"], field+".name", "%q is given twice: keep one", name)
	}
	properties[name] = r.value(n, m["value"], m["envRef"], field)
}

// value is that of a property, as it stands there or in the environment. It may be a number, and an empty text.
func (r *storeReader) value(n, value, reference *yaml.Node, field string) string {
	switch {
	case value != nil && reference != nil:
		r.Fail(reference, field+".envRef", "there is a value too: keep one of both")
	case reference != nil:
		variable, ok := r.Text(reference, field+".envRef")
		text, found := r.lookup(variable)
		if ok && !found {
			r.Fail(reference, field+".envRef", "the component server has no %s in its environment: set it there, or write value", variable)
		}
		return text
	case value == nil:
		r.Fail(n, field, "has no value: write value, or envRef with the name of a variable")
	case !r.Plain(value, field+".value"):
	case value.Kind != yaml.ScalarNode || value.Tag == "!!null":
		r.Fail(value, field+".value", "want one text: write it in quotes, or envRef with the name of a variable")
	default:
		return value.Value
	}
	return ""
}
