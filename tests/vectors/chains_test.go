// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package vectors_test

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/receipt"
)

// script makes the links of one chain, a second apart. Before alters a link before it is signed and after when it was,
// both before any other link names it.
type script struct {
	m      *maker
	id     receipt.Chain
	at     time.Time
	links  []*receipt.Envelope
	before func(step string, r *receipt.Receipt)
	after  func(step string, e *receipt.Envelope)
}

func workload(app string) spiffeid.ID {
	return spiffeid.RequireFromString("spiffe://custody.test/ns/default/" + app)
}

func (m *maker) script(instance string) *script {
	return &script{
		m: m, at: noon(),
		id: receipt.Chain{App: workload("intake"), Instance: instance, Started: noon().Add(-time.Second)},
	}
}

// own makes a link that an app makes by itself; step is "end" for ends and "join" for joins.
func (s *script) own(kind, step, app string, prev ...*receipt.Envelope) *receipt.Envelope {
	s.at = s.at.Add(time.Second)
	n := len(s.links)
	id := s.id
	r := &receipt.Receipt{
		ID: fmt.Sprintf("link-%d", n), Door: receipt.Door{SPIFFEID: workload(app), Name: "mcpcaller"},
		Caller: receipt.Caller{SPIFFEID: workload(app), Proof: "sidecar"},
		Action: receipt.Action{Kind: kind, Name: step}, RequestDigest: receipt.Sum([]byte(step)),
		Decision: receipt.Decision{Effect: receipt.EffectAllow},
		Workflow: &receipt.Workflow{Chain: &id, Instance: id.Instance, App: app, Name: "refund", Task: uint32(n + 1), Step: step},
		Journal:  receipt.Journal{ID: strings.Repeat("0c", 16), Seq: uint64(n), Chain: receipt.Sum([]byte("chain"))},
		Times:    receipt.Times{Decided: s.at, Settled: s.at},
		Outcome:  receipt.Outcome{Status: receipt.StatusStated},
	}
	switch kind {
	case chain.KindApproval:
		r.Outcome.Status, r.Workflow.App = receipt.StatusApproved, "intake"
	case "mcp.tools/call":
		r.Outcome.Status = receipt.StatusAsked
		r.Action.Server, r.Action.Name, r.To = "payments", "charge_card", workload("payments")
	}
	for _, p := range prev {
		r.Prev = append(r.Prev, p.PayloadDigest())
	}
	return s.sign(step, r)
}

func (s *script) sign(step string, r *receipt.Receipt) *receipt.Envelope {
	if s.before != nil {
		s.before(step, r)
	}
	app := r.Door.SPIFFEID.Path()[strings.LastIndex(r.Door.SPIFFEID.Path(), "/")+1:]
	e := s.m.sign(r, s.m.ca.signer(app))
	if s.after != nil {
		s.after(step, e)
	}
	s.links = append(s.links, e)
	return e
}

// answer is that of the app payments; its name to before and after is that of the question and "answer".
func (s *script) answer(question *receipt.Envelope) *receipt.Envelope {
	s.m.t.Helper()
	r, err := question.UnsafeReceipt()
	require.NoError(s.m.t, err)
	s.at = s.at.Add(time.Second)
	r.ID = fmt.Sprintf("link-%d", len(s.links))
	r.Door, r.To = receipt.Door{SPIFFEID: workload("payments"), Name: "mcpguard"}, spiffeid.ID{}
	r.Caller.Proof = "x509-svid"
	r.Prev = []receipt.Digest{question.PayloadDigest()}
	r.Decision.Rule = "charge-after-check"
	r.Times = receipt.Times{Decided: s.at, Settled: s.at.Add(time.Millisecond)}
	r.Outcome = receipt.Outcome{Status: receipt.StatusOK, HTTPStatus: 200, ResponseDigest: receipt.Sum([]byte("response"))}
	return s.sign(r.Workflow.Step+" answer", r)
}

func (s *script) call(step string, prev ...*receipt.Envelope) *receipt.Envelope {
	return s.answer(s.own("mcp.tools/call", step, "intake", prev...))
}

// linear is a check by one app, a call by another, and the end.
func (s *script) linear() []*receipt.Envelope {
	checked := s.own(chain.KindAttest, "check", "fraud")
	s.own(chain.KindEnd, "end", "intake", s.call("charge", checked))
	return s.links
}

// generations is a workflow that continues as new, and each link of which but the last of a generation has the number of
// its task in its generation. Its last link is the second generation's.
func (s *script) generations() []*receipt.Envelope {
	before := s.before
	s.before = func(step string, r *receipt.Receipt) {
		switch step {
		case "once", "begin":
			r.Workflow.Task = 1
		case "again":
			r.Workflow.Task = 2
		default:
			r.Workflow.Task = math.MaxUint32
		}
		if step == "begin" || step == "again" || step == "end" {
			r.Workflow.Generation = 1
		}
		if before != nil {
			before(step, r)
		}
	}
	last := s.own(chain.KindContinue, "continue", "intake", s.own(chain.KindAttest, "once", "intake"))
	again := s.own(chain.KindAttest, "again", "intake", s.own(chain.KindBegin, "begin", "intake", last))
	s.own(chain.KindEnd, "end", "intake", again)
	return s.links
}

