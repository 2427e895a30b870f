// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package scripts_test

import (
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	contribmetadata "github.com/dapr/components-contrib/metadata"
	"github.com/dapr/components-contrib/state"
	"github.com/dapr/components-contrib/state/sqlite"
	"github.com/dapr/kit/logger"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/history"
	"github.com/dapr-custody/custody/internal/testkit"
)

const storeComponent = `apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: store}
spec:
  type: state.sqlite
  version: v1
  metadata:
  - {name: connectionString, value: %s}
  - {name: actorStateStore, value: "true"}
`

// stores are state stores in a folder, and the real commands beside one another.
type stores struct {
	t           *testing.T
	bin, folder string
}

// fill makes a store, in <name>/store.db, with these histories and its component in <name>/store.yaml.
func (s *stores) fill(name string, all ...history.Rows) {
	s.t.Helper()
	folder := filepath.Join(s.folder, name)
	require.NoError(s.t, os.Mkdir(folder, 0o755))
	database := filepath.Join(folder, "store.db")
	require.NoError(s.t, os.WriteFile(filepath.Join(folder, "store.yaml"), fmt.Appendf(nil, storeComponent, database), 0o600))
	store := sqlite.NewSQLiteStateStore(logger.NewLogger("test"))
	require.NoError(s.t, store.Init(s.t.Context(), state.Metadata{Base: contribmetadata.Base{Properties: map[string]string{"connectionString": database}}}))
	for _, rows := range all {
		for row, value := range rows.Rows {
			key := history.Key{App: rows.App, Namespace: rows.Namespace, Instance: rows.Instance, Row: row}
			require.NoError(s.t, store.Set(s.t.Context(), &state.SetRequest{Key: key.String(), Value: value}))
		}
	}
	require.NoError(s.t, store.Close())
}

// custody runs the command in the folder.
func (s *stores) custody(args ...string) (output string, code int) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), filepath.Join(s.bin, "custody"), args...)
	cmd.Dir = s.folder
	cmd.Env = append(os.Environ(), "CUSTODY_HOME="+filepath.Join(s.folder, "home"), "CUSTODY_JOURNAL=")
	out, err := cmd.CombinedOutput()
	if err != nil {
		require.IsType(s.t, &exec.ExitError{}, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// family fills a store with a refund of intake, one with its child in the app fraud, and a third with both.
func (s *stores) family() {
	s.t.Helper()
	ca := testkit.NewCA(s.t, "custody.test")
	var roots []byte
	for _, root := range ca.Bundle().X509Authorities() {
		roots = append(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw})...)
	}
	require.NoError(s.t, os.WriteFile(filepath.Join(s.folder, "ca.crt"), roots, 0o600))
	at := time.Now().Add(-10 * time.Second).Truncate(time.Millisecond)
	parent := testkit.NewChained(s.t, ca.SVID("intake"), "refund-7", at)
	parent.State(chain.KindAttest, "received")
	parent.Child(9, "check", "refund-7-check", `{"custody.dev/chain":{"chain":{},"heads":[]}}`, "fraud")
	parent.Save()
	child := testkit.NewChained(s.t, ca.SVID("fraud"), "refund-7-check", at.Add(time.Second))
	child.Chain, child.Heads = parent.Chain, parent.Heads
	child.State(chain.KindAttest, "fraud-check")
	child.Save()
	s.fill("intake", parent.Rows())
	s.fill("fraud", child.Rows())
	s.fill("both", parent.Rows(), child.Rows())
	require.NoError(s.t, os.Mkdir(filepath.Join(s.folder, "none"), 0o755))
}

