// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/localdomain"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
)

// stateDoor is a trust domain in which the sidecar of the app shop decides what the app does to its stores. There is no
// component server.
type stateDoor struct{ trustDomain }

const (
	stateDoorConfig = `apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata: {name: shop}
spec:
  accessControl: {trustDomain: custody.local}
  features: [{name: HotReload, enabled: true}]
`
	stateDoorStore = `apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: %[2]s}
spec:
  type: state.custody
  version: v1
  metadata:
  - {name: backend, value: sqlite}
  - {name: connectionString, value: %[1]s/%[2]s.db}
  - {name: journalDir, value: %[1]s/journal}
  - {name: policyDir, value: %[1]s/%[3]s}
`
	stateDoorPolicy = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: shop}
spec:
  rules:
  - {name: own, effect: allow, from: [shop], to: {server: "*", state: {operations: [get, set], keys: ["%s-*"]}}}
`
)

func startStateDoor(t *testing.T) *stateDoor {
	t.Helper()
	d := &stateDoor{newTrustDomain(t)}
	d.write("config.yaml", stateDoorConfig)
	d.write("dapr.yaml", "version: 1\napps:\n- {appID: shop, appDirPath: ., configFilePath: config.yaml, resourcesPath: resources, command: [sleep, '3600']}\n")
	d.write("policies/shop.yaml", fmt.Sprintf(stateDoorPolicy, "cart"))
	d.write("others/shop.yaml", fmt.Sprintf(stateDoorPolicy, "order"))
	d.write("broken/shop.yaml", "kind: AccessPolicy\nspec: nothing\n")
	d.write("resources/cart.yaml", fmt.Sprintf(stateDoorStore, d.folder, "cart", "policies"))
	d.write("resources/broken.yaml", fmt.Sprintf(stateDoorStore, d.folder, "broken", "broken"))
	require.NoError(t, d.start(localdomain.Options{}))
	return d
}

func (d *stateDoor) shop() localdomain.RunApp { return d.domain.Info().Apps[0] }

func (d *stateDoor) ask(method, path, body string) answer {
	d.t.Helper()
	return d.state("shop", method, path, body)
}

func (d *stateDoor) save(store string, keys ...string) answer {
	var rows []string
	for _, key := range keys {
		rows = append(rows, fmt.Sprintf(`{"key":%q,"value":"v"}`, key))
	}
	return d.ask(http.MethodPost, store, "["+strings.Join(rows, ",")+"]")
}

// The sidecar itself decides what its app does to its store, and keeps the proof.
func TestStateDoorInTheSidecar(t *testing.T) {
	t.Parallel()
	d := startStateDoor(t)
	require.Equal(t, answer{http.StatusNoContent, ""}, d.save("cart", "cart-1"))
	require.Equal(t, answer{http.StatusOK, `"v"`}, d.ask(http.MethodGet, "cart/cart-1", ""))
	reference := d.denied(d.save("cart", "order-1"))
	d.denied(d.save("cart", "cart-2", "order-1"))
	d.denied(d.ask(http.MethodGet, "cart/order-1", ""))
	require.Equal(t, answer{http.StatusNoContent, ""}, d.ask(http.MethodGet, "cart/cart-2", ""), "allowed whole or not at all")

	refused := d.save("broken", "cart-1")
	require.Equal(t, http.StatusInternalServerError, refused.status)
	require.Regexp(t, `this could not be decided and recorded \(reference [0-9a-f-]{36}\)`, refused.text)
	out, code := d.custody("policy", "status")
	require.Equal(t, 1, code, out)
	require.Regexp(t, `(?m)^shop +cart +[0-9a-f]{12} +1 .* in force `, out)
	require.Regexp(t, `(?m)^shop +broken +- .* REFUSING: no policy`, out)

	// A changed file is in force at once, and which rows were written can be seen.
	d.write("policies/shop.yaml", fmt.Sprintf(stateDoorPolicy, "order"))
	require.Equal(t, answer{http.StatusNoContent, ""}, d.ask(http.MethodGet, "cart/order-1", ""), "nothing was written")
	require.Equal(t, answer{http.StatusNoContent, ""}, d.save("cart", "order-1"))
	d.denied(d.ask(http.MethodGet, "cart/cart-1", ""))
	out, code = d.custody("policy", "deny-all", "--dir", filepath.Join(d.folder, "policies"), "--wait=30s")
	require.Zero(t, code, out)
	d.denied(d.save("cart", "order-2"))

	d.write("broken/shop.yaml", fmt.Sprintf(stateDoorPolicy, "cart"))
	require.Equal(t, answer{http.StatusNoContent, ""}, d.save("broken", "cart-1"), "mended")
	d.verify(reference)
}

// verify verifies what was recorded, without anything that ran.
func (d *stateDoor) verify(reference string) {
	d.t.Helper()
	out, code := d.custody("receipts", "verify", "--trust-bundle", d.domain.Info().TrustBundle, "--trust-domain", "custody.local", "--journal", filepath.Join(d.folder, "journal"))
	require.Zero(d.t, code, out)
	found := false
	for _, r := range testkit.ReadJournal(d.t, filepath.Join(d.folder, "journal"), d.bundle()).Receipts {
		require.Equal(d.t, "spiffe://custody.local/ns/default/shop", r.Caller.SPIFFEID.String())
		require.Equal(d.t, "x509-svid", r.Caller.Proof)
		require.Equal(d.t, r.Caller.SPIFFEID, r.Door.SPIFFEID)
		if r.ID == reference {
			found = true
			require.Equal(d.t, receipt.StatusDenied, r.Outcome.Status)
			require.Equal(d.t, receipt.Action{Kind: "state.set", Server: "cart", Name: "order-1"}, r.Action)
		}
	}
	require.True(d.t, found)
}

// A component that is loaded again, and a runtime that starts again in its process, have a door from the first request on.
func TestStateDoorIsReloaded(t *testing.T) {
	t.Parallel()
	d := startStateDoor(t)
	require.Equal(t, answer{http.StatusNoContent, ""}, d.save("cart", "cart-1"))
	never := func(a answer) bool { // what no rule ever allowed
		require.NotEqual(t, http.StatusNoContent, a.status)
		require.NotEqual(t, http.StatusOK, a.status)
		return true
	}
	d.write("resources/cart.yaml", fmt.Sprintf(stateDoorStore, d.folder, "cart", "others"))
	require.Eventually(t, func() bool {
		return never(d.save("cart", "x")) && d.save("cart", "order-1").status == http.StatusNoContent
	}, patience, 10*time.Millisecond)
	d.denied(d.save("cart", "cart-2"))

	pid := d.shop().DaprdPID
	require.NoError(t, syscall.Kill(pid, syscall.SIGHUP))
	require.Eventually(t, func() bool {
		return never(d.save("cart", "x")) && strings.Count(d.logOf("shop"), `\"cart\": each request of`) >= 3
	}, patience, 10*time.Millisecond)
	require.Eventually(t, func() bool { return d.save("cart", "order-2").status == http.StatusNoContent }, patience, 10*time.Millisecond)
	d.denied(d.save("cart", "cart-2"))
	require.NoError(t, syscall.Kill(pid, 0))
	out, code := d.custody("receipts", "verify", "--trust-bundle", d.domain.Info().TrustBundle, "--trust-domain", "custody.local", "--journal", filepath.Join(d.folder, "journal"))
	require.Zero(t, code, out)
}

