// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package identity

import (
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/manifest"
)

// RegistrationError is one problem of a WorkloadRegistration: where it is, and what to change. Its text begins with
// "identity: ".
type RegistrationError = manifest.Error

// What a WorkloadRegistration document says of itself.
const (
	APIVersion       = "custody.dev/v1alpha1"
	KindRegistration = "WorkloadRegistration"
)

// Limits. What is over them is refused with an error that names the limit.
const (
	// MaxFileBytes is the largest file that ParseRegistrations reads.
	MaxFileBytes = 1 << 20
	// MaxRegistrations is the largest number of documents in a file and in force.
	MaxRegistrations = 1000
)

var specKeys = []string{"spiffeID", "selectors"}

// ParseRegistrations reads the WorkloadRegistration documents of one file; file is
// the name to use in errors. Documents that are empty or hold only comments are
// passed over, but a file must hold at least one. It is strict: whatever it does
// not understand is an error, and any error means that no document is returned.
// The error is a *manifest.ErrorList, with one *RegistrationError for each thing that is wrong.
func ParseRegistrations(file string, data []byte) ([]Registration, error) {
	r := &reader{manifest.Reader{
		File: file, MaxBytes: MaxFileBytes, MaxDocuments: MaxRegistrations, Problems: manifest.Problems{Room: "identity"},
	}}
	roots := r.Documents(data)
	if len(roots) == 0 && r.None() {
		r.Add(manifest.At(file, 1, 1), "", "the file holds no registration: add a document with kind: %s, or remove the file", KindRegistration)
	}
	documents := make([]Registration, 0, len(roots))
	for _, root := range roots {
		documents = append(documents, r.registration(root))
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	return documents, nil
}

// reader reads the documents of one file.
type reader struct{ manifest.Reader }

func (r *reader) registration(n *yaml.Node) Registration {
	name, spec := r.Document(n, APIVersion, KindRegistration, specKeys, specKeys)
	d := Registration{file: r.File, line: n.Line, name: name}
	if spec != nil {
		d.id = r.spiffeID(spec["spiffeID"])
		d.selectors = r.selectors(spec["selectors"])
	}
	return d
}

func (r *reader) spiffeID(n *yaml.Node) spiffeid.ID {
	const field = "spec.spiffeID"
	text, ok := r.Text(n, field)
	if !ok {
		return spiffeid.ID{}
	}
	id, err := spiffeid.FromString(text)
	switch {
	case err != nil:
		r.Fail(n, field, "%q is no SPIFFE ID (%v): write spiffe://<trust domain>/ns/<namespace>/<app>", text, err)
	case id.Path() == "":
		r.Fail(n, field, "%q names a trust domain and no workload: add /ns/<namespace>/<app>", text)
	}
	return id
}

func (r *reader) selectors(n *yaml.Node) []selector {
	const field = "spec.selectors"
	if n == nil {
		return nil
	}
	values, ok := r.Members(n, field, selectorKeys[:], nil)
	if !ok {
		return nil
	}
	var selectors []selector
	kernel := false
	for _, key := range selectorKeys {
		value, ok := r.Text(values[key], field+"."+key)
		if !ok {
			continue
		}
		s := selector{key: key, want: value}
		if err := s.check(); err != nil {
			r.Fail(values[key], field+"."+key, "%v", err)
		}
		selectors = append(selectors, s)
	}
	for key := range values {
		kernel = kernel || strings.HasPrefix(key, kernelSelectors)
	}
	if !kernel {
		r.Fail(n, field, "the kernel is asked nothing: add one of %s, since an app ID is the process's own word",
			strings.Join(slices.DeleteFunc(slices.Clone(selectorKeys[:]), func(key string) bool {
				return !strings.HasPrefix(key, kernelSelectors)
			}), ", "))
	}
	return selectors
}
