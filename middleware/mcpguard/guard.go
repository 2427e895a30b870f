// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard

import (
	"context"
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/identity"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/policydir"
	"github.com/dapr-custody/custody/internal/toolcall"
	"github.com/dapr-custody/custody/internal/txn"
)

// Host is the sidecar that a guard lives in.
type Host struct {
	// AppID and Namespace are those of the app that is guarded.
	AppID     string
	Namespace string
	// AppAddress is host:port of the app as the sidecar calls it.
	AppAddress string
	// ID is the sidecar's own SPIFFE ID; its trust domain is the local one.
	ID spiffeid.ID
	// SVIDs gives the sidecar's X.509-SVID and key, with which receipts are signed.
	SVIDs x509svid.Source
	// Bundles gives the roots of a trust domain, for that trust domain only.
	Bundles x509bundle.Source
	// AccessControl is spec.accessControl of the app's Configuration.
	AccessControl policy.AccessControl
	// StatusFile is where the state of the guard is also written; empty for nowhere.
	StatusFile string
	// JournalSuffix is added to the name of the journal folder, where a second
	// sidecar of the same component runs beside the first; empty for nothing.
	JournalSuffix string
	// PolicyGrace is how long a policy file must be away to count as removed. Zero
	// means what policydir takes.
	PolicyGrace time.Duration
	// Log takes what an operator should see. It must not be nil.
	Log func(format string, args ...any)
}

// Guard is the door before one MCP server.
type Guard struct {
	meta     Metadata
	host     Host
	verifier *identity.Verifier
	tokens   *txn.Verifier
	gate     *gate.Gate
	policies *policydir.Watcher
	memory   *memory
	steps    *gate.Steps
	tools    *catalogue
	limits   toolcall.Limits
}

// Server is the name under which policies speak of the server.
func (g *Guard) Server() string { return g.meta.Server }

// State says in a few words whether a policy is in force.
func (g *Guard) State() string {
	status := g.policies.Status()
	if status.LastError != "" {
		return status.LastError
	}
	return fmt.Sprintf("policy set %.12s, %d rules", status.Digest, status.Rules)
}

// caller is who is at the other end of the mTLS connection that ctx belongs to.
func (g *Guard) caller(ctx context.Context) (identity.Caller, error) {
	chain, err := identity.PeerCertificates(ctx)
	if err != nil {
		return identity.Caller{}, err
	}
	return g.verifier.Verify(chain)
}

func newGuard(meta Metadata, host Host, parts parts) (*Guard, error) {
	g := &Guard{
		meta:     meta,
		host:     host,
		verifier: identity.NewVerifier(host.Bundles, time.Now),
		tokens:   txn.NewVerifier(host.Bundles),
		policies: parts.policies,
		memory:   parts.memory,
		steps:    parts.steps,
		tools:    parts.tools,
		limits:   toolcall.Limits{BodyBytes: meta.MaxRequestBytes},
	}
	var err error
	g.gate, err = gate.New(gate.Options{
		Door: "mcpguard", Policy: parts.policies.Current, SVIDs: host.SVIDs, Journal: parts.journal, Now: time.Now, Rates: parts.rates,
		Steps: parts.steps, Verifier: parts.memory.chains.verifier, QuestionAge: meta.MaxQuestionAge,
	})
	return g, err
}