// A chain goes through apps with stores of their own. All of them can be named, each as a file or as a folder.
func TestChainOverSeveralStores(t *testing.T) {
	watch(t, "cmd/custody", "cmd/components", "internal")
	s := &stores{t: t, bin: t.TempDir(), folder: t.TempDir()}
	build(t, s.bin, "custody", "./cmd/custody")
	build(t, s.bin, "custody-components", "./cmd/components")
	s.family()
	trust := []string{"--trust-bundle", "ca.crt", "--trust-domain", "custody.test"}
	for _, tt := range []struct {
		name, args string
		code       int
		want       []string
	}{
		{"files", "verify refund-7 --component intake/store.yaml --component fraud/store.yaml", 0, []string{
			"history of refund-7 in app intake", "history of refund-7-check in app fraud", "GOOD: 2 links, 2 steps",
		}},
		{"folders, in another order", "verify refund-7 --component fraud --component intake", 0, []string{"GOOD: 2 links"}},
		{"from the child", "verify refund-7-check --component fraud --component intake/store.yaml", 0, []string{"GOOD: 2 links"}},
		{"one store of both", "verify refund-7 --component both", 0, []string{"GOOD: 2 links"}},
		{"a store twice", "verify refund-7 --component both --component both/store.yaml", 0, []string{"GOOD: 2 links"}},
		{"show", "show refund-7 --component intake --component fraud", 0, []string{"fraud-check", "GOOD: 2 links"}},
		{"export", "export refund-7 --component intake --component fraud --file out.json", 0, nil},
		{"of what was exported", "verify out.json", 0, []string{"GOOD: 2 links"}},
		{"the store of the child is not named", "verify refund-7 --component intake", 1, []string{
			"WRONG  history-missing, instance refund-7-check: the chain goes on in this child of refund-7, in app fraud",
			`note: nothing is stored of instance "refund-7-check" of app fraud in ` + filepath.Join(s.folder, "intake", "store.yaml") +
				"; if the app has another store, give its --component too",
		}},
		{"nor to be exported", "export refund-7 --component intake --file half.json", 0, []string{`note: nothing is stored of instance "refund-7-check" of app fraud in `}},
		{"the store of the parent is not named", "verify refund-7-check --component fraud", 1, []string{
			"WRONG  history-missing, instance refund-7: the chain began with it", `note: nothing is stored of instance "refund-7" of app intake in `,
		}},
		{"two stores have the instance", "verify refund-7 --component intake --component both", 2, []string{
			`two stores have instance "refund-7" of app intake in namespace default: that of ` + filepath.Join(s.folder, "intake", "store.yaml") +
				" and that of " + filepath.Join(s.folder, "both", "store.yaml"),
		}},
		{"two stores have the child", "verify refund-7 --component fraud --component both", 2, []string{
			`two stores have instance "refund-7-check" of app fraud in namespace default`,
		}},
		{"none has it", "verify refund-8 --component intake --component fraud", 2, []string{
			`nothing is stored of an instance "refund-8" in ` + filepath.Join(s.folder, "intake", "store.yaml") + ", " + filepath.Join(s.folder, "fraud", "store.yaml"),
		}},
		{"none has it, of an app", "verify refund-8 --app intake --component intake --component fraud", 1, []string{
			"WRONG  history/no-rows, instance refund-8", `note: nothing is stored of instance "refund-8" of app intake in `,
		}},
		{"a folder without a store", "verify refund-7 --component none", 2, []string{"--component none: no file of the folder has a state store"}},
		{"no such file", "verify refund-7 --component intake --component fraud.yaml", 2, []string{"fraud.yaml: no such file or directory"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, code := s.custody(append([]string{"chain"}, append(strings.Fields(tt.args), trust...)...)...)
			require.Equal(t, tt.code, code, out)
			for _, want := range tt.want {
				require.Contains(t, out, want)
			}
		})
	}
	t.Run("workflow list", func(t *testing.T) {
		out, code := s.custody("workflow", "list", "--component", "intake", "--component", "fraud")
		require.Zero(t, code, out)
		require.Contains(t, out, "refund-7-check")
		require.Contains(t, out, "intake")
	})
}
