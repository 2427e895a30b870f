// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package gate_test

import (
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/journal"
	"github.com/dapr-custody/custody/internal/receipt"
)

// step is an ask that is a step of a chain.
func step(t *testing.T, p *parts) gate.Ask {
	t.Helper()
	svid := p.ca.SVID("alice")
	signer, err := receipt.NewSigner(svid.PrivateKey, svid.Certificates)
	require.NoError(t, err)
	ask := echo(p.alice)
	ask.Workflow = &receipt.Workflow{
		Chain: &receipt.Chain{App: svid.ID, Instance: "i", Started: p.now}, Instance: "i", App: "alice", Task: 1, Step: "echo",
	}
	ask.Question, err = receipt.Sign(&receipt.Receipt{
		ID: "q", Door: receipt.Door{SPIFFEID: svid.ID}, Action: receipt.Action{Kind: ask.Action.Kind, Server: ask.Action.Server, Name: ask.Action.Name},
		RequestDigest: ask.Request, Decision: receipt.Decision{Effect: receipt.EffectAllow}, Workflow: ask.Workflow,
		Journal: receipt.Journal{ID: "j", Chain: receipt.Sum([]byte("j"))}, Times: receipt.Times{Decided: p.now, Settled: p.now},
		Outcome: receipt.Outcome{Status: receipt.StatusAsked},
	}, signer)
	require.NoError(t, err)
	return ask
}

// The answer to a question names the step and continues the question, and its intent does.
func TestAnswerToAQuestion(t *testing.T) {
	p := working(t)
	g := p.gate()
	ask := step(t, p)
	permit, err := g.Check(ask)
	require.NoError(t, err)
	require.Nil(t, permit.Answer(), "there is no answer yet")
	require.True(t, permit.Places().Receipt.IsZero())
	digest, err := permit.Settle(receipt.Outcome{Status: receipt.StatusOK})
	require.NoError(t, err)

	verified, err := receipt.Verify(permit.Answer(), x509bundle.NewSet(p.ca.Bundle()), receipt.VerifyOptions{})
	require.NoError(t, err, "it bears its certificates")
	require.Equal(t, digest, permit.Answer().Digest())
	prev := []receipt.Digest{ask.Question.PayloadDigest()}
	require.Equal(t, prev, verified.Receipt.Prev)
	require.Equal(t, ask.Workflow.Task, verified.Receipt.Workflow.Task)
	require.True(t, ask.Workflow.Chain.Equal(verified.Receipt.Workflow.Chain))

	read := p.read()
	require.Equal(t, []string{digest}, read.Digests)
	require.Equal(t, prev, read.Intents[0].Prev)
	require.True(t, ask.Workflow.Chain.Equal(read.Intents[0].Workflow.Chain))
	question, err := receipt.DecodeEnvelope(read.Intents[0].Question)
	require.NoError(t, err)
	require.Equal(t, ask.Question.Digest(), question.Digest())
	for place, kind := range map[journal.Place]journal.Kind{
		permit.Places().Intent: journal.KindIntent, permit.Places().Receipt: journal.KindReceipt,
	} {
		got, _, err := journal.ReadAt(p.dir, place)
		require.NoError(t, err)
		require.Equal(t, kind, got)
	}
}

func TestDenialOfAQuestion(t *testing.T) {
	p := working(t)
	ask := step(t, p)
	ask.Caller = p.bob
	_, err := p.gate().Check(ask)
	var denied *gate.DeniedError
	require.ErrorAs(t, err, &denied)
	verified, err := receipt.Verify(denied.Answer, x509bundle.NewSet(p.ca.Bundle()), receipt.VerifyOptions{})
	require.NoError(t, err)
	require.Equal(t, receipt.StatusDenied, verified.Receipt.Outcome.Status)
	require.Equal(t, []receipt.Digest{ask.Question.PayloadDigest()}, verified.Receipt.Prev)
	require.Empty(t, p.read().Intents)
}

// What is no step has no answer of its own, and an answer that is not on record is none.
func TestNoAnswer(t *testing.T) {
	p := working(t)
	g := p.gate()
	permit, err := g.Check(echo(p.alice))
	require.NoError(t, err)
	_, err = permit.Settle(receipt.Outcome{Status: receipt.StatusOK})
	require.NoError(t, err)
	require.Nil(t, permit.Answer())
	require.Nil(t, p.read().Receipts[0].Workflow)
	require.Empty(t, p.read().Receipts[0].Prev)

	permit, err = g.Check(step(t, p))
	require.NoError(t, err)
	require.WithinDuration(t, p.now, permit.Decided(), time.Second)
	require.NoError(t, p.journal.Close())
	_, err = permit.Settle(receipt.Outcome{Status: receipt.StatusOK})
	require.ErrorIs(t, err, gate.ErrJournal)
	require.Nil(t, permit.Answer())
}
