// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/evidence"
	"github.com/dapr-custody/custody/internal/history"
	"github.com/dapr-custody/custody/internal/localdomain"
)

// componentsBinary speaks to databases, which custody does not.
const componentsBinary = "custody-components"

// storeFlags say where histories are read, and against what they are verified.
type storeFlags struct {
	components          []string
	rows                string
	app, namespace      string
	bundle, trustDomain string
}

func (f *storeFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVar(&f.components, "component", nil,
		"`file` with the Dapr Component of the actor state store, or a folder of such files; may be given several times")
	flags.StringVar(&f.rows, "rows", "", "file with rows that custody-components history printed")
	flags.StringVar(&f.app, "app", "", "only instances of this app")
	flags.StringVar(&f.namespace, "namespace", "", "only instances of this namespace")
}

func (f *storeFlags) addBundle(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.bundle, "trust-bundle", "", "file with the roots that are trusted; that of custody up by default")
	flags.StringVar(&f.trustDomain, "trust-domain", "", "trust domain of the bundle, where it does not say so itself")
}

// store is one state store that histories are read from.
type store struct {
	component string
	// dir is the folder that paths in the component are relative to.
	dir string
}

// stores finds those to read.
func (f *storeFlags) stores() ([]store, error) {
	if len(f.components) > 0 {
		return f.namedStores()
	}
	runs, err := knownRuns()
	if err != nil {
		return nil, err
	}
	var found []store
	for _, run := range runs {
		if run.File == "" {
			continue
		}
		file, err := localdomain.LoadRunFile(run.File)
		if err != nil {
			if run.Alive() {
				return nil, usage(err)
			}
			continue // a run of the past, whose files have changed
		}
		for _, app := range file.Apps {
			for _, folder := range app.ResourcesPaths {
				components, err := actorStores(folder)
				if err != nil {
					return nil, usage(err)
				}
				for _, c := range components {
					if s := (store{component: c, dir: file.Dir()}); !slices.Contains(found, s) {
						found = append(found, s)
					}
				}
			}
		}
	}
	if len(found) == 0 {
		return nil, usage(errors.New("no actor state store was found: give --component FILE, or start a run with custody up whose resources have one"))
	}
	return found, nil
}

// namedStores are those of the flag, each once.
func (f *storeFlags) namedStores() ([]store, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, usage(err)
	}
	var found []store
	for _, name := range f.components {
		file, err := filepath.Abs(name)
		if err != nil {
			return nil, usage(err)
		}
		files := []string{file}
		if info, err := os.Stat(file); err != nil {
			return nil, usage(fmt.Errorf("--component: %w", err))
		} else if info.IsDir() {
			if files, err = actorStores(file); err != nil {
				return nil, usage(err)
			}
			if len(files) == 0 {
				return nil, usage(fmt.Errorf(`--component %s: no file of the folder has a state store with actorStateStore: "true"`, name))
			}
		}
		for _, file := range files {
			if s := (store{component: file, dir: dir}); !slices.Contains(found, s) {
				found = append(found, s)
			}
		}
	}
	return found, nil
}

func knownRuns() ([]localdomain.Run, error) {
	home, err := homeFolder()
	if err != nil {
		return nil, usage(err)
	}
	runs, err := localdomain.Runs(home)
	if err != nil {
		return nil, usage(err)
	}
	return runs, nil
}

// actorStores gives the files of a resources folder with a state store that actors use.
func actorStores(folder string) ([]string, error) {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var files []string
	for _, entry := range entries {
		if ext := filepath.Ext(entry.Name()); entry.IsDir() || ext != ".yaml" && ext != ".yml" {
			continue
		}
		file := filepath.Join(folder, entry.Name())
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if isActorStore(text) {
			files = append(files, file)
		}
	}
	return files, nil
}

// isActorStore says whether a file has such a component. What cannot be read is daprd's to complain about.
func isActorStore(text []byte) bool {
	for decoder := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var c struct {
			Kind string
			Spec struct {
				Type     string
				Metadata []struct {
					Name  string
					Value any
				}
			}
		}
		if decoder.Decode(&c) != nil {
			return false
		}
		for _, p := range c.Spec.Metadata {
			if c.Kind == "Component" && strings.HasPrefix(c.Spec.Type, "state.") && strings.EqualFold(p.Name, "actorStateStore") &&
				strings.EqualFold(fmt.Sprint(p.Value), "true") {
				return true
			}
		}
	}
}

// read gives the rows of the instances that are asked for to visit, with the file of the store that has them; instance ""
// are all.
func (f *storeFlags) read(ctx context.Context, instance string, summary bool, visit func(from string, rows history.Rows) error) error {
	wanted := func(from string, r history.Rows) error {
		if f.app != "" && r.App != f.app || f.namespace != "" && r.Namespace != f.namespace || instance != "" && r.Instance != instance {
			return nil
		}
		return visit(from, r)
	}
	if f.rows != "" {
		if len(f.components) > 0 {
			return usage(errors.New("give --component or --rows, not both"))
		}
		file, err := os.Open(f.rows)
		if err != nil {
			return usage(err)
		}
		defer file.Close()
		return usageUnlessCoded(decodeRows(f.rows, file, wanted))
	}
	stores, err := f.stores()
	if err != nil {
		return err
	}
	args := []string{"history"}
	for flag, value := range map[string]string{"--app": f.app, "--namespace": f.namespace, "--instance": instance} {
		if value != "" {
			args = append(args, flag+"="+value)
		}
	}
	if summary {
		args = append(args, "--summary")
	}
	for _, s := range stores {
		if err := s.read(ctx, args, wanted); err != nil {
			return usageUnlessCoded(err)
		}
	}
	return nil
}

