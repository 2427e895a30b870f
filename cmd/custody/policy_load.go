// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/policydir"
)

// policySource says where policies are and what they are about.
type policySource struct {
	trustDomain string
	namespace   string
	mcpPath     string
	// server is the name that rules of a Dapr Configuration get.
	server string
}

func (s *policySource) addFlags(cmd *cobra.Command) {
	s.addDomainFlags(cmd)
	cmd.Flags().StringVar(&s.mcpPath, "mcp-path", "/mcp", "MCP path in the operations of a Dapr Configuration")
}

func (s *policySource) addDomainFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.trustDomain, "trust-domain", "custody.local", "local trust domain, to which app IDs belong")
	cmd.Flags().StringVar(&s.namespace, "namespace", "default", "local namespace, to which app IDs belong")
}

func (s *policySource) options() (policy.CompileOptions, error) {
	domain, err := spiffeid.TrustDomainFromString(s.trustDomain)
	if err != nil {
		return policy.CompileOptions{}, fmt.Errorf("--trust-domain %q: %w", s.trustDomain, err)
	}
	if err := spiffeid.ValidatePathSegment(s.namespace); err != nil {
		return policy.CompileOptions{}, fmt.Errorf("--namespace %q: %w", s.namespace, err)
	}
	return policy.CompileOptions{TrustDomain: domain, Namespace: s.namespace}, nil
}

// policyFindings is what was loaded and what is wrong with it.
type policyFindings struct {
	files     int
	documents []policy.Document
	warnings  []policy.Warning
	problems  []*policy.Error
	omitted   int
	// unchecked says what lint could not check, empty for nothing.
	unchecked string
	set       *policy.Set
}

// load reads and compiles the files and directories. What is wrong in a file goes
// into the findings; the error says that something could not be read.
func (s *policySource) load(paths []string) (*policyFindings, error) {
	opts, err := s.options()
	if err != nil {
		return nil, err
	}
	found := &policyFindings{}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			if err := s.file(found, path, true); err != nil {
				return nil, err
			}
			continue
		}
		names, err := policydir.List(path)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			// As a guard would: it reads no Configuration from its policy directory.
			if err := s.file(found, filepath.Join(path, name), false); err != nil {
				return nil, err
			}
		}
	}
	set, warnings, err := policy.Compile(found.documents, opts)
	found.set = set
	found.warnings = append(found.warnings, warnings...)
	return found, found.note(err)
}

// compiled is load for questions: what is wrong goes to warnings, and an error
// in a file is one of the question.
func (s *policySource) compiled(warnings io.Writer, paths ...string) (*policyFindings, error) {
	found, err := s.load(paths)
	if err != nil {
		return nil, usage(err)
	}
	if err := found.print(warnings); err != nil {
		return nil, err
	}
	return found, found.broken(exitUsage)
}

func (s *policySource) file(found *policyFindings, path string, configurations bool) error {
	info, err := os.Stat(path)
	if err != nil || info.IsDir() {
		return err
	}
	data, err := readPolicyFile(path)
	if err != nil {
		return err
	}
	found.files++
	if configurations && policy.IsConfiguration(data) {
		// Dapr expands variables in the file before it reads it.
		ac, err := policy.ParseConfiguration(path, []byte(os.ExpandEnv(string(data))))
		documents, warnings := policy.FromAccessControl(path, ac, s.mcpPath, s.server)
		found.documents = append(found.documents, documents...)
		found.warnings = append(found.warnings, warnings...)
		return found.note(err)
	}
	documents, err := policy.Parse(path, data)
	found.documents = append(found.documents, documents...)
	return found.note(err)
}

func readPolicyFile(path string) ([]byte, error) { return readUpTo(path, policy.MaxFileBytes) }

// note keeps the problems of err, and returns any other error.
func (f *policyFindings) note(err error) error {
	var list *policy.ErrorList
	if !errors.As(err, &list) {
		return err
	}
	f.problems = append(f.problems, list.Problems...)
	f.omitted += list.Omitted
	return nil
}

// print writes one line for each problem and warning.
func (f *policyFindings) print(w io.Writer) error {
	for _, p := range f.problems {
		if _, err := fmt.Fprintln(w, p.String()); err != nil {
			return err
		}
	}
	if f.omitted > 0 {
		if _, err := fmt.Fprintf(w, "and %d more\n", f.omitted); err != nil {
			return err
		}
	}
	for _, warning := range f.warnings {
		if _, err := fmt.Fprintln(w, warning, "[warning]"); err != nil {
			return err
		}
	}
	return nil
}

// broken returns an error with the number of problems if there are any.
func (f *policyFindings) broken(code int) error {
	switch n := len(f.problems) + f.omitted; n {
	case 0:
		return nil
	case 1:
		return &exitError{code: code, err: errors.New("the policy has one error")}
	default:
		return &exitError{code: code, err: fmt.Errorf("the policy has %d errors", n)}
	}
}
