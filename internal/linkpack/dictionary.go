// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package linkpack

// dictionary is the preset dictionary of deflate: what payloads of links have in common. It belongs to the form links1
// and must never change; a better one is another form.
const dictionary = `httpErrorrpcErrortoolErrorincompletewithheldapprovedcustody.approvalcustody.joincustody.endcustody.attest` +
	`"effect":"deny","reason":"default deny","generation":` +
	`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"custody.attest ","digest":{"sha256":"` +
	`"}}],"predicateType":"https://custody.dev/receipt/v1","predicate":{"id":"01` +
	`"},"action":{"kind":"custody.attest","name":"` +
	`"},"outcome":{"status":"stated"}}}` +
	`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"mcp.tools/call ","digest":{"sha256":"` +
	`"}}],"predicateType":"https://custody.dev/receipt/v1","predicate":{"id":"01` +
	`","door":{"spiffeID":"spiffe://custody.local/ns/default/","name":"mcpcaller"},"caller":{"spiffeID":"spiffe://` +
	`","proof":"sidecar"},"action":{"kind":"mcp.tools/call","server":"","name":"` +
	`"},"requestDigest":"sha256:","argumentsDigest":"sha256:","decision":{"effect":"allow"},"workflow":{"chain":{"app":"spiffe://` +
	`","instance":"","started":"20` +
	`"},"outcome":{"status":"asked"}}}` +
	`","name":"mcpguard"},"caller":{"spiffeID":"spiffe://` +
	`","proof":"x509-svid","certificateDigest":"sha256:` +
	`"},"decision":{"effect":"allow","policy":"","rule":"","reason":"rule allows it","setDigest":"sha256:` +
	`"},"workflow":{"chain":{"app":"spiffe://custody.local/ns/default/","instance":"","started":"20` +
	`Z"},"instance":"","app":"","name":"","task":,"step":""},"prev":["sha256:"],"journal":{"id":"","seq":,"chain":"sha256:` +
	`"},"times":{"decided":"2026-11-23T14:16:52.","settled":"2026-` +
	`Z"},"outcome":{"status":"ok","httpStatus":200,"responseDigest":"sha256:","resultDigest":"sha256:"}}}`
