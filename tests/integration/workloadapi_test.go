// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
)

const besideStore = `apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: cart}
spec:
  type: state.custody
  version: v1
  metadata:
  - {name: backend, value: sqlite}
  - {name: connectionString, value: %FOLDER%/cart.db}
`

// besideComponent says nothing but its name: where its rows are says besideStore.
const besideComponent = `apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: cart}
spec: {type: state.custody, version: v1, metadata: []}
`

const besideServer = `apiVersion: custody.dev/v1alpha1
kind: ComponentServer
metadata: {name: beside}
spec: {policyDir: policies, journalDir: journal, stores: stores}
`

// Beside an app, as in its pod, the component server is the app, as the Workload API says: no registration is needed. A new
// SVID fails no call; one that is taken away closes the doors, and one that comes again opens them.
func TestComponentServerWithAWorkloadAPI(t *testing.T) {
	d := &databases{trustDomain: newTrustDomain(t), client: http.DefaultClient}
	d.write("config.yaml", databasesConfig)
	d.write("server.yaml", besideServer)
	d.write("policies/databases.yaml", databasesPolicy)
	d.write("stores/cart.yaml", replaceFolder(besideStore, d.folder))
	d.write("resources/cart.yaml", besideComponent)
	d.startDomain()
	ca := testkit.NewCA(t, "custody.local")
	api := testkit.NewWorkloadAPI(t, ca)
	api.Give(ca.SVID("orders-mcp"))
	d.arguments = []string{"serve", "--config", filepath.Join(d.folder, "server.yaml"), "--sockets", d.sockets}
	d.environment = []string{"SPIFFE_ENDPOINT_SOCKET=" + api.Addr()}
	d.startServer()
	d.launch(map[string]string{"DAPR_COMPONENTS_SOCKETS_FOLDER": d.sockets})
	set := func() answer {
		got, err := d.call(t.Context(), http.MethodPost, "state/cart", []map[string]any{{"key": "mine", "value": 1}})
		require.NoError(t, err)
		return got
	}
	require.Equal(t, http.StatusNoContent, set().status)

	var calls sync.WaitGroup
	rotated := make(chan struct{})
	for range 4 {
		calls.Go(func() {
			for over := false; !over; {
				select {
				case <-rotated:
					over = true
				default:
				}
				got, err := d.call(t.Context(), http.MethodPost, "state/cart", []map[string]any{{"key": "mine", "value": 2}})
				if err != nil || got.status != http.StatusNoContent {
					t.Errorf("a call failed while the SVID was replaced: %v %v", got, err)
					return
				}
			}
		})
	}
	signers := func() map[string]bool {
		signed := map[string]bool{}
		for _, r := range testkit.ReadJournal(t, filepath.Join(d.folder, "journal"), x509bundle.NewSet(ca.Bundle())).Receipts {
			require.Equal(t, "spiffe://custody.local/ns/default/orders-mcp", r.Caller.SPIFFEID.String())
			require.Equal(t, "x509-svid", r.Caller.Proof)
			signed[r.Caller.CertificateDigest.String()] = true
		}
		return signed
	}
	for n := range 3 {
		api.Give(ca.SVID("orders-mcp"))
		require.Eventually(t, func() bool { return len(signers()) == n+2 }, patience, 50*time.Millisecond)
	}
	close(rotated)
	calls.Wait()

	api.Give()
	require.Eventually(t, func() bool { return set().status == http.StatusInternalServerError }, patience, 10*time.Millisecond)
	closed := set()
	require.Equal(t, http.StatusInternalServerError, closed.status, closed.text)
	require.Contains(t, closed.text, "this workload is not known here")
	api.Give(ca.SVID("orders-mcp"))
	require.Eventually(t, func() bool { return set().status == http.StatusNoContent }, patience, 50*time.Millisecond)

	d.server.end(t)
	for _, r := range testkit.ReadJournal(t, filepath.Join(d.folder, "journal"), x509bundle.NewSet(ca.Bundle())).Receipts {
		require.Equal(t, receipt.StatusOK, r.Outcome.Status)
	}
}

func replaceFolder(text, folder string) string { return strings.ReplaceAll(text, "%FOLDER%", folder) }
