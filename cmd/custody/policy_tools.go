// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dapr-custody/custody/internal/policy"
)

// policyTools says where the schemas of tools come from.
type policyTools struct {
	files  []string
	server string
}

func (p *policyTools) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&p.files, "tools", nil, "file with the schemas of tools, instead of what the guards have learned; may be repeated")
	cmd.Flags().StringVar(&p.server, "server", "", "server that the tools of a --tools file are of, where the file is the result of tools/list")
}

// load reads the files, or else what the guards that run have learned, of which
// what cannot be read goes to warnings.
func (p *policyTools) load(warnings io.Writer) (policy.Catalogue, error) {
	if len(p.files) == 0 {
		if p.server != "" {
			return nil, errors.New("--server says whose tools those of --tools are: give both")
		}
		return learnedTools(warnings), nil
	}
	known := policy.Catalogue{}
	used := false
	for _, path := range p.files {
		data, err := readUpTo(path, policy.MaxCatalogueBytes)
		if err != nil {
			return nil, err
		}
		if policy.IsCatalogue(data) {
			c, err := policy.ParseCatalogue(data)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			known.Add(c)
			continue
		}
		if p.server == "" {
			return nil, fmt.Errorf("%s is no %s: if it is the result of tools/list, say of which server with --server", path, policy.KindCatalogue)
		}
		used = true
		tools, err := policy.ParseToolList(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		known.Add(policy.Catalogue{p.server: tools})
	}
	if p.server != "" && !used {
		return nil, errors.New("the --tools files say themselves of which servers they are: leave --server out")
	}
	return known, nil
}

// learnedTools are those of every guard of the runs that lives.
func learnedTools(warnings io.Writer) policy.Catalogue {
	known := policy.Catalogue{}
	guards, err := findGuards(nil)
	if err != nil {
		fmt.Fprintln(warnings, "custody: warning:", err)
	}
	for _, g := range guards {
		if g.Tools == "" || !running(g.PID) {
			continue
		}
		data, err := readUpTo(g.Tools, policy.MaxCatalogueBytes)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has seen no list of tools yet
		}
		var learned policy.Catalogue
		if err == nil {
			learned, err = policy.ParseCatalogue(data)
		}
		if err != nil {
			fmt.Fprintf(warnings, "custody: warning: the tools of %s: %v\n", orDash(g.App), err)
			continue
		}
		known.Add(learned)
	}
	return known
}

// readUpTo reads no more than is needed to see that a file is too large.
func readUpTo(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	return data, errors.Join(err, f.Close())
}

// check adds what the conditions get wrong about the tools.
func (f *policyFindings) check(known policy.Catalogue) {
	for _, finding := range policy.Check(f.documents, known) {
		if finding.Hint {
			f.warnings = append(f.warnings, finding.Warning)
		} else {
			f.problems = append(f.problems, finding.Error())
		}
	}
	if servers := policy.Unchecked(f.documents, known); len(servers) > 0 {
		f.unchecked = "names and types of arguments in conditions were not checked for " + strings.Join(serverNames(servers), ", ") +
			": no schemas of the tools are known; call tools/list through a guard that runs, or give --tools FILE"
	}
}

func serverNames(servers []string) []string {
	var names []string
	for _, server := range servers {
		if server == "*" {
			server = "any server"
		}
		names = append(names, server)
	}
	return names
}
