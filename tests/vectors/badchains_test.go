// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package vectors_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/receipt"
)

// flippedChains have one bit changed, in one field of the second link, the question.
func (m *maker) flippedChains() []chainVector {
	var vectors []chainVector
	add := func(field string, flip func(e *receipt.Envelope), want ...string) {
		s := m.script("refund-1")
		flip(s.linear()[1])
		vectors = append(vectors, chainVector{"bad-flip-" + field, s.id, s.links, 1, want})
	}
	for _, member := range []string{
		"_type", "subject", "predicateType", "id", "door", "caller", "action", "to", "requestDigest", "decision", "workflow", "prev",
		"journal", "times", "outcome",
	} {
		add(member, func(e *receipt.Envelope) {
			at := bytes.Index(e.Payload, []byte(`"`+member+`":`))
			require.Positive(m.t, at)
			value := at + len(member) + 3
			for !isLetter(e.Payload[value]) || e.Payload[value-1] == '"' { // within a word
				value++
			}
			e.Payload[value] ^= 1
		}, "missing charge", "signature charge") // the answer continues what is not there any more
	}
	add("payloadType", func(e *receipt.Envelope) { e.PayloadType = "application/vnd.in-toto+jsoo" },
		"envelope charge", "faulty-predecessor charge")
	add("sig", func(e *receipt.Envelope) { e.Signatures[0].Sig[7] ^= 1 }, "faulty-predecessor charge", "signature charge")
	add("keyid", func(e *receipt.Envelope) {
		e.Signatures[0].KeyID = "0" + e.Signatures[0].KeyID[1:]
	}, "certificate charge", "faulty-predecessor charge")
	add("certificate", func(e *receipt.Envelope) {
		e.Signatures[0].Certificate = flipped(e.Signatures[0].Certificate)
	}, "certificate charge", "faulty-predecessor charge")
	add("intermediates", func(e *receipt.Envelope) {
		e.Signatures[0].Intermediates = [][]byte{flipped(e.Signatures[0].Intermediates[0])}
	}, "certificate charge", "faulty-predecessor charge")
	return vectors
}

