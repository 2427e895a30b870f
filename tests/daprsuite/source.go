// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// patches are the files that the framework gets.
//
//go:embed patch
var patches embed.FS

// framework is where Dapr keeps what starts the processes of its tests.
const framework = "tests/integration/framework/process"

// A change puts text after text that stands once in a file of Dapr's suite.
type change struct{ file, after, put string }

// optionsApplied is where a process knows what its case asked for.
const optionsApplied = "\tfor _, fopt := range fopts {\n\t\tfopt(&opts)\n\t}\n"

func changes() []change {
	const secured = "\n\tsecured(t, &opts)\n"
	const starts = ".ports.Free(t)\n"
	const started = "\t\tsentry.RunImplied(t, ctx)\n"
	const imports = "\t\"github.com/dapr/dapr/tests/integration/framework/process/ports\"\n"
	const sentry = "\t\"github.com/dapr/dapr/tests/integration/framework/process/sentry\"\n"
	return []change{
		{framework + "/daprd/daprd.go", optionsApplied, secured + "\twitnessed(t, &opts)\n"},
		{framework + "/daprd/daprd.go", "d" + starts, started},
		{framework + "/daprd/daprd.go", imports, sentry},
		{framework + "/placement/placement.go", optionsApplied, secured},
		{framework + "/placement/placement.go", "p" + starts, started},
		{framework + "/placement/placement.go", imports, sentry},
		{framework + "/scheduler/scheduler.go", optionsApplied, secured},
		{framework + "/scheduler/scheduler.go", "s" + starts, started},
	}
}

// suites are the only ones that are built.
const suites = `package integration

import _ "github.com/dapr/dapr/tests/integration/suite/daprd/workflow"
`

// copyOut copies Dapr's module to dir and changes its framework, so that cases without an identity get one, and a store
// can stand behind state.custody.
func copyOut(module, dir string) error {
	if err := os.CopyFS(dir, os.DirFS(module)); err != nil {
		return err
	}
	for _, c := range changes() {
		if err := c.apply(dir); err != nil {
			return err
		}
	}
	for _, name := range []string{"daprd", "placement", "scheduler", "sentry"} {
		text, err := patches.ReadFile("patch/" + name + ".go.txt")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, framework, name, "custody.go"), text, 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "tests/integration/import.go"), []byte(suites), 0o600)
}

func (c change) apply(dir string) error {
	path := filepath.Join(dir, c.file)
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if n := strings.Count(string(text), c.after); n != 1 {
		return fmt.Errorf("%s: %q stands there %d times, not once: this version of Dapr has another test framework, change source.go", c.file, c.after, n)
	}
	return os.WriteFile(path, []byte(strings.Replace(string(text), c.after, c.after+c.put, 1)), 0o600)
}
