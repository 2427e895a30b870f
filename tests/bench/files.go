// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// daprdFolder is what the sidecars of one daprd read.
type daprdFolder struct {
	path  string
	files map[string]string // by path in the folder
}

// makeFolder makes one for everything that a part of the bench writes.
func (s settings) makeFolder() (string, error) {
	folder, err := os.MkdirTemp(s.dir, "custody-bench-")
	if err != nil {
		return "", err
	}
	return filepath.Abs(folder)
}

func newFolder(path, daprd string) *daprdFolder {
	d := &daprdFolder{path: path, files: map[string]string{
		"policies/bench.yaml": guardPolicy,
		"none/.keep":          "",
		callerApp + ".yaml":   configuration(callerApp, ""),
		"dapr.yaml":           "version: 1\nname: bench-" + daprd + "\napps:\n",
	}}
	d.addApp(callerApp, "none")
	return d
}

const trustDomain = "  accessControl: {trustDomain: custody.local}\n"

func configuration(name, spec string) string {
	return fmt.Sprintf("apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {name: %s}\nspec:\n", name) + trustDomain + spec
}

// addApp puts an app into the run file. Its command only keeps it there: the
// load comes from this program, and the callees' app is the MCP server.
func (d *daprdFolder) addApp(id, resources string) {
	d.files["dapr.yaml"] += fmt.Sprintf(
		"- {appID: %s, appDirPath: ., configFilePath: %[1]s.yaml, resourcesPath: %s, command: [sleep, infinity]}\n", id, resources)
}

func (d *daprdFolder) addCallee(v variant) {
	if v.middleware == "" {
		d.files[v.name+".yaml"] = configuration(v.name, "")
		d.addApp(v.name, "none")
		return
	}
	d.files[v.name+".yaml"] = configuration(v.name,
		fmt.Sprintf("  appHttpPipeline:\n    handlers: [{name: bench, type: %s}]\n", v.middleware))
	resources := "resources-" + v.name
	d.files[resources+"/bench.yaml"] = component("bench", v.middleware, strings.ReplaceAll(v.metadata, folderMark, d.path))
	d.addApp(v.name, resources)
}

func component(name, kind, metadata string) string {
	return fmt.Sprintf("apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {name: %s}\nspec:\n  type: %s\n  version: v1\n  metadata:\n", name, kind) + metadata
}

func (d *daprdFolder) write() error {
	for name, text := range d.files {
		path := filepath.Join(d.path, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}
