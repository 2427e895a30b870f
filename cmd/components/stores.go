// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/identity"
)

// guardedType is the type of the components that callers may open.
const guardedType = "state.custody"

// daprdReads are the properties of a state component that mean something to daprd alone, in lower case. A sidecar may say
// of them what it wants (Dapr pkg/components/state/state_config.go, pkg/encryption, pkg/outbox).
var daprdReads = []string{
	"actorstatestore", "keyprefix", "primaryencryptionkey", "secondaryencryptionkey",
	"outboxpublishpubsub", "outboxpublishtopic", "outboxpubsub", "outboxdiscardwhenmissingstate",
}

// stores are the state stores that the operator lets callers open. What a component is called and where its rows are
// comes from a sidecar, which could name any file and any server that the component server gets at: so only those count
// that stand here, with the metadata that stands here.
type stores struct {
	domain    spiffeid.TrustDomain
	namespace string
	documents []*storeDocument
}

// storeDocument is a Component of Dapr.
type storeDocument struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   struct {
		Name      string `yaml:"name"`
		Namespace string `yaml:"namespace"`
	} `yaml:"metadata"`
	Spec struct {
		Type         string `yaml:"type"`
		Version      string `yaml:"version"`
		InitTimeout  string `yaml:"initTimeout"`
		IgnoreErrors bool   `yaml:"ignoreErrors"`
		Metadata     []struct {
			Name   string    `yaml:"name"`
			Value  yaml.Node `yaml:"value"`
			EnvRef string    `yaml:"envRef"`
		} `yaml:"metadata"`
	} `yaml:"spec"`
	Scopes []string `yaml:"scopes"`

	properties map[string]string
}

// loadStores reads the Components of a file, or of a folder's .yaml and .yml files. "" is none. Those that say no
// namespace are for the given one, and those without scopes for all apps of their namespace.
func loadStores(path string, domain spiffeid.TrustDomain, namespace string, lookup func(string) (string, bool)) (*stores, error) {
	s := &stores{domain: domain, namespace: namespace}
	if path == "" {
		return s, nil
	}
	files, err := filesOf(path)
	if err != nil {
		return nil, fmt.Errorf("stores: %w", err)
	}
	for _, file := range files {
		if err := s.read(file, lookup); err != nil {
			return nil, fmt.Errorf("stores: %s: %w", file, err)
		}
	}
	return s, nil
}

func filesOf(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return []string{path}, err
	}
	entries, err := os.ReadDir(path)
	var files []string
	for _, entry := range entries {
		if ending := filepath.Ext(entry.Name()); ending == ".yaml" || ending == ".yml" {
			files = append(files, filepath.Join(path, entry.Name()))
		}
	}
	return files, err
}

func (s *stores) read(file string, lookup func(string) (string, bool)) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if len(text) > maxComponentFile {
		return fmt.Errorf("is larger than %d bytes", maxComponentFile)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	for {
		d := &storeDocument{}
		err := decoder.Decode(d)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = d.settle(lookup)
		}
		if err == nil {
			d.Metadata.Namespace = cmp.Or(d.Metadata.Namespace, s.namespace)
			err = s.add(d)
		}
		if err != nil {
			return plainYAML(err)
		}
	}
}

var ownType = regexp.MustCompile(` in type .*|yaml: (unmarshal errors:\n\s*)?`)

func plainYAML(err error) error { return errors.New(ownType.ReplaceAllString(err.Error(), "")) }

// settle checks a document and gives it its properties.
func (d *storeDocument) settle(lookup func(string) (string, bool)) error {
	switch {
	case d.APIVersion != "dapr.io/v1alpha1" || d.Kind != "Component" || d.Spec.Type != guardedType:
		return fmt.Errorf("holds a %s of type %q: keep only Components of type %s here", cmp.Or(d.Kind, "document"), d.Spec.Type, guardedType)
	case d.Metadata.Name == "":
		return errors.New("metadata.name: is missing")
	}
	d.properties = map[string]string{}
	for i, p := range d.Spec.Metadata {
		at := fmt.Sprintf("component %s: spec.metadata[%d]", d.Metadata.Name, i)
		if name, _ := get(d.properties, p.Name); p.Name == "" || has(d.properties, name) {
			return fmt.Errorf("%s: %q is empty or given twice", at, p.Name)
		}
		value := p.Value.Value
		switch {
		case p.EnvRef != "" && !p.Value.IsZero():
			return fmt.Errorf("%s: %s has both value and envRef: keep one", at, p.Name)
		case p.EnvRef != "":
			var found bool
			if value, found = lookup(p.EnvRef); !found {
				return fmt.Errorf("%s: %s: the component server has no %s in its environment", at, p.Name, p.EnvRef)
			}
		case p.Value.Kind != yaml.ScalarNode:
			return fmt.Errorf("%s: %s: write value, as text, or envRef", at, p.Name)
		}
		d.properties[p.Name] = value
	}
	return nil
}

func has(properties map[string]string, name string) bool { _, ok := properties[name]; return ok }

// add refuses a document that is for an app which has a component of the same name.
func (s *stores) add(d *storeDocument) error {
	for _, other := range s.documents {
		if other.Metadata.Name != d.Metadata.Name || other.Metadata.Namespace != d.Metadata.Namespace {
			continue
		}
		if len(d.Scopes) == 0 || len(other.Scopes) == 0 || slices.ContainsFunc(d.Scopes, func(app string) bool { return slices.Contains(other.Scopes, app) }) {
			return fmt.Errorf("component %s: two documents are for the same app: give each the scopes of its own", d.Metadata.Name)
		}
	}
	s.documents = append(s.documents, d)
	return nil
}

// metadata gives what the operator wrote of a component of a caller. What the sidecar said may be less, but not other.
func (s *stores) metadata(caller identity.Caller, name string, said map[string]string) (map[string]string, error) {
	for _, d := range s.documents {
		if d.Metadata.Name != name || caller.IsZero() || caller.ID().TrustDomain() != s.domain ||
			d.Metadata.Namespace != caller.Namespace() || len(d.Scopes) > 0 && !slices.Contains(d.Scopes, caller.AppID()) {
			continue
		}
		for key, value := range said {
			own, wanted := get(d.properties, key)
			if !slices.Contains(daprdReads, strings.ToLower(key)) && (!has(d.properties, own) || wanted != value) {
				return nil, fmt.Errorf("metadata %q is not what the component server's file says of this store: remove it, or write the same", key)
			}
		}
		return maps.Clone(d.properties), nil
	}
	return nil, fmt.Errorf("the component server has no store of this name for %s: add it to spec.stores of its file", caller.ID())
}