func isLetter(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// flipped changes the last byte, which is one of a signature.
func flipped(der []byte) []byte {
	der = slices.Clone(der)
	der[len(der)-1] ^= 1
	return der
}

// alteredChains are what somebody without a key can make of good ones.
func (m *maker) alteredChains() []chainVector {
	var vectors []chainVector
	add := func(name string, steps int, change func(links []*receipt.Envelope) []*receipt.Envelope, want ...string) {
		s := m.script("refund-1")
		vectors = append(vectors, chainVector{name, s.id, change(s.linear()), steps, want})
	}
	other := m.script("refund-2").linear
	add("bad-dropped-first", 1, func(l []*receipt.Envelope) []*receipt.Envelope { return l[1:] }, "missing charge")
	add("bad-dropped-middle", 1, func(l []*receipt.Envelope) []*receipt.Envelope { return slices.Delete(l, 1, 2) }, "missing charge")
	add("bad-dropped-answer", 2, func(l []*receipt.Envelope) []*receipt.Envelope { return slices.Delete(l, 2, 3) }, "missing end")
	add("bad-dropped-last", 2, func(l []*receipt.Envelope) []*receipt.Envelope { return l[:3] }, "not-ended")
	add("bad-duplicated", 2, func(l []*receipt.Envelope) []*receipt.Envelope { return append(l, l[1]) }, "duplicate charge")
	add("bad-other-instance", 1, func(l []*receipt.Envelope) []*receipt.Envelope {
		l[0] = other()[0]
		return l
	}, "missing charge", "other-chain check")
	add("bad-swapped-instances", 0, func([]*receipt.Envelope) []*receipt.Envelope { return m.script("refund-2").linear() },
		"other-chain charge", "other-chain charge", "other-chain check", "other-chain end")
	add("bad-empty", 0, func([]*receipt.Envelope) []*receipt.Envelope { return nil })
	return vectors
}

// resignedChains are made by apps that have keys, and should not have made this.
func (m *maker) resignedChains() []chainVector {
	var vectors []chainVector
	add := func(name string, steps int, make func(s *script), want ...string) {
		s := m.script("refund-1")
		make(s)
		vectors = append(vectors, chainVector{name, s.id, s.links, steps, want})
	}
	change := func(name, at string, steps int, before func(r *receipt.Receipt), want ...string) {
		add(name, steps, func(s *script) {
			s.before = func(step string, r *receipt.Receipt) {
				if step == at {
					before(r)
				}
			}
			s.linear()
		}, want...)
	}
	change("bad-other-app", "check", 1, func(r *receipt.Receipt) {
		r.Door.SPIFFEID, r.Caller.SPIFFEID = workload("support-agent"), workload("support-agent")
	}, "wrong-signer check", "faulty-predecessor charge")
	change("bad-caller", "check", 1, func(r *receipt.Receipt) { r.Caller.SPIFFEID = workload("intake") },
		"wrong-caller check", "faulty-predecessor charge")
	change("bad-status", "check", 1, func(r *receipt.Receipt) { r.Outcome.Status = receipt.StatusOK },
		"wrong-status check", "faulty-predecessor charge")
	change("bad-name", "check", 1, func(r *receipt.Receipt) { r.Action.Name = "other" },
		"wrong-form check", "faulty-predecessor charge")
	change("bad-earlier-run", "check", 1, func(r *receipt.Receipt) { r.Workflow.Chain.Started = noon().Add(-time.Hour) },
		"other-chain check", "faulty-predecessor charge")
	change("bad-swapped-order", "check", 1, func(r *receipt.Receipt) {
		r.Times = receipt.Times{Decided: noon().Add(10 * time.Minute), Settled: noon().Add(10 * time.Minute)}
	}, "time-order charge", "faulty-predecessor charge")
	change("bad-answer-to-another-request", "charge answer", 2, func(r *receipt.Receipt) { r.RequestDigest = receipt.Sum([]byte("other")) },
		"wrong-answer charge", "faulty-predecessor end")
	change("bad-answer-to-another-caller", "charge answer", 2, func(r *receipt.Receipt) { r.Caller.SPIFFEID = workload("support-agent") },
		"wrong-answer charge", "faulty-predecessor end")
	change("bad-answer-by-another-app", "charge answer", 2, func(r *receipt.Receipt) { r.Door.SPIFFEID = workload("fraud") },
		"wrong-door charge", "faulty-predecessor end")
	change("bad-prev-too-many", "charge answer", 2, func(r *receipt.Receipt) { r.Prev = append(r.Prev, receipt.Sum([]byte("x"))) },
		"wrong-prev charge", "faulty-predecessor end")
	m.branched(add)
	m.renewed(add)
	m.reworded(add)
	m.approvedBy(add)
	return vectors
}

// approvedBy are good-approval with an approval that is not by whom it names.
func (m *maker) approvedBy(add func(name string, steps int, make func(s *script), want ...string)) {
	approved := func(s *script) {
		e := s.own(chain.KindApproval, "approve", "approver", s.own(chain.KindAttest, "check", "fraud"))
		s.own(chain.KindEnd, "end", "intake", s.call("charge", e))
	}
	add("bad-approval-in-the-name-of-another", 2, func(s *script) {
		s.after = func(step string, e *receipt.Envelope) {
			if step == "approve" {
				e.Signatures = []receipt.Signature{m.signature(e.Payload, m.ca.signer("intake"))}
			}
		}
		approved(s)
	}, "wrong-signer approve", "faulty-predecessor charge")
	add("bad-approval-caller", 2, func(s *script) {
		s.before = func(step string, r *receipt.Receipt) {
			if step == "approve" {
				r.Door.SPIFFEID = workload("intake")
			}
		}
		approved(s)
	}, "wrong-caller approve", "faulty-predecessor charge")
}

// branched are chains of which a link was made twice, or where none should be.
func (m *maker) branched(add func(name string, steps int, make func(s *script), want ...string)) {
	add("bad-fork", 1, func(s *script) {
		checked := s.own(chain.KindAttest, "check", "fraud")
		s.before = func(step string, r *receipt.Receipt) {
			if step == "charge" {
				r.Workflow.Task = 7
			}
		}
		one, two := s.own("mcp.tools/call", "charge", "intake", checked), s.own("mcp.tools/call", "charge", "intake", checked)
		s.own(chain.KindEnd, "end", "intake", s.answer(one), s.answer(two))
	}, "fork charge", "fork charge", "faulty-predecessor charge", "faulty-predecessor charge")
	add("bad-two-answers", 1, func(s *script) {
		asked := s.own("mcp.tools/call", "charge", "intake")
		one := s.answer(asked)
		s.answer(asked)
		s.own(chain.KindEnd, "end", "intake", one)
	}, "two-answers charge", "two-answers charge", "faulty-predecessor end")
	add("bad-after-end", 2, func(s *script) {
		s.own(chain.KindAttest, "more", "intake", s.linear()[3])
	}, "after-end more")
	add("bad-beside-end", 3, func(s *script) {
		s.own(chain.KindAttest, "more", "intake", s.linear()[0])
	}, "beside-end more")
}

// renewed are chains of workflows that continue as new, in which the second generation does not go on from the first.
func (m *maker) renewed(add func(name string, steps int, make func(s *script), want ...string)) {
	begun := []string{"wrong-generation begin", "faulty-predecessor again", "faulty-predecessor end", "not-ended"}
	altered := func(name, at string, steps int, change func(r *receipt.Receipt), want ...string) {
		add(name, steps, func(s *script) {
			s.before = func(step string, r *receipt.Receipt) {
				if step == at {
					change(r)
				}
			}
			s.generations()
		}, want...)
	}
	add("bad-continue-missing", 2, func(s *script) {
		s.generations()
		s.links = slices.Delete(s.links, 1, 2)
	}, "missing begin")
	altered("bad-continue-not-signed", "continue", 2, func(r *receipt.Receipt) { r.Action.Kind = chain.KindAttest }, begun...)
	altered("bad-continue-of-another-instance", "continue", 1, func(r *receipt.Receipt) { r.Workflow.Instance = "refund-2" }, begun...)
	altered("bad-continue-by-another-app", "continue", 1, func(r *receipt.Receipt) {
		r.Door.SPIFFEID, r.Caller.SPIFFEID, r.Workflow.App = workload("fraud"), workload("fraud"), "fraud"
	}, begun...)
	add("bad-generation-not-begun", 1, func(s *script) {
		once := s.own(chain.KindAttest, "once", "intake")
		s.before = func(_ string, r *receipt.Receipt) { r.Workflow.Generation = 1 }
		s.own(chain.KindEnd, "end", "intake", s.own(chain.KindAttest, "again", "intake", once))
	}, "wrong-generation again", "faulty-predecessor end", "not-ended")
	add("bad-generation-twice", 1, func(s *script) {
		last := s.generations()[1]
		s.before = func(_ string, r *receipt.Receipt) { r.Workflow.Generation, r.Workflow.Task = 1, 9 }
		s.own(chain.KindBegin, "begin-again", "intake", last)
	}, "fork begin", "fork begin-again", "faulty-predecessor again", "faulty-predecessor end", "not-ended")
	add("bad-two-generations-from-one", 2, func(s *script) {
		last := s.generations()[1]
		s.before = func(_ string, r *receipt.Receipt) { r.Workflow.Generation = 2 }
		s.own(chain.KindBegin, "begin-third", "intake", last)
	}, "wrong-generation begin-third")
}

// reworded have a payload that no program of ours makes, with a good signature.
func (m *maker) reworded(add func(name string, steps int, make func(s *script), want ...string)) {
	for name, words := range map[string][2]string{
		"bad-prev-zero":       {`"prev":["sha256:`, `"prev":["sha256:` + strings.Repeat("0", 64) + `","sha256:`},
		"bad-prev-sha1":       {`"prev":["sha256:`, `"prev":["sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709","sha256:`},
		"bad-digest-sha1":     {`"requestDigest":"sha256:`, `"requestDigest":"sha1:`},
		"bad-subject-sha1":    {`"digest":{"sha256":`, `"digest":{"sha1":"da39a3ee5e6b4b0d3255bfef95601890afd80709","sha256":`},
		"bad-for-nobody":      {`"to":"spiffe://custody.test/ns/default/payments",`, ``},
		"bad-effect":          {`"effect":"allow"`, `"effect":"deny"`},
		"bad-member-twice":    {`"status":"asked"`, `"status":"ok","status":"asked"`},
		"bad-chain-not-named": {`"app":"spiffe://custody.test/ns/default/intake",`, ``},
	} {
		add(name, 1, func(s *script) {
			s.after = func(step string, e *receipt.Envelope) {
				if step != "charge" {
					return
				}
				require.Contains(m.t, string(e.Payload), words[0])
				e.Payload = []byte(strings.Replace(string(e.Payload), words[0], words[1], 1))
				e.Signatures = []receipt.Signature{m.signature(e.Payload, m.ca.signer("intake"))}
			}
			checked := s.own(chain.KindAttest, "check", "fraud")
			asked := s.own("mcp.tools/call", "charge", "intake", checked)
			s.own(chain.KindEnd, "end", "intake", asked)
		}, "payload charge", "faulty-predecessor end")
	}
}

// odd is a signer with a certificate that may be anything.
type odd struct {
	key   ed25519.PrivateKey
	chain []*x509.Certificate
}

func (o odd) Certificates() []*x509.Certificate { return o.chain }

func (o odd) Sign(pae []byte) ([]byte, error) { return ed25519.Sign(o.key, pae), nil }

// badCertificateChains have a good signature of the second link by a certificate that must not be accepted.
func (m *maker) badCertificateChains() []chainVector {
	var vectors []chainVector
	for _, tt := range []struct {
		name   string
		ca     *authority
		change func(c *x509.Certificate)
		want   string
	}{
		{"bad-certificate-authority", m.ca, func(c *x509.Certificate) {
			c.IsCA, c.BasicConstraintsValid = true, true
		}, "certificate"},
		{"bad-certificate-expired", m.ca, func(c *x509.Certificate) { c.NotAfter = noon().Add(-time.Second) }, "certificate"},
		{"bad-certificate-not-yet", m.ca, func(c *x509.Certificate) { c.NotBefore = noon().Add(time.Minute) }, "certificate"},
		{"bad-certificate-key-usage", m.ca, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }, "certificate"},
		{"bad-certificate-cert-sign", m.ca, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }, "certificate"},
		{"bad-certificate-two-uris", m.ca, func(c *x509.Certificate) {
			c.URIs = append(c.URIs, workload("fraud").URL())
		}, "certificate"},
		{"bad-certificate-no-uri", m.ca, func(c *x509.Certificate) { c.URIs = nil }, "certificate"},
		{"bad-certificate-no-path", m.ca, func(c *x509.Certificate) {
			c.URIs = []*url.URL{{Scheme: "spiffe", Host: "custody.test"}}
		}, "certificate"},
		{"bad-certificate-other-root", m.other, func(*x509.Certificate) {}, "certificate"},
		{"bad-other-trust-domain", m.other, func(c *x509.Certificate) {
			c.URIs = []*url.URL{{Scheme: "spiffe", Host: "elsewhere.test", Path: "/ns/default/intake"}}
		}, "other-trust-domain"},
		{"bad-signer", m.ca, func(c *x509.Certificate) { c.URIs = []*url.URL{workload("support-agent").URL()} }, "wrong-signer"},
	} {
		s := m.script("refund-1")
		key := ed25519.NewKeyFromSeed(seed(tt.ca.name + " intake"))
		signer := odd{key, tt.ca.leaf("intake", key.Public(), tt.change)}
		s.after = func(step string, e *receipt.Envelope) {
			if step == "charge" {
				e.Signatures = []receipt.Signature{m.signature(e.Payload, signer)}
			}
		}
		s.linear()
		vectors = append(vectors, chainVector{tt.name, s.id, s.links, 1, []string{tt.want + " charge", "faulty-predecessor charge"}})
	}
	return vectors
}
