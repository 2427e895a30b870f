// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package identity

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"gopkg.in/yaml.v3"
)

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

const maxName = 253

var (
	documentKeys = []string{"apiVersion", "kind", "metadata", "spec"}
	metadataKeys = []string{"name"}
	specKeys     = []string{"spiffeID", "selectors"}
)

// ParseRegistrations reads the WorkloadRegistration documents of one file; file is
// the name to use in errors. Documents that are empty or hold only comments are
// passed over, but a file must hold at least one. It is strict: whatever it does
// not understand is an error, and any error means that no document is returned.
// The error wraps one [*RegistrationError] for each thing that is wrong.
func ParseRegistrations(file string, data []byte) ([]Registration, error) {
	r := &reader{file: file}
	if !r.readable(data) {
		return nil, r.err()
	}
	var documents []Registration
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			r.syntax(err)
			break
		}
		if len(doc.Content) != 1 || isNull(doc.Content[0]) {
			continue
		}
		if len(documents) == MaxRegistrations {
			r.fail(doc.Content[0], "", "more than %d documents in one file: split it", MaxRegistrations)
			break
		}
		documents = append(documents, r.registration(doc.Content[0]))
	}
	if len(documents) == 0 && len(r.wrong) == 0 {
		r.add(1, "", "the file holds no registration: add a document with kind: %s, or remove the file", KindRegistration)
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return documents, nil
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Tag == "!!null" && n.Anchor == "" && n.Value == ""
}

func (r *reader) registration(n *yaml.Node) Registration {
	d := Registration{file: r.file, line: n.Line}
	m := r.members(n, "", documentKeys)
	r.constant(m["apiVersion"], "apiVersion", APIVersion)
	r.constant(m["kind"], "kind", KindRegistration)
	if node := m["metadata"]; node != nil {
		d.name = r.name(r.members(node, "metadata", metadataKeys)["name"])
	}
	if node := m["spec"]; node != nil {
		spec := r.members(node, "spec", specKeys)
		d.id = r.spiffeID(spec["spiffeID"])
		d.selectors = r.selectors(spec["selectors"])
	}
	return d
}

func (r *reader) constant(n *yaml.Node, field, want string) {
	if got, ok := r.text(n, field); ok && got != want {
		r.fail(n, field, "%q is not supported: write %s", got, want)
	}
}

// name takes a DNS subdomain, as Kubernetes does for names of objects.
func (r *reader) name(n *yaml.Node) string {
	const field, ends = "metadata.name", "abcdefghijklmnopqrstuvwxyz0123456789"
	name, ok := r.text(n, field)
	if !ok {
		return ""
	}
	if strings.Trim(name, ends+"-.") != "" || len(name) > maxName ||
		!strings.Contains(ends, name[:1]) || !strings.Contains(ends, name[len(name)-1:]) {
		r.fail(n, field, "%q is not a legal name: use lower case letters, digits, dashes and dots, "+
			"with a letter or digit at both ends, %d at most", name, maxName)
	}
	return name
}

func (r *reader) spiffeID(n *yaml.Node) spiffeid.ID {
	const field = "spec.spiffeID"
	text, ok := r.text(n, field)
	if !ok {
		return spiffeid.ID{}
	}
	id, err := spiffeid.FromString(text)
	switch {
	case err != nil:
		r.fail(n, field, "%q is no SPIFFE ID (%v): write spiffe://<trust domain>/ns/<namespace>/<app>", text, err)
	case id.Path() == "":
		r.fail(n, field, "%q names a trust domain and no workload: add /ns/<namespace>/<app>", text)
	}
	return id
}

func (r *reader) selectors(n *yaml.Node) []selector {
	const field = "spec.selectors"
	if n == nil || !r.mapping(n, field, selectorKeys[:]) {
		return nil
	}
	values := r.pairs(n, field, selectorKeys[:])
	var selectors []selector
	kernel := false
	for _, key := range selectorKeys {
		value, ok := r.text(values[key], field+"."+key)
		if !ok {
			continue
		}
		s := selector{key: key, want: value}
		if err := s.check(); err != nil {
			r.fail(values[key], field+"."+key, "%v", err)
		}
		selectors = append(selectors, s)
	}
	for key := range values {
		kernel = kernel || strings.HasPrefix(key, kernelSelectors)
	}
	if !kernel {
		r.fail(n, field, "the kernel is asked nothing: add one of %s, since an app ID is the process's own word",
			strings.Join(slices.DeleteFunc(slices.Clone(selectorKeys[:]), func(key string) bool {
				return !strings.HasPrefix(key, kernelSelectors)
			}), ", "))
	}
	return selectors
}
