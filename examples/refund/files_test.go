// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package refund_test checks the files of the example without starting it.
package refund_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/examples/stage"
	"github.com/dapr-custody/custody/internal/localdomain"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/testkit"
)

const domain = "spiffe://custody.local/ns/default/"

func TestRunFile(t *testing.T) {
	bin := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(bin, "refund"), nil, 0o755))
	s, err := stage.New(stage.Options{Source: ".", Take: []string{"dapr.yaml", "config", "resources"}, Bin: bin})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	file, err := localdomain.LoadRunFile(filepath.Join(s.Example, "dapr.yaml"))
	require.NoError(t, err)
	require.Empty(t, file.Notices)

	type app struct {
		port   int
		config string
		types  []string
	}
	got := map[string]app{}
	for _, a := range file.Apps {
		require.Equal(t, []string{filepath.Join(s.Example, "resources", a.ID)}, a.ResourcesPaths)
		got[a.ID] = app{a.AppPort.Number, filepath.Base(a.ConfigFile), types(t, a.ResourcesPaths[0])}
	}
	require.Equal(t, map[string]app{
		"payments": {8721, "payments.yaml", []string{"middleware.http.mcpguard"}},
		"fraud":    {8722, "worker.yaml", []string{"middleware.http.mcpcaller", "state.custody"}},
		"intake":   {8723, "intake.yaml", []string{"middleware.http.mcpcaller", "state.custody"}},
		"approver": {8724, "approver.yaml", []string{"middleware.http.mcpcaller"}},
	}, got)
}

// types are those of the components in a folder.
func types(t *testing.T, folder string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	require.NoError(t, err)
	var all []string
	for _, file := range files {
		var component struct {
			Spec struct{ Type, Version string }
		}
		read(t, file, &component)
		require.Equal(t, "v1", component.Spec.Version)
		all = append(all, component.Spec.Type)
	}
	return all
}

// Who could invoke an app would act in its name. The person has a door of its own at intake.
func TestOnlyTheApproverReachesAnApp(t *testing.T) {
	for file, policies := range map[string]int{"worker.yaml": 0, "approver.yaml": 0, "intake.yaml": 1} {
		text, err := os.ReadFile(filepath.Join("config", file))
		require.NoError(t, err)
		control, err := policy.ParseConfiguration(file, text)
		require.NoError(t, err)
		require.Equal(t, "deny", control.DefaultAction, file)
		require.Len(t, control.Policies, policies, file)
		for _, p := range control.Policies {
			require.Equal(t, "approver", p.AppID)
			require.Equal(t, "deny", p.DefaultAction)
			require.Len(t, p.Operations, 1)
			require.True(t, strings.HasPrefix(p.Operations[0].Name, "/approvals/"))
		}
	}
}

func TestHistoriesAreSigned(t *testing.T) {
	for _, file := range []string{"worker.yaml", "intake.yaml"} {
		var configuration struct {
			Spec struct {
				Features []struct {
					Name    string
					Enabled bool
				}
			}
		}
		read(t, filepath.Join("config", file), &configuration)
		require.Len(t, configuration.Spec.Features, 1)
		require.Equal(t, "WorkflowHistorySigning", configuration.Spec.Features[0].Name)
		require.True(t, configuration.Spec.Features[0].Enabled)
	}
}

// past is a chain of steps, all of which verify.
type past struct {
	steps      []policy.PastStep
	incomplete bool
}

func (past) Instance() string             { return "r1" }
func (p past) Len() int                   { return len(p.steps) }
func (p past) Complete() bool             { return !p.incomplete }
func (p past) Step(i int) policy.PastStep { return p.steps[i] }
func (p past) Named(name string) (is []int) {
	for i, s := range p.steps {
		if s.Name == name {
			is = append(is, i)
		}
	}
	return is
}

func TestPolicy(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	set := testkit.PolicyFiles(t, "policies/payments.yaml")
	paid, other := policy.Digest{1}, policy.Digest{2}
	check := policy.PastStep{
		Name: "fraud-check", Kind: policy.StepStatement, Status: "stated", Instance: "r1:0002", Digest: paid,
		By: spiffeid.RequireFromString(domain + "fraud"), At: now.Add(-9 * time.Minute),
	}
	approval := policy.PastStep{
		Name: "refund-approval", Kind: policy.StepApproval, Status: "approved", Instance: "r1", Digest: paid,
		By: spiffeid.RequireFromString(domain + "approver"), At: now.Add(-time.Minute),
	}
	with := func(s policy.PastStep, change func(*policy.PastStep)) policy.PastStep {
		change(&s)
		return s
	}
	by := func(app string) func(*policy.PastStep) {
		return func(s *policy.PastStep) { s.By = spiffeid.RequireFromString(domain + app) }
	}
	of := func(digest policy.Digest) func(*policy.PastStep) {
		return func(s *policy.PastStep) { s.Digest = digest }
	}
	old := func(s *policy.PastStep) { s.At = now.Add(-10 * time.Minute) }
	for _, c := range []struct {
		name   string
		caller string
		past   policy.Past
		before int
		want   policy.Effect
	}{
		{"checked and approved", "intake", past{steps: []policy.PastStep{check, approval}}, 0, policy.Allow},
		{"paid before", "intake", past{steps: []policy.PastStep{check, approval}}, 1, policy.Deny},
		{"and more", "intake", past{steps: []policy.PastStep{with(check, old), check, approval}}, 0, policy.Allow},
		{"another caller", "fraud", past{steps: []policy.PastStep{check, approval}}, 0, policy.Deny},
		{"no workflow", "intake", nil, 0, policy.Deny},
		{"nothing before", "intake", past{}, 0, policy.Deny},
		{"not checked", "intake", past{steps: []policy.PastStep{approval}}, 0, policy.Deny},
		{"not approved", "intake", past{steps: []policy.PastStep{check}}, 0, policy.Deny},
		{"a gap", "intake", past{steps: []policy.PastStep{check, approval}, incomplete: true}, 0, policy.Deny},
		{"checked by intake", "intake", past{steps: []policy.PastStep{with(check, by("intake")), approval}}, 0, policy.Deny},
		{"approved by intake", "intake", past{steps: []policy.PastStep{check, with(approval, by("intake"))}}, 0, policy.Deny},
		{"checked too long ago", "intake", past{steps: []policy.PastStep{with(check, old), approval}}, 0, policy.Deny},
		{"another payment checked", "intake", past{steps: []policy.PastStep{with(check, of(other)), approval}}, 0, policy.Deny},
		{"another payment approved", "intake", past{steps: []policy.PastStep{check, with(approval, of(other))}}, 0, policy.Deny},
		{
			"checked long ago, and another payment now", "intake",
			past{steps: []policy.PastStep{with(check, old), with(check, of(other)), approval}},
			0, policy.Deny,
		},
		{
			"the person stated it, and did not approve", "intake",
			past{steps: []policy.PastStep{check, with(check, by("approver"))}},
			0, policy.Deny,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			request := policy.Request{
				Caller: spiffeid.RequireFromString(domain + c.caller),
				Action: policy.Action{Kind: policy.KindToolCall, Server: "payments", Name: "refund_payment"},
				Facts:  &policy.Facts{Now: now, Past: c.past, ArgumentsDigest: paid, Passed: func(tool string) (int, error) { return map[string]int{"refund_payment": c.before}[tool], nil }},
			}
			require.Equal(t, c.want, set.Decide(request).Effect)
		})
	}
}

func read(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(text, into))
}
