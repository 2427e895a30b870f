// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

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
	name, namespace string
	scopes          []string // none means all apps of the namespace
	properties      map[string]string
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
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("stores: %w", err)
		}
		if err := s.read(file, text, lookup); err != nil {
			return nil, err
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

func has(properties map[string]string, name string) bool { _, ok := properties[name]; return ok }

// meets says whether a document is for an app which has a component of the same name.
func (s *stores) meets(d *storeDocument) bool {
	return slices.ContainsFunc(s.documents, func(other *storeDocument) bool {
		return other.name == d.name && other.namespace == d.namespace && (len(d.scopes) == 0 || len(other.scopes) == 0 ||
			slices.ContainsFunc(d.scopes, func(app string) bool { return slices.Contains(other.scopes, app) }))
	})
}

// metadata gives what the operator wrote of a component of a caller. What the sidecar said may be less, but not other.
func (s *stores) metadata(caller identity.Caller, name string, said map[string]string) (map[string]string, error) {
	for _, d := range s.documents {
		if d.name != name || caller.IsZero() || caller.ID().TrustDomain() != s.domain ||
			d.namespace != caller.Namespace() || len(d.scopes) > 0 && !slices.Contains(d.scopes, caller.AppID()) {
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
