// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package chain_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/receipt"
)

// FuzzChain takes lines of envelopes. Each line that begins with a digit stands for a good link of that number, and the
// bytes after it are put over its payload, signature or certificate: what the fuzzer cannot sign it can still alter.
func FuzzChain(f *testing.F) {
	w := newWorld(f)
	good := w.ended()
	isGood := map[receipt.Digest]bool{}
	for _, e := range good {
		isGood[e.PayloadDigest()] = true
	}
	f.Add([]byte("0\n1\n2\n3\n4\n5\n6\n7\n"))
	f.Add([]byte("7\n6\n0p1 \n5\n4s\n3s2x\n2c9\n1\n0\n0"))
	f.Add([]byte(`{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var links []*receipt.Envelope
		for line := range bytes.Lines(text) {
			if e := fuzzed(good, bytes.TrimSuffix(line, []byte("\n"))); e != nil && len(links) < 32 {
				links = append(links, e)
			}
		}
		c := w.chain()
		for _, e := range links {
			l, err := c.Add(e)
			if err == nil {
				require.True(t, isGood[l.Digest], "a link that nobody signed")
				continue
			}
			var fault *chain.Fault
			require.ErrorAs(t, err, &fault)
			require.NotEmpty(t, fault.Error())
		}
		c.Faults()
		for _, e := range append(links, good...) {
			v := c.View([]receipt.Digest{e.PayloadDigest()})
			for i := range v.Len() {
				require.True(t, isGood[v.Step(i).Link])
			}
			require.Equal(t, v.Complete(), len(v.Faults()) == 0)
		}
		o := w.options()
		o.Verifier = nil
		report := chain.Verify(links, o)
		for _, found := range report.Chains {
			for _, l := range found.Links {
				require.True(t, isGood[l.Digest])
			}
		}
	})
}

// fuzzed reads one line.
func fuzzed(good []*receipt.Envelope, line []byte) *receipt.Envelope {
	if len(line) == 0 || line[0] < '0' || line[0] > '7' {
		e, err := receipt.DecodeEnvelope(line)
		if err != nil {
			return nil
		}
		return e
	}
	e := *good[line[0]-'0']
	if len(line) < 3 {
		return &e
	}
	e.Signatures = []receipt.Signature{e.Signatures[0]}
	part := &e.Payload
	switch line[1] {
	case 's':
		part = &e.Signatures[0].Sig
	case 'c':
		part = &e.Signatures[0].Certificate
	}
	*part = bytes.Clone(*part)
	copy((*part)[int(line[2])*len(*part)/256:], line[3:])
	return &e
}
