// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dapr-custody/custody/internal/localdomain"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/policydir"
)

// policyFolder is the folder of policy files that a command is about.
type policyFolder struct {
	source policySource
	dir    string
	app    string
	// apps are those of the runs, by the status file of their sidecar's guard.
	apps map[string]localdomain.RunApp
	// domains are the trust domains of the registered apps and the local one.
	domains []string
}

func (p *policyFolder) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.dir, "dir", "", "folder of policy files; else that of the guards of the runs that \"custody ps\" lists")
	cmd.Flags().StringVar(&p.app, "app", "", "take the policy folder of the guard of this app")
	p.source.addDomainFlags(cmd)
}

// policyFolderHelp is part of what the commands say about themselves.
const policyFolderHelp = `
The policy folder is that of --dir, else the one that the guards of the runs
watch which "custody ps" lists; if they watch several, --app names the guard.`

// find settles which folder it is and where app IDs belong.
func (p *policyFolder) find(cmd *cobra.Command) error {
	if p.dir != "" && p.app != "" {
		return usage(errors.New("--dir and --app both name a policy folder: give one of them"))
	}
	guards, apps, err := registered()
	if err != nil {
		if p.dir == "" {
			return usage(err)
		}
		// What is wrong with a run must not stand in the way of a folder that is named.
		fmt.Fprintln(cmd.ErrOrStderr(), "custody: warning:", err)
	}
	if p.dir == "" {
		if p.dir, err = p.watched(guards); err != nil {
			return usage(err)
		}
	}
	if info, err := os.Stat(p.dir); err != nil {
		return usage(err)
	} else if !info.IsDir() {
		return usage(fmt.Errorf("%s is not a folder", p.dir))
	}
	p.apps = apps
	p.belong(cmd, guards)
	return nil
}

// registered returns the guards of all runs, and their apps by status file.
func registered() ([]guardStatus, map[string]localdomain.RunApp, error) {
	apps := map[string]localdomain.RunApp{}
	home, err := homeFolder()
	if err != nil {
		return nil, apps, err
	}
	guards, unread := findGuards(nil)
	runs, err := localdomain.Runs(home)
	for _, run := range runs {
		for _, app := range run.Workloads() {
			apps[app.GuardStatusFile] = app
		}
	}
	return guards, apps, errors.Join(unread, err)
}

// watched returns the one policy folder of the guards. Those that run come first.
func (p *policyFolder) watched(guards []guardStatus) (string, error) {
	for _, live := range []bool{true, false} {
		var dirs, lines []string
		for _, g := range guards {
			if g.Dir == "" || running(g.PID) != live || (p.app != "" && g.App != p.app) {
				continue
			}
			if !slices.ContainsFunc(dirs, func(dir string) bool { return sameFolder(dir, g.Dir) }) {
				dirs = append(dirs, g.Dir)
			}
			lines = append(lines, "  "+orDash(g.App)+": "+g.Dir)
		}
		switch len(dirs) {
		case 0:
			continue
		case 1:
			return dirs[0], nil
		}
		return "", fmt.Errorf("the guards watch several policy folders; name one with --dir or a guard with --app:\n%s", strings.Join(lines, "\n"))
	}
	if p.app != "" {
		return "", fmt.Errorf("no guard of an app %q with a policy folder was found: see custody policy status, or name the folder with --dir", p.app)
	}
	return "", errors.New("no guard with a policy folder was found: name the folder with --dir, or start a run with custody up")
}

// belong takes the trust domain and namespace from the app whose guard watches the
// folder, unless flags say them.
func (p *policyFolder) belong(cmd *cobra.Command, guards []guardStatus) {
	for _, g := range guards {
		app, known := p.apps[policydir.StatusFileBeside(g.Source)]
		if !known || !sameFolder(g.Dir, p.dir) {
			continue
		}
		if !cmd.Flags().Changed("trust-domain") {
			p.source.trustDomain = app.TrustDomain
		}
		if !cmd.Flags().Changed("namespace") {
			p.source.namespace = app.Namespace
		}
		break
	}
	p.domains = []string{p.source.trustDomain}
	for _, app := range p.apps {
		p.domains = append(p.domains, app.TrustDomain)
	}
	slices.Sort(p.domains)
	p.domains = slices.Compact(p.domains)
}

// set reads and compiles the folder.
func (p *policyFolder) set(cmd *cobra.Command) (*policy.Set, error) {
	if err := p.find(cmd); err != nil {
		return nil, err
	}
	found, err := p.source.compiled(cmd.ErrOrStderr(), p.dir)
	if err != nil {
		return nil, err
	}
	return found.set, nil
}

// options finds the folder, and says where app IDs of its rules belong.
func (p *policyFolder) options(cmd *cobra.Command) (policy.CompileOptions, error) {
	if err := p.find(cmd); err != nil {
		return policy.CompileOptions{}, err
	}
	opts, err := p.source.options()
	if err != nil {
		return policy.CompileOptions{}, usage(err)
	}
	return opts, nil
}

// refused prints what is wrong with policy files line by line, as lint does.
func refused(warnings io.Writer, err error) error {
	found := &policyFindings{}
	if other := found.note(err); other != nil {
		return usage(other)
	}
	if err := found.print(warnings); err != nil {
		return err
	}
	return found.broken(exitUsage)
}

func sameFolder(a, b string) bool {
	if filepath.Clean(a) == filepath.Clean(b) {
		return true
	}
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second)
}
