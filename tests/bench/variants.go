// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"fmt"
	"slices"
	"strings"
)

// The variants that ratios speak of.
const (
	direct    = "direct"
	plain     = "plain"
	opa       = "opa"
	guard     = "guard"
	guardSync = "guard-sync"
	noPGO     = "nopgo"
)

// variant is one way for a call to reach the server.
type variant struct {
	name string
	// daprd is the binary of both sidecars; "" if there are none.
	daprd string
	// middleware is the type in the callee's appHttpPipeline; "" for none.
	middleware string
	// metadata is the middleware's, in YAML.
	metadata string
	// journal says that every call leaves an intent and a receipt.
	journal bool
	says    string
}

const (
	guardType = "middleware.http.mcpguard"
	opaType   = "middleware.http.opa"

	// folderMark stands for the folder of the sidecars' files.
	folderMark    = "{folder}"
	guardMetadata = `  - {name: server, value: bench}
  - {name: policyDir, value: "{folder}/policies"}
  - {name: journalDir, value: "{folder}/journal-%[1]s"}
  - {name: durability, value: %[1]s}
`
	guardPolicy = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: bench}
spec:
  rules:
  - {name: caller-echoes, effect: allow, from: [caller], to: {server: bench, tools: [echo]}}
`
	// opaMetadata is the same rule for Dapr's middleware. It takes the caller from
	// Dapr's header, since it has nothing else.
	opaMetadata = `  - {name: includedHeaders, value: "Dapr-Caller-App-Id"}
  - {name: readBody, value: "true"}
  - name: rego
    value: |
      package http
      import rego.v1
      grants := {"caller": {"echo"}}
      message := json.unmarshal(input.request.body)
      default allow := false
      allow if {
        input.request.method == "POST"
        input.request.path == "/mcp"
        message.method == "tools/call"
        message.params.name in grants[input.request.headers["Dapr-Caller-App-Id"]]
      }
`
)

func variants() []variant {
	return []variant{
		{name: direct, says: "straight to the server, no sidecar"},
		{name: plain, daprd: "daprd", says: "sidecar to sidecar over mTLS, no guard"},
		{
			name: opa, daprd: "daprd-opa", middleware: opaType, metadata: opaMetadata,
			says: "Dapr's OPA middleware; the rule reads the body (json.unmarshal) and allows by Dapr-Caller-App-Id, path, method and tool; no record",
		},
		{
			name: guard, daprd: "daprd", middleware: guardType, metadata: fmt.Sprintf(guardMetadata, "group"), journal: true,
			says: "guard; the rule allows by verified SPIFFE ID, method and tool of the body; intent and signed receipt in the journal, durability group",
		},
		{
			name: guardSync, daprd: "daprd", middleware: guardType, metadata: fmt.Sprintf(guardMetadata, "sync"), journal: true,
			says: "the same with durability sync: every record is on the disk before the call goes on",
		},
		{name: noPGO, daprd: "daprd-nopgo", says: "as plain, daprd built without a profile"},
	}
}

func variantNames() []string {
	var names []string
	for _, v := range variants() {
		names = append(names, v.name)
	}
	return names
}

// chosen gives the variants of a list of names, in the order of variants.
func chosen(list string) ([]variant, error) {
	all := variants()
	if list == "" {
		return all, nil
	}
	names := strings.Split(list, ",")
	for _, name := range names {
		if !slices.Contains(variantNames(), name) {
			return nil, fmt.Errorf("--variants has %q; known are %s", name, strings.Join(variantNames(), ", "))
		}
	}
	return slices.DeleteFunc(all, func(v variant) bool { return !slices.Contains(names, v.name) }), nil
}

// comparison is a ratio or difference that the report gives.
type comparison struct {
	of, to string
	// The aims at 8 connections; 0 means none.
	p50AtMost, perSecondAtLeast float64
}

func comparisons() []comparison {
	return []comparison{
		{of: plain, to: direct},
		{of: opa, to: plain},
		{of: guard, to: plain, p50AtMost: 1.05, perSecondAtLeast: 0.97},
		{of: guardSync, to: plain},
		{of: guard, to: opa},
		{of: plain, to: noPGO},
		{of: guard, to: noPGO, p50AtMost: 1, perSecondAtLeast: 1},
	}
}

// aimConnections is where the aims apply.
const aimConnections = 8