func usageUnlessCoded(err error) error {
	var coded *exitError
	if err == nil || errors.As(err, &coded) {
		return err
	}
	return usage(err)
}

// read runs the reader.
func (s store) read(ctx context.Context, args []string, visit func(string, history.Rows) error) error {
	reader, err := besideMe(componentsBinary)
	if err != nil {
		return err
	}
	if _, err := os.Stat(reader); err != nil {
		return fmt.Errorf("%s, which reads state stores, is not beside custody: %w", componentsBinary, err)
	}
	cmd := exec.CommandContext(ctx, reader, append(args, "--component", s.component)...)
	cmd.Dir = s.dir
	var messages bytes.Buffer
	cmd.Stderr = &messages
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	visited := decodeRows(s.component, out, visit)
	if visited != nil {
		_, err := io.Copy(io.Discard, out) // so that it ends
		visited = errors.Join(visited, err)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("reading the store of %s: %s (%w)", s.component, strings.TrimSpace(plainLines(messages.String())), err)
	}
	return visited
}

// plainLines is plain for what may have several lines.
func plainLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = plain(line)
	}
	return strings.Join(lines, "\n")
}

func decodeRows(name string, in io.Reader, visit func(string, history.Rows) error) error {
	for decoder := json.NewDecoder(in); ; {
		var rows history.Rows
		err := decoder.Decode(&rows)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s does not hold rows as %s prints them: %w", name, componentsBinary, err)
		}
		if err := visit(name, rows); err != nil {
			return err
		}
	}
}

// located are rows and the file of the store that has them.
type located struct {
	history.Rows
	from string
}

// one gives the rows of the one instance of that ID. Without any, they are empty if the app is known by its flag, and
// otherwise an error.
func (f *storeFlags) one(ctx context.Context, instance string) (history.Rows, error) {
	var found []located
	err := f.read(ctx, instance, false, func(from string, r history.Rows) error {
		found = append(found, located{r, from})
		return nil
	})
	switch {
	case err != nil:
		return history.Rows{}, err
	case len(found) > 1:
		return history.Rows{}, usage(several(found))
	case len(found) == 1:
		return found[0].Rows, nil
	case f.app == "":
		read, err := f.readText()
		if err != nil {
			return history.Rows{}, err
		}
		return history.Rows{}, usage(fmt.Errorf("nothing is stored of an instance %q in %s; give --app if it was there, to hold it against the log, "+
			"or the store of its app by --component", instance, read))
	}
	namespace := f.namespace
	if namespace == "" {
		namespace = "default"
	}
	return history.Rows{App: f.app, Namespace: namespace, Instance: instance}, nil
}

// several says why more than one history of an ID cannot be read: two stores have one of the same app, or several apps do.
func several(found []located) error {
	for i, b := range found {
		for _, a := range found[:i] {
			if a.App == b.App && a.Namespace == b.Namespace {
				return fmt.Errorf("two stores have instance %q of app %s in namespace %s: that of %s and that of %s; give the one that the app uses, "+
					"or only one of them where both are the same store", a.Instance, a.App, a.Namespace, a.from, b.from)
			}
		}
	}
	a, b := found[0], found[1]
	return fmt.Errorf("instance %q is one of app %s in namespace %s and of app %s in %s; give --app and --namespace",
		a.Instance, a.App, a.Namespace, b.App, b.Namespace)
}

// readText names what is read.
func (f *storeFlags) readText() (string, error) {
	if f.rows != "" {
		return f.rows, nil
	}
	stores, err := f.stores()
	if err != nil {
		return "", err
	}
	names := make([]string, len(stores))
	for i, s := range stores {
		names[i] = s.component
	}
	return strings.Join(names, ", "), nil
}

// bundles gives the roots: those of the flag, else those that the runs of custody up leave. Nil means that there are none.
func (f *storeFlags) bundles() (x509bundle.Source, error) {
	file, trustDomain := f.bundle, f.trustDomain
	if file == "" {
		home, err := homeFolder()
		if err != nil {
			return nil, usage(err)
		}
		file = filepath.Join(home, localdomain.RootsFile)
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if trustDomain == "" {
			if trustDomain, err = runTrustDomain(); err != nil {
				return nil, err
			}
		}
	}
	source, err := evidence.LoadTrustBundle(file, trustDomain)
	if errors.Is(err, evidence.ErrNoTrustDomain) {
		return nil, usage(fmt.Errorf("%s does not say what trust domain it is of: give --trust-domain", file))
	}
	if err != nil {
		return nil, usage(err)
	}
	return source, nil
}

// runTrustDomain is the one that all apps of all runs are in; "" if there are several or none.
func runTrustDomain() (string, error) {
	runs, err := knownRuns()
	if err != nil {
		return "", err
	}
	domain := ""
	for _, run := range runs {
		for _, app := range run.Workloads() {
			if domain != "" && app.TrustDomain != domain {
				return "", nil
			}
			domain = app.TrustDomain
		}
	}
	return domain, nil
}
