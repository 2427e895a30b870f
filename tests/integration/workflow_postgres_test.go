// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	contribmetadata "github.com/dapr/components-contrib/metadata"
	"github.com/dapr/components-contrib/state"
	postgresv1 "github.com/dapr/components-contrib/state/postgresql/v1"
	postgresv2 "github.com/dapr/components-contrib/state/postgresql/v2"
	"github.com/dapr/kit/logger"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/history"
	"github.com/dapr-custody/custody/internal/testkit"
)

// Histories in PostgreSQL are read as daprd's component of either version has written them.
func TestHistoriesInPostgreSQL(t *testing.T) {
	t.Parallel()
	_, owner := startPostgres(t)
	ca := testkit.NewCA(t, "custody.test")
	folder := t.TempDir()
	roots := filepath.Join(folder, "roots.pem")
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Bundle().X509Authorities()[0].Raw})
	require.NoError(t, os.WriteFile(roots, root, 0o600))
	for version, store := range map[string]state.Store{
		"v1": postgresv1.NewPostgreSQLStateStore(logger.NewLogger("test")), "v2": postgresv2.NewPostgreSQLStateStore(logger.NewLogger("test")),
	} {
		t.Run(version, func(t *testing.T) {
			properties := map[string]string{"connectionString": owner, "tableName": "old_state", "metadataTableName": "metadata_" + version}
			require.NoError(t, store.Init(t.Context(), state.Metadata{Base: contribmetadata.Base{Properties: properties}}))
			defer func() { require.NoError(t, store.Close()) }()
			h := testkit.NewHistory(t, ca.SVID("intake"), "refund-7", time.Now())
			h.Start("refund")
			h.End("1")
			h.Save()
			for row, value := range h.Rows().Rows {
				key := history.Key{App: "intake", Namespace: "default", Instance: "refund-7", Row: row}
				require.NoError(t, store.Set(t.Context(), &state.SetRequest{Key: key.String(), Value: value}))
			}
			component := filepath.Join(folder, version+".yaml")
			require.NoError(t, os.WriteFile(component, fmt.Appendf(nil, `apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: store}
spec:
  type: state.postgresql
  version: %[1]s
  metadata:
  - {name: connectionString, value: "%[2]s"}
  - {name: tableName, value: old_state}
  - {name: metadataTableName, value: metadata_%[1]s}
`, version, owner), 0o600))
			cmd := exec.CommandContext(t.Context(), binary(t, "custody"), "workflow", "history", "refund-7", "--component", component,
				"--trust-bundle", roots, "--trust-domain", "custody.test")
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.Contains(t, string(out), "GOOD: 3 of 3 events verified")
		})
	}
}
