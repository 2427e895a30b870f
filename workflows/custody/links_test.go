// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/linkpack"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/workflows/custody"
)

// Results bear each certificate once, and the workflow has links with all of them, also once its worker has forgotten
// what it knew.
func TestEachCertificateIsKeptOnce(t *testing.T) {
	const calls = 3
	w := newWorld(t, func(worker *custody.Worker) {
		require.NoError(t, worker.AddWorkflow("refund", func(ctx *custody.Context) (any, error) {
			for range calls {
				if _, err := echo(ctx, "echo", "order"); err != nil {
					return nil, err
				}
			}
			worker.Forget()
			if err := custody.Attest(ctx, "done", nil).Await(nil); err != nil {
				return nil, err
			}
			return ctx.Links(), nil
		}))
	})
	var links []custody.Link
	w.run("refund", "r1", nil, &links)
	require.Len(t, links, 2*calls+1)
	for i, link := range links {
		e, err := receipt.DecodeEnvelope(link.Envelope)
		require.NoError(t, err)
		require.Equal(t, e.Digest(), link.Digest)
		require.NotEmpty(t, e.Signatures[0].Certificate, "link %d", i)
		require.Contains(t, w.sidecar.signed(), e, "link %d", i)
	}

	borne := map[string]int{}
	for _, e := range w.kept("r1") {
		for _, s := range e.Signatures {
			if len(s.Certificate) > 0 {
				borne[s.KeyID]++
			}
		}
	}
	require.Len(t, borne, 2)
	for keyID, n := range borne {
		require.Equal(t, 1, n, keyID)
	}
}

// A server that says of another's key what is not so spoils no link but its own: here of the key that the second server
// signs with.
func TestServerCannotSpoilAnothersLinks(t *testing.T) {
	for name, way := range map[string]trouble{"in the answer": none, "in events": streamed, "when it is asked": outgrown} {
		t.Run(name, func(t *testing.T) {
			failed := 0
			w := newWorld(t, func(worker *custody.Worker) {
				require.NoError(t, worker.AddWorkflow("refund", func(ctx *custody.Context) (any, error) {
					if _, err := echo(ctx, "echo", "order", custody.WithStep("first")); err != nil {
						failed++
					}
					for range 2 {
						if _, err := echo(ctx, "echo", "order"); err != nil {
							return nil, err
						}
					}
					worker.Forget()
					return ctx.Links(), custody.Attest(ctx, "done", nil).Await(nil)
				}))
			})
			second := w.sidecar.ca.SVID("payments")
			w.sidecar.trouble = func(step string, _ int) trouble {
				if step == "first" {
					return way
				}
				return none
			}
			w.sidecar.twist = func(answer *receipt.Envelope) *receipt.Envelope {
				w.sidecar.twist = nil
				w.sidecar.svids["payments"] = second
				twisted := *answer
				twisted.Signatures = append(slices.Clone(answer.Signatures), receipt.Signature{
					KeyID: receipt.KeyID(second.Certificates[0]), Sig: []byte("none"), Certificate: second.Certificates[0].Raw,
				})
				return &twisted
			}
			w.run("refund", "r1", nil, nil)
			require.Positive(t, failed)
			kept := w.links("r1")
			report := chain.Verify(kept, chain.Options{Bundles: w.sidecar.ca.Bundle(), Running: true})
			require.Empty(t, report.All())
			require.Len(t, report.Chains, 1)
		})
	}
}

// links are those in the results of an instance, with their certificates.
func (w *world) links(id string) []*receipt.Envelope {
	w.t.Helper()
	var all []*receipt.Envelope
	memory := &linkpack.Memory{}
	for _, result := range w.results(id) {
		var out struct {
			Links string `json:"links"`
		}
		require.NoError(w.t, json.Unmarshal([]byte(result), &out))
		found, err := memory.Read(out.Links)
		require.NoError(w.t, err)
		memory.Learn(found)
		all = append(all, found.Links...)
	}
	return all
}

// kept are the links in the results of an instance, as they stand there.
func (w *world) kept(id string) []*receipt.Envelope {
	w.t.Helper()
	var all []*receipt.Envelope
	memory := &linkpack.Memory{}
	for _, result := range w.results(id) {
		var out struct {
			Custody int    `json:"custody"`
			Links   string `json:"links"`
		}
		require.NoError(w.t, json.Unmarshal([]byte(result), &out))
		require.Equal(w.t, 2, out.Custody)
		found, err := memory.Read(out.Links)
		require.NoError(w.t, err)
		for _, e := range found.Links { // as they stand there
			for i := range e.Signatures {
				if _, borne := found.Borne[e.Signatures[i].KeyID]; !borne {
					e.Signatures[i].Certificate = nil
				}
			}
		}
		memory.Learn(found)
		all = append(all, found.Links...)
	}
	return all
}

// What earlier versions kept is read: links in an array.
func TestLinksOfEarlierHistories(t *testing.T) {
	const old = `[{"digest":"sha256:00","envelope":{"payload":"","payloadType":"","signatures":[]}}]`
	links, err := custody.ReadLinks([]byte(old))
	require.NoError(t, err)
	require.Len(t, links, 1)
	require.Equal(t, "sha256:00", links[0].Digest)

	raw, err := custody.WriteLinks([]custody.Link{{Digest: "sha256:00", Envelope: json.RawMessage(`{"no":"envelope"}`)}})
	require.NoError(t, err)
	require.JSONEq(t, `[{"digest":"sha256:00","envelope":{"no":"envelope"}}]`, string(raw), "what cannot be packed is kept whole")

	for _, wrong := range []string{`"links1:"x`, `"links2:"`, `{}`, `7`} {
		_, err := custody.ReadLinks([]byte(wrong))
		require.Error(t, err, wrong)
	}
}

// A result keeps its links after those of the result before, also in what a worker gives that has just started.
func TestLinksAreKeptAfterOthers(t *testing.T) {
	w := newWorld(t, func(worker *custody.Worker) {
		require.NoError(t, worker.AddWorkflow("refund", func(ctx *custody.Context) (any, error) {
			for i := range 4 {
				if _, err := echo(ctx, "echo", "order"); err != nil {
					return nil, err
				}
				if i == 1 {
					worker.Forget()
				}
			}
			return nil, nil
		}))
	})
	w.run("refund", "r1", nil, nil)
	require.Len(t, w.kept("r1"), 8, "they are read by what is in the history alone")
	var after []bool
	for _, text := range w.results("r1") {
		after = append(after, strings.Contains(text, `"links":"links2:`))
	}
	require.Equal(t, []bool{false, true}, after[:2])
	w.verified("r1", w.sidecar.signed())
}

// results are the results of the activities of an instance.
func (w *world) results(id string) []string {
	w.t.Helper()
	history, err := w.client.GetInstanceHistory(w.t.Context(), id)
	require.NoError(w.t, err)
	var all []string
	for _, e := range history.Events {
		if e.GetTaskCompleted() != nil {
			all = append(all, e.GetTaskCompleted().GetResult().GetValue())
		}
	}
	return all
}