// chainVector is a file of links. Want are the faults, each with its step: "kind step".
type chainVector struct {
	name  string
	chain receipt.Chain
	links []*receipt.Envelope
	steps int
	want  []string
}

func (m *maker) goodChains() []chainVector {
	linear := m.script("refund-1")
	linear.linear()

	fanOut := m.script("refund-1")
	start := fanOut.own(chain.KindAttest, "check", "fraud")
	var heads []*receipt.Envelope
	for _, step := range []string{"charge-a", "charge-b", "charge-c"} {
		heads = append(heads, fanOut.own("mcp.tools/call", step, "intake", start))
	}
	for i, q := range heads {
		heads[i] = fanOut.answer(q)
	}
	slices.Reverse(heads)
	joined := fanOut.own(chain.KindJoin, "join", "intake", heads...)
	fanOut.own(chain.KindEnd, "end", "intake", joined)

	child := m.script("refund-1")
	before := child.own(chain.KindAttest, "start", "intake")
	child.before = func(step string, r *receipt.Receipt) {
		if step != "after" && step != "end" {
			r.Workflow.Instance, r.Workflow.Name = "refund-1-check", "check"
		}
	}
	inChild := child.own(chain.KindEnd, "child-end", "fraud", child.own(chain.KindAttest, "check", "fraud", before))
	child.own(chain.KindEnd, "end", "intake", child.own(chain.KindAttest, "after", "intake", inChild))

	renewed := m.script("refund-1")
	renewed.generations()

	approval := m.script("refund-1")
	checked := approval.own(chain.KindAttest, "check", "fraud")
	approved := approval.own(chain.KindApproval, "approve", "approver", checked)
	approval.own(chain.KindEnd, "end", "intake", approval.call("charge", approved))

	unknown := m.script("refund-1")
	asked := unknown.own("mcp.tools/call", "charge", "intake")
	unknown.own(chain.KindEnd, "end", "intake", unknown.call("charge-again", asked))

	lines := m.script("refund-1")
	slices.Reverse(lines.linear())
	return []chainVector{
		{"good-linear", linear.id, linear.links, 2, nil},
		{"good-fan-out", fanOut.id, fanOut.links, 4, nil},
		{"good-child", child.id, child.links, 3, nil},
		{"good-continued-as-new", renewed.id, renewed.links, 2, nil},
		{"good-approval", approval.id, approval.links, 3, nil},
		{"good-unknown-outcome", unknown.id, unknown.links, 2, nil},
		{"good-swapped-lines", lines.id, lines.links, 2, nil},
	}
}

func (m *maker) chains() []chainVector {
	return slices.Concat(m.goodChains(), m.flippedChains(), m.alteredChains(), m.resignedChains(), m.badCertificateChains())
}

func (v *chainVector) lines() []byte {
	var text []byte
	for _, e := range v.links {
		text = append(e.AppendJSON(text), '\n')
	}
	return text
}

// manifestEntry is what a verifier needs to know of a file, and has to find.
type manifestEntry struct {
	Chain  receipt.Chain   `json:"chain"`
	Steps  int             `json:"steps"`
	Faults []manifestFault `json:"faults"`
}

type manifestFault struct {
	Kind string `json:"kind"`
	Step string `json:"step,omitempty"`
}

func (v *chainVector) entry() manifestEntry {
	e := manifestEntry{Chain: v.chain, Steps: v.steps, Faults: []manifestFault{}}
	for _, f := range v.want {
		kind, step, _ := strings.Cut(f, " ")
		e.Faults = append(e.Faults, manifestFault{kind, step})
	}
	return e
}

// chainFiles are the files of chains, with a manifest.
func (m *maker) chainFiles() map[string][]byte {
	m.t.Helper()
	files := map[string][]byte{}
	manifest := map[string]manifestEntry{}
	for _, v := range m.chains() {
		name := v.name + ".jsonl"
		require.NotContains(m.t, manifest, name)
		files["chains/"+name], manifest[name] = v.lines(), v.entry()
	}
	text, err := json.MarshalIndent(manifest, "", "  ")
	require.NoError(m.t, err)
	files["chains/manifest.json"] = append(text, '\n')
	return files
}

func parseLinks(t *testing.T, text []byte) []*receipt.Envelope {
	t.Helper()
	var links []*receipt.Envelope
	for line := range strings.Lines(string(text)) {
		e, err := receipt.DecodeEnvelope([]byte(strings.TrimSuffix(line, "\n")))
		require.NoError(t, err)
		links = append(links, e)
	}
	return links
}
