// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package identity

import (
	"fmt"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"gopkg.in/yaml.v3"
)

// FormatRegistration writes a WorkloadRegistration document, for one who starts
// workloads and registers each, as `custody up` does. selectors maps the Selector
// constants to values. What would not be read back is an error. Write it to a file
// of another name beside and rename, so that nobody reads half of it.
func FormatRegistration(name string, id spiffeid.ID, selectors map[string]string) ([]byte, error) {
	type metadata struct {
		Name string `yaml:"name"`
	}
	type spec struct {
		ID        string            `yaml:"spiffeID"`
		Selectors map[string]string `yaml:"selectors"`
	}
	data, err := yaml.Marshal(struct {
		APIVersion string   `yaml:"apiVersion"`
		Kind       string   `yaml:"kind"`
		Metadata   metadata `yaml:"metadata"`
		Spec       spec     `yaml:"spec"`
	}{APIVersion, KindRegistration, metadata{name}, spec{id.String(), selectors}})
	if err != nil {
		return nil, fmt.Errorf("identity: write a workload registration: %w", err)
	}
	if _, err := ParseRegistrations(name, data); err != nil {
		return nil, err
	}
	return data, nil
}
