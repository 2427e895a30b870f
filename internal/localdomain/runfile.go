// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxRunFile limits the size of a run file; real ones have a few kilobytes.
const maxRunFile = 1 << 20

// RunFile is a Dapr multi-app run file after all its defaults were applied. It
// can only be made by LoadRunFile, which checks everything that can be checked
// without starting anything.
type RunFile struct {
	// Path is the absolute path of the file.
	Path string
	// Name is the file's name field, else the name of its folder.
	Name string
	// Apps holds the apps in the order of the file; never empty.
	Apps []App
	// Notices name the fields that are valid but without effect here.
	Notices []Problem
}

// Dir is the folder of the run file.
func (f *RunFile) Dir() string { return filepath.Dir(f.Path) }

// App is one app of a run file, with the values of the common section merged
// in and all paths absolute.
type App struct {
	ID        string
	Namespace string
	Dir       string
	Command   []string
	// Env is the env section, without what Custody adds.
	Env      map[string]string
	Protocol string

	// The ports that the file names. AppPort 0 means that the app does not
	// listen; any other port that is 0 is chosen when the run starts.
	AppPort, HTTPPort, GRPCPort, InternalPort, MetricsPort, ProfilePort Port

	ConfigFile     string // "" if there is none
	ResourcesPaths []string

	AppLog, DaprdLog LogDestination

	// DaprdFlags are the flags of daprd that fields of the file stand for.
	DaprdFlags []string

	line int // of its ID
}

// Port is a port number and the line of the run file that names it.
type Port struct {
	Number int
	Line   int
}

// LogDestination says where the output of a process is shown. Whatever it
// says, the run folder keeps the output as long as the run lives.
type LogDestination string

// The destinations of the run file format.
const (
	LogConsole        LogDestination = "console"
	LogFile           LogDestination = "file"
	LogFileAndConsole LogDestination = "fileAndConsole"
)

func (d LogDestination) console() bool { return d != LogFile }

// LoadRunFile reads the run file at path; if path is a folder, the dapr.yaml in
// it. Paths of the common section are relative to the folder of the file, paths
// of an app relative to its appDirPath, as in Dapr. A *FileError lists every
// problem at once.
func LoadRunFile(path string) (*RunFile, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, "dapr.yaml")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("localdomain: run file: %w", err)
	}
	text, problem := readLimited(path)
	if problem != nil {
		return nil, &FileError{Problems: []Problem{*problem}}
	}
	return parseRunFile(path, abs, text)
}

func parseRunFile(shown, abs string, text []byte) (*RunFile, error) {
	p := &runFileParser{shown: shown, file: &RunFile{Path: abs}}
	if root := p.document(text); root != nil {
		p.top(root)
	}
	if len(p.problems) > 0 {
		slices.SortStableFunc(p.problems, func(a, b Problem) int { return a.Line - b.Line })
		return nil, &FileError{Problems: p.problems}
	}
	return p.file, nil
}

func readLimited(path string) ([]byte, *Problem) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &Problem{File: path, Message: "no such file; name the run file with -f"}
	case err != nil:
		return nil, &Problem{File: path, Message: "cannot be read: " + err.Error()}
	case info.Size() > maxRunFile:
		return nil, &Problem{File: path, Message: fmt.Sprintf("larger than %d bytes; this is no run file", maxRunFile)}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, &Problem{File: path, Message: "cannot be read: " + err.Error()}
	}
	return text, nil
}

// runFileParser walks the nodes of one file and gathers problems.
type runFileParser struct {
	shown    string
	file     *RunFile
	problems []Problem
}

func (p *runFileParser) fail(line int, field, format string, args ...any) {
	p.problems = append(p.problems, Problem{p.shown, line, field, fmt.Sprintf(format, args...)})
}

func (p *runFileParser) notice(line int, field, message string) {
	p.file.Notices = append(p.file.Notices, Problem{p.shown, line, field, message})
}

// document gives the mapping at the root, or nil after it told the problem.
func (p *runFileParser) document(text []byte) *yaml.Node {
	for i, line := range strings.Split(string(text), "\n") {
		if rest := strings.TrimLeft(line, " "); strings.HasPrefix(rest, "\t") {
			p.fail(i+1, "", "a tab indents this line; YAML wants spaces")
		}
	}
	if len(p.problems) > 0 {
		return nil
	}
	dec := yaml.NewDecoder(strings.NewReader(string(text)))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		p.fail(0, "", "the file is empty; a run file is a mapping with the keys version and apps")
		return nil
	case err != nil:
		p.fail(yamlErrorLine(err), "", "not valid YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
		return nil
	}
	var more yaml.Node
	if err := dec.Decode(&more); err == nil {
		p.fail(more.Line, "", "a second YAML document; a run file has one")
		return nil
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		p.fail(1, "", "a run file is a mapping with the keys version and apps")
		return nil
	}
	return doc.Content[0]
}

// yamlErrorLine takes the line out of "yaml: line 3: ...".
func yamlErrorLine(err error) int {
	_, rest, ok := strings.Cut(err.Error(), "line ")
	if !ok {
		return 0
	}
	number, _, _ := strings.Cut(rest, ":")
	line, err := strconv.Atoi(number)
	if err != nil {
		return 0
	}
	return line
}