// Without mTLS nobody could be the caller: the sidecar does not start.
func TestStateDoorNeedsMTLS(t *testing.T) {
	t.Parallel()
	d := &stateDoor{newTrustDomain(t)}
	d.write("resources/cart.yaml", fmt.Sprintf(stateDoorStore, d.folder, "cart", "policies"))
	cmd := exec.CommandContext(t.Context(), binary(t, "daprd"), "--app-id", "shop", "--resources-path", filepath.Join(d.folder, "resources"),
		"--enable-metrics=false", "--dapr-listen-addresses", "127.0.0.1", "--dapr-http-port", freePort(t), "--dapr-grpc-port", freePort(t),
		"--dapr-internal-grpc-port", freePort(t))
	out, err := cmd.CombinedOutput()
	require.Error(t, err, "%s", out)
	require.Contains(t, string(out), "there is no identity to sign with: start with mTLS")
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, errors.Join(err, listener.Close()))
	return port
}

const workflowRules = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: workflows}
spec:
  rules:
  - name: own-workflows
    effect: allow
    from: [refunds]
    to: {server: store, state: {operations: [get, set, delete, transact], keys: ["dapr.internal.default.refunds.*"]}}
  - name: other-workflows
    effect: allow
    from: [loner]
    to: {server: store, state: {operations: [get, set, delete, transact], keys: ["dapr.internal.default.lone.*"]}}
`

// Workflows run behind a door that allows their rows, with anchors as ever, and not behind one that names others.
func TestWorkflowsBehindAStateDoor(t *testing.T) {
	t.Parallel()
	w := newWorks(t, func(folder, app string) (string, string) {
		_, own := sqlite(folder, app)
		kind, metadata := guardedBy("sqlite", own)(folder, app)
		return kind, metadata + fmt.Sprintf("  - {name: policyDir, value: %s/rules}\n", folder)
	})
	w.write("rules/workflows.yaml", workflowRules)
	w.start("")
	w.worker("refunds")
	w.worker("loner")
	w.schedule(w.refunds(), "loop", "loop-1")
	completed(t, w.refunds(), "loop-1")
	w.verified(t, "loop-1")
	seen := map[string]int{}
	for _, r := range testkit.ReadJournal(t, filepath.Join(w.folder, "anchors", "refunds"), w.bundle()).Receipts {
		seen[r.Action.Kind+" "+r.Outcome.Status]++
	}
	require.Greater(t, seen["custody.history anchored"], 3)
	require.NotZero(t, seen["custody.history-removed anchored"])
	require.NotZero(t, seen["state.transact ok"])
	require.Zero(t, seen["state.transact denied"]+seen["state.get denied"])

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := w.client(w.app("loner").DaprGRPCPort).ScheduleWorkflow(ctx, "linear")
	require.ErrorContains(t, err, "policy denied this (reference ")
	for _, r := range testkit.ReadJournal(t, filepath.Join(w.folder, "anchors", "loner"), w.bundle()).Receipts {
		require.Equal(t, receipt.StatusDenied, r.Outcome.Status)
		seen["loner"]++
	}
	require.NotZero(t, seen["loner"])
}
