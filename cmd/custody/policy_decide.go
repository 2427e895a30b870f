// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/policy"
)

// policyQuestion is what the test command is asked.
type policyQuestion struct {
	caller, server     string
	tool, method, path string
}

// policyAnswer is what it prints.
type policyAnswer struct {
	Caller string        `json:"caller"`
	Kind   string        `json:"kind"`
	Server string        `json:"server"`
	Name   string        `json:"name,omitempty"`
	Effect policy.Effect `json:"effect"`
	Policy string        `json:"policy,omitempty"`
	Rule   string        `json:"rule,omitempty"`
	Reason string        `json:"reason"`
	Set    string        `json:"set"`
}

func newPolicyTestCommand() *cobra.Command {
	var source policySource
	var question policyQuestion
	var format string
	cmd := &cobra.Command{
		Use:   "test --caller X --server S --tool T PATH...",
		Short: "Say what policy files decide about a call, and which rule decides",
		Long: `Compiles the files and directories as "custody policy lint" does and decides one
call. The caller is a SPIFFE ID, or an app ID of the local trust domain and
namespace. In place of --tool, --method names another MCP method and --path a
plain HTTP request.

Exit status: 0 allow; 1 deny; 2 wrong flags, or a policy has an error.`,
		Example: `  custody policy test --caller support-agent --server orders --tool get_order policies/
  custody policy test --caller spiffe://custody.local/ns/default/support-agent \
    --server orders --method resources/read policies/ -o json`,
		Args: policyArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := policyFormat(format); err != nil {
				return err
			}
			source.server = question.server
			answer, err := source.decide(cmd.ErrOrStderr(), question, args)
			if err != nil {
				return err
			}
			return answer.print(cmd.OutOrStdout(), format)
		},
	}
	source.addFlags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&question.caller, "caller", "", "SPIFFE ID, or app ID of the local trust domain and namespace")
	flags.StringVar(&question.server, "server", "", "name of the MCP server")
	flags.StringVar(&question.tool, "tool", "", "tool that is called")
	flags.StringVar(&question.method, "method", "", "other MCP method, as in resources/read")
	flags.StringVar(&question.path, "path", "", "plain HTTP request, as in \"GET /healthz\"")
	flags.StringVarP(&format, "output", "o", "table", "table or json")
	return cmd
}

// decide answers the question. What is wrong in the files goes to warnings.
func (s *policySource) decide(warnings io.Writer, q policyQuestion, paths []string) (*policyAnswer, error) {
	request, err := q.request(s)
	if err != nil {
		return nil, policyUsage(err)
	}
	found, err := s.compiled(warnings, paths...)
	if err != nil {
		return nil, err
	}
	d := found.set.Decide(request)
	return &policyAnswer{
		Caller: request.Caller.String(), Kind: request.Action.Kind, Server: request.Action.Server, Name: request.Action.Name,
		Effect: d.Effect, Policy: d.Policy, Rule: d.Rule, Reason: d.Reason, Set: d.Set,
	}, nil
}

func (q policyQuestion) request(s *policySource) (policy.Request, error) {
	action := policy.Action{Server: q.server}
	named := 0
	if q.tool != "" {
		action.Kind, action.Name = policy.KindToolCall, q.tool
		named++
	}
	if q.method != "" {
		action.Kind = policy.KindMCPPrefix + q.method
		named++
	}
	if q.path != "" {
		action.Kind, action.Name = policy.KindHTTP, q.path
		named++
	}
	if q.server == "" || named != 1 {
		return policy.Request{}, errors.New("name --server and one of --tool, --method and --path")
	}
	caller, err := s.caller(q.caller)
	return policy.Request{Caller: caller, Action: action}, err
}

func (s *policySource) caller(text string) (spiffeid.ID, error) {
	if text == "" {
		return spiffeid.ID{}, errors.New("name the --caller by SPIFFE ID or app ID")
	}
	if strings.Contains(text, "/") {
		id, err := spiffeid.FromString(text)
		if err != nil {
			return spiffeid.ID{}, fmt.Errorf("--caller %q: %w", text, err)
		}
		return id, nil
	}
	opts, err := s.options()
	if err != nil {
		return spiffeid.ID{}, err
	}
	id, err := spiffeid.FromSegments(opts.TrustDomain, "ns", opts.Namespace, text)
	if err != nil {
		return spiffeid.ID{}, fmt.Errorf("--caller %q: %w", text, err)
	}
	return id, nil
}

// print writes the answer; a denial is an error too, for the exit code.
func (a *policyAnswer) print(w io.Writer, format string) error {
	var err error
	switch {
	case format == "json":
		err = policyJSON(w, a)
	case a.Rule == "":
		_, err = fmt.Fprintf(w, "%s: %s\n", a.Effect, a.Reason)
	default:
		_, err = fmt.Fprintf(w, "%s: %s (policy %s, rule %s)\n", a.Effect, a.Reason, a.Policy, a.Rule)
	}
	if err == nil && a.Effect != policy.Allow {
		err = &policyError{code: policyExitNo, err: errors.New("the call is denied")}
	}
	return err
}
