// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package receipt_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
)

// links are receipts as links of chains are: all that the short way reads.
func (w *world) links() map[string]*receipt.Receipt {
	plain := func(r *receipt.Receipt) *receipt.Receipt {
		r.Decision.Reason, r.Decision.Shadow = "rule allows it", nil
		r.Touched, r.TouchedMore, r.Statement = nil, 0, nil
		r.Workflow.Chain.Instance = "wf-0"
		r.Outcome.Rows, r.Outcome.Redacted = 0, nil
		return r
	}
	bare, alone, outside := plain(w.asked()), plain(w.full()), plain(w.full())
	bare.Txn, bare.Actors, bare.Caller, bare.Prev, bare.ArgumentsDigest = "", nil, receipt.Caller{}, nil, receipt.Digest{}
	alone.Workflow.Chain, alone.Prev = nil, alone.Prev[:1]
	outside.Workflow, outside.Outcome.Reason = nil, ""
	return map[string]*receipt.Receipt{
		"question": plain(w.asked()), "answer": plain(w.full()), "bare question": bare, "no chain": alone, "no workflow": outside, "least": w.least(),
	}
}

// What the short way reads, the general decoder reads the same.
func TestDecodeCanonical(t *testing.T) {
	w := newWorld(t)
	for name, r := range w.links() {
		payload := w.sign(t, r).Payload
		want, err := receipt.DecodeAny(payload)
		require.NoError(t, err)
		require.Equal(t, want, receipt.DecodeCanonical(payload), name)
		got, err := (&receipt.Envelope{Payload: payload}).UnsafeReceipt()
		require.NoError(t, err)
		require.Equal(t, want, got, name)
	}
}

// What is written in any other way is left to the general decoder.
func TestDecodeCanonicalLeaves(t *testing.T) {
	w := newWorld(t)
	good := string(w.sign(t, w.links()["answer"]).Payload)
	require.NotNil(t, receipt.DecodeCanonical([]byte(good)))
	for from, to := range map[string]string{
		`{"_type"`:               ` {"_type"`,
		`"httpStatus":200`:       `"httpStatus":0200`,
		`"seq":41`:               `"seq":99999999999999999999`,
		`"generation":2`:         `"generation":4294967298`,
		`"task":4`:               `"task":0`,
		`"step":"charge"`:        `"step":"\u0063harge"`,
		`"name":"refund"`:        "\"name\":\"ref\xffund\"",
		`"app":"refunds"`:        `"app":"refunds","app":"refunds"`,
		`"journal":{"id":"`:      `"journal":{"iD":"`,
		`"policy":"orders"`:      `"policy":""`,
		`orders/get_order"`:      `orders/get_orders"`,
		`mcp.tools/call orders/`: `mcp.tools/call 0rders/`,
		`{"sha256":"`:            `{"sha512":"`,
		`,"prev":["sha256:`:      `,"prev":["sha256:0`,
		`"settled":"2`:           `"settled":"+2`,
		`Z"},"outcome"`:          `+00:00"},"outcome"`,
		`"reason":"because"`:     `"reason":"because","rows":3`,
		`"status":"ok"`:          `"more":1,"status":"ok"`,
		`spiffe://custody.te`:    `spiffe://Custody.te`,
	} {
		require.Contains(t, good, from)
		other := strings.Replace(good, from, to, 1)
		require.NotEqual(t, good, other)
		require.Nil(t, receipt.DecodeCanonical([]byte(other)), to)
	}
	for i := range len(good) {
		require.Nil(t, receipt.DecodeCanonical([]byte(good[:i])))
	}
	require.Nil(t, receipt.DecodeCanonical([]byte(good+" ")))
	require.Nil(t, receipt.DecodeCanonical(w.sign(t, w.full()).Payload), "parts that links do not have")
}

func FuzzDecodeCanonical(f *testing.F) {
	w := newWorld(f)
	for _, r := range w.links() {
		f.Add(w.sign(f, r).Payload)
	}
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		got := receipt.DecodeCanonical(payload)
		want, err := receipt.DecodeAny(payload)
		if got == nil {
			return
		}
		if err == nil {
			require.Equal(t, want, got)
			return
		}
		_, again := (&receipt.Envelope{Payload: payload}).UnsafeReceipt()
		require.EqualError(t, again, err.Error(), "it is refused for the same reason")
	})
}

func BenchmarkUnsafeReceipt(b *testing.B) {
	w := newWorld(b)
	e := w.sign(b, w.links()["answer"])
	b.ReportAllocs()
	for b.Loop() {
		_, err := e.UnsafeReceipt()
		require.NoError(b, err)
	}
}
