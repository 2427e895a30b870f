// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxComponentFile limits the size of a component file; real ones have a kilobyte.
const maxComponentFile = 1 << 20

// component is what is read of a Dapr Component.
type component struct {
	Kind     string `yaml:"kind"`
	Metadata struct {
		Name string `yaml:"name"`
	} `yaml:"metadata"`
	Spec struct {
		Type     string     `yaml:"type"`
		Version  string     `yaml:"version"`
		Metadata []property `yaml:"metadata"`
	} `yaml:"spec"`
}

type property struct {
	Name         string `yaml:"name"`
	Value        any    `yaml:"value"`
	EnvRef       string `yaml:"envRef"`
	SecretKeyRef any    `yaml:"secretKeyRef"`
}

// loadComponent reads the one state store of a file: that with actorStateStore, if there are several.
func loadComponent(file string) (*component, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxComponentFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", file, maxComponentFile)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var stores, actors []*component
	for decoder := yaml.NewDecoder(bytes.NewReader(text)); ; {
		c := &component{}
		err := decoder.Decode(c)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if c.Kind != "Component" || !strings.HasPrefix(c.Spec.Type, "state.") {
			continue
		}
		stores = append(stores, c)
		if c.forActors() {
			actors = append(actors, c)
		}
	}
	switch {
	case len(actors) == 1:
		return actors[0], nil
	case len(stores) == 1:
		return stores[0], nil
	case len(stores) == 0:
		return nil, fmt.Errorf("%s holds no Component of a type state.*", file)
	}
	return nil, fmt.Errorf("%s holds %d state stores, and not one of them alone has actorStateStore: true; name a file with one", file, len(stores))
}

func (c *component) forActors() bool {
	for _, p := range c.Spec.Metadata {
		if strings.EqualFold(p.Name, "actorStateStore") {
			return strings.EqualFold(fmt.Sprint(p.Value), "true")
		}
	}
	return false
}

// properties gives the metadata as the store takes it.
func (c *component) properties(getenv func(string) string) (map[string]string, error) {
	properties := map[string]string{}
	for _, p := range c.Spec.Metadata {
		switch {
		case p.SecretKeyRef != nil:
			return nil, fmt.Errorf("component %s: %s is a secret, which cannot be looked up here; give a file with envRef in its place", c.Metadata.Name, p.Name)
		case p.EnvRef != "":
			properties[p.Name] = getenv(p.EnvRef)
		case p.Value == nil:
			properties[p.Name] = ""
		default:
			properties[p.Name] = fmt.Sprint(p.Value)
		}
	}
	return properties, nil
}

// drop takes out a property, whatever the case of its name.
func drop(properties map[string]string, name string) {
	for key := range properties {
		if strings.EqualFold(key, name) {
			delete(properties, key)
		}
	}
}

func get(properties map[string]string, name string) (key, value string) {
	for key, value := range properties {
		if strings.EqualFold(key, name) {
			return key, value
		}
	}
	return name, ""
}
