// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package chain_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/receipt"
)

func TestViewOfALinearChain(t *testing.T) {
	w := newWorld(t)
	checked := w.link(chain.KindAttest, "fraud-check", app("fraud"), nil)
	approved := w.link(chain.KindApproval, "approve", app("approver"), []*receipt.Envelope{checked})
	asked := w.ask("charge", approved)
	answered := w.answer(asked)
	again := w.state("fraud-check", answered)
	c := w.all(checked, approved, asked, answered, again)
	require.Empty(t, c.Faults())
	require.Empty(t, c.Missing())
	require.Equal(t, digests(again), c.Heads())

	v := c.View(digests(again))
	require.True(t, v.Complete())
	require.Empty(t, v.Faults())
	require.Equal(t, 4, v.Len())
	require.Equal(t, []int{0, 3}, v.Named("fraud-check"))
	require.Empty(t, v.Named("other"))
	first, err := checked.UnsafeReceipt()
	require.NoError(t, err)
	require.Equal(t, chain.Step{
		Name: "fraud-check", Kind: chain.StepStatement, Status: receipt.StatusStated, Instance: "refund-7", By: app("fraud"),
		At: first.Times.Settled, Digest: first.RequestDigest, Link: checked.PayloadDigest(),
	}, v.Step(0))
	require.Equal(t, chain.StepApproval, v.Step(1).Kind)
	require.Equal(t, app("approver"), v.Step(1).By)
	last, err := answered.UnsafeReceipt()
	require.NoError(t, err)
	require.Equal(t, chain.Step{
		Name: "charge", Kind: chain.StepTool, Server: "payments", Tool: "charge_card", Status: receipt.StatusOK,
		Instance: "refund-7", By: app("intake"), Door: app("payments"), At: last.Times.Settled,
		Link: asked.PayloadDigest(), Answer: answered.PayloadDigest(),
	}, v.Step(2))

	before := c.View(digests(asked))
	require.Equal(t, 3, before.Len())
	require.Equal(t, chain.StatusUnknown, before.Step(2).Status, "what the heads do not continue is not seen")
	require.Zero(t, before.Step(2).Door)
	require.Equal(t, []int{0}, before.Named("fraud-check"))
}
