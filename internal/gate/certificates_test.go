// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package gate_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/journal"
	"github.com/dapr-custody/custody/internal/receipt"
)

// rotated settles steps, each under a certificate of its own, and gives their questions.
func (p *parts) rotated(t *testing.T, g *gate.Gate, steps int) []receipt.Digest {
	t.Helper()
	var questions []receipt.Digest
	for task := range uint32(steps) {
		p.svids.svid = p.ca.SVID("orders")
		ask := p.step(g, task+1)
		done(t, g, ask)
		questions = append(questions, ask.Step.Question().PayloadDigest())
	}
	return questions
}

// requireAnswer requires that the answer to alice's question is there, and verifies.
func (p *parts) requireAnswer(t *testing.T, steps *gate.Steps, question receipt.Digest) {
	t.Helper()
	known, err := steps.Passed(p.alice.ID(), question)
	require.NoError(t, err)
	_, err = receipt.Verify(known.Answer, x509bundle.NewSet(p.ca.Bundle()), receipt.VerifyOptions{})
	require.NoError(t, err)
}

// An answer reads one record for its certificates, and none where they were just read, however many were used since and
// however long the journal is.
func TestCertificatesOfAnAnswerAreOneRecord(t *testing.T) {
	const rotations = 40 // more than are kept in memory
	p := working(t)
	steps, err := gate.OpenSteps(p.dir, p.now)
	require.NoError(t, err)
	questions := p.rotated(t, p.chainedBy(steps), rotations)
	reopened, err := gate.OpenSteps(p.dir, p.now)
	require.NoError(t, err)
	for name, steps := range map[string]*gate.Steps{"in one run": steps, "after a restart": reopened} {
		t.Run(name, func(t *testing.T) {
			read := gate.CountCertificatesForTest(steps)
			for i, question := range questions {
				p.requireAnswer(t, steps, question)
				require.Equal(t, i+1, *read)
				p.requireAnswer(t, steps, question)
				require.Equal(t, i+1, *read)
			}
			p.requireAnswer(t, steps, questions[0])
			require.Equal(t, rotations+1, *read)
		})
	}
}

// The oldest signers are forgotten, and nobody looks for them.
func TestSignersAreBounded(t *testing.T) {
	p := working(t)
	steps, err := gate.OpenSteps(p.dir, p.now)
	require.NoError(t, err)
	gate.LimitSignersForTest(steps, 2)
	questions := p.rotated(t, p.chainedBy(steps), 5)
	read := gate.CountCertificatesForTest(steps)
	for _, question := range questions[:3] {
		_, err := steps.Passed(p.alice.ID(), question)
		require.ErrorIs(t, err, receipt.ErrCertificate)
	}
	require.Zero(t, *read)
	for _, question := range questions[3:] {
		p.requireAnswer(t, steps, question)
	}
	require.Equal(t, 2, *read)
}

// The certificates of an answer may stand in an earlier segment than those that are read for steps. They are looked for
// when a door starts, and not again.
func TestCertificatesFurtherBack(t *testing.T) {
	p := working(t)
	require.NoError(t, p.journal.Close())
	var err error
	p.journal, err = journal.Open(journal.Options{Dir: p.dir, SegmentBytes: 1}) // a record each
	require.NoError(t, err)
	g := p.chained()
	var last gate.Ask
	for task := range uint32(6) {
		last = p.step(g, task+1)
		done(t, g, last)
	}
	certificates := ""
	require.NoError(t, journal.Read(p.dir, func(r journal.Record) error {
		if r.Kind == journal.KindCertificates {
			require.Empty(t, certificates)
			certificates = filepath.Join(p.dir, r.Segment)
		}
		return nil
	}))
	text, err := os.ReadFile(certificates)
	require.NoError(t, err)

	steps, err := gate.OpenSteps(p.dir, p.now)
	require.NoError(t, err)
	read := gate.CountCertificatesForTest(steps)
	p.requireAnswer(t, steps, last.Step.Question().PayloadDigest())
	require.Equal(t, 1, *read)

	// Where they were cut off the answer cannot be given, and what was not there at the start is not looked for.
	require.NoError(t, os.Remove(certificates))
	steps, err = gate.OpenSteps(p.dir, p.now)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(certificates, text, 0o600))
	_, err = steps.Passed(p.alice.ID(), last.Step.Question().PayloadDigest())
	require.ErrorIs(t, err, receipt.ErrCertificate)
}

// A record where certificates should be that is none, or another's, is not taken for them.
func TestCertificatesThatWereExchanged(t *testing.T) {
	p := working(t)
	steps, err := gate.OpenSteps(p.dir, p.now)
	require.NoError(t, err)
	questions := p.rotated(t, p.chainedBy(steps), 2)
	var places []journal.Place
	require.NoError(t, journal.Read(p.dir, func(r journal.Record) error {
		places = append(places, r.Place())
		return nil
	}))
	for i, at := range places[1:] { // the first are those of the first answer
		gate.ReadCertificatesAtForTest(steps, at)
		_, err := steps.Passed(p.alice.ID(), questions[0])
		require.ErrorIs(t, err, receipt.ErrCertificate, i)
	}
	gate.ReadCertificatesAtForTest(steps, places[0])
	p.requireAnswer(t, steps, questions[0])
}
