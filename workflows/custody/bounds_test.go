// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/dapr/durabletask-go/api"
	"github.com/dapr/durabletask-go/api/protos"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/dapr-custody/custody/internal/linkpack"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/workflows/custody"
)

// bloated is a link of so many bytes, which deflate to next to nothing.
func bloated(n, bytes int) *receipt.Envelope {
	payload := make([]byte, bytes)
	copy(payload, fmt.Sprint(n))
	return &receipt.Envelope{PayloadType: receipt.PayloadType, Payload: payload, Signatures: []receipt.Signature{{KeyID: "k", Sig: []byte("s")}}}
}

// history is one of results with these links, each by itself, as Dapr passes it on.
func history(t *testing.T, links []*receipt.Envelope) *api.PropagatedHistory {
	t.Helper()
	chunk := &protos.PropagatedHistoryChunk{AppId: "other", InstanceId: "i", WorkflowName: "w"}
	for i, e := range links {
		text, err := linkpack.Pack([]*receipt.Envelope{e}, nil)
		require.NoError(t, err)
		raw, err := proto.Marshal(&protos.HistoryEvent{EventId: int32(i), EventType: &protos.HistoryEvent_TaskCompleted{
			TaskCompleted: &protos.TaskCompletedEvent{Result: wrapperspb.String(fmt.Sprintf(`{"custody":2,"links":%q}`, text))},
		}})
		require.NoError(t, err)
		chunk.RawEvents = append(chunk.RawEvents, raw)
	}
	h, err := api.PropagatedHistoryFromProto(&protos.PropagatedHistory{
		Scope: protos.HistoryPropagationScope_HISTORY_PROPAGATION_SCOPE_LINEAGE, Chunks: []*protos.PropagatedHistoryChunk{chunk},
	})
	require.NoError(t, err)
	return h
}

// A history that another app passes on takes no more of a worker than links do anyway, however little it is itself.
func TestPropagatedLinksAreBounded(t *testing.T) {
	c := testkit.NewChained(t, testkit.NewCA(t, "custody.test").SVID("intake"), "refund-7", time.Now())
	for range 20 {
		c.State("custody.attest", "fraud-check")
	}
	require.Len(t, custody.Propagated(history(t, c.Links)), 20, "what is usual is read whole")

	const each = 8 << 20
	var links []*receipt.Envelope
	for n := range 3 * custody.MaxPast / each {
		links = append(links, bloated(n, each))
	}
	require.LessOrEqual(t, len(custody.Propagated(history(t, links)))*each, custody.MaxPast)
	for i := range links {
		links[i] = links[0]
	}
	require.Len(t, custody.Propagated(history(t, append(links, c.Links...))), 1, "the same many times is as much to read")
}

// So does what a child or a generation before carries.
func TestCarriedLinksAreBounded(t *testing.T) {
	links := func(n, bytes int) []custody.Link {
		all := make([]custody.Link, n)
		for i := range all {
			all[i] = custody.LinkOf(bloated(i, bytes))
		}
		return all
	}
	for name, tt := range map[string]struct {
		links []custody.Link
		want  int
	}{
		"as many as are carried": {links(custody.MaxCarriedLinks, 500), custody.MaxCarriedLinks},
		"more":                   {links(custody.MaxCarriedLinks+7, 500), custody.MaxCarriedLinks},
		"larger":                 {links(100, 100<<10), 7},
		"one that is too large":  {links(1, 8<<20), 0},
	} {
		t.Run(name, func(t *testing.T) {
			wrapped, err := custody.Carrying(tt.links)
			require.NoError(t, err)
			for _, raw := range [][]byte{wrapped, []byte(custody.Failing(tt.links))} {
				got := custody.CarriedLinks(raw)
				require.Len(t, got, tt.want)
				if tt.want > 0 {
					require.Equal(t, tt.links[len(tt.links)-1].Digest, got[tt.want-1].Digest, "the newest are kept")
				}
			}
		})
	}
}
