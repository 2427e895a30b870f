// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package linkpack_test

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/linkpack"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
)

// links are those of a workflow of one statement and one call, by two signers.
func links(t testing.TB) []*receipt.Envelope {
	ca := testkit.NewCA(t, "custody.test")
	c := testkit.NewChained(t, ca.SVID("intake"), "refund-7", time.Now())
	c.State("custody.attest", "fraud-check")
	c.Call("charge", ca.SVID("payments"))
	return c.Links
}

func TestPackAndUnpack(t *testing.T) {
	in := links(t)
	text, err := linkpack.Pack(in, nil)
	require.NoError(t, err)
	out, err := linkpack.Unpack(text)
	require.NoError(t, err)
	require.Len(t, out, len(in))
	whole := 0
	for i := range in {
		require.Equal(t, string(in[i].AppendJSON(nil)), string(out[i].AppendJSON(nil)))
		whole += len(in[i].AppendJSON(nil))
	}
	require.Less(t, len(text), whole/2)

	none, err := linkpack.Pack(nil, nil)
	require.NoError(t, err)
	out, err = linkpack.Unpack(none)
	require.NoError(t, err)
	require.Empty(t, out)
}

// What is held is left out, and completed from elsewhere.
func TestHeld(t *testing.T) {
	in := links(t)
	intake, payments := in[0].Signatures[0].KeyID, in[2].Signatures[0].KeyID
	text, err := linkpack.Pack(in, func(keyID string) bool { return keyID == intake })
	require.NoError(t, err)
	out, err := linkpack.Unpack(text)
	require.NoError(t, err)
	for i, e := range out {
		require.Equal(t, in[i].Payload, e.Payload)
		require.Equal(t, e.Signatures[0].KeyID == payments, len(e.Signatures[0].Certificate) > 0)
	}
	known := linkpack.Certificates{}
	known.Learn(out[2])
	known.Complete(out[0])
	require.Empty(t, out[0].Signatures[0].Certificate, "that of another is not taken")
	known.Learn(in[1])
	known.Complete(out[0])
	require.Equal(t, in[0], out[0])
}

// What a link that is not genuine says of a key is left with that link.
func TestOtherCertificatesOfOneKey(t *testing.T) {
	in := links(t)
	changed := func(what func(*receipt.Signature)) *receipt.Envelope {
		e := *in[2]
		e.Signatures = slices.Clone(e.Signatures)
		what(&e.Signatures[0])
		return &e
	}
	for name, odd := range map[string]*receipt.Envelope{
		"another certificate": changed(func(s *receipt.Signature) { s.Certificate = []byte("leaf") }),
		"no issuer":           changed(func(s *receipt.Signature) { s.Intermediates = nil }),
		"another issuer":      changed(func(s *receipt.Signature) { s.Intermediates = [][]byte{[]byte("above")} }),
		"one more":            changed(func(s *receipt.Signature) { s.Intermediates = append(slices.Clone(s.Intermediates), []byte("above")) }),
	} {
		t.Run(name, func(t *testing.T) {
			for _, mixed := range [][]*receipt.Envelope{{odd, in[0], in[2], in[2]}, {in[0], in[2], odd, in[2], odd}} {
				text, err := linkpack.Pack(mixed, nil)
				require.NoError(t, err)
				out, err := linkpack.Unpack(text)
				require.NoError(t, err)
				require.Equal(t, mixed, out)

				text, made, err := linkpack.After(nil, mixed, nil)
				require.NoError(t, err)
				read, err := (&linkpack.Memory{}).Read(text)
				require.NoError(t, err)
				require.Equal(t, made.Borne, read.Borne)
			}
		})
	}
}

// The form is in histories: what was packed once has to be readable forever.
func TestFormStays(t *testing.T) {
	const text = "links1:YmRKTGIuzkxnYslJTUxjTUzKL0ttZaRuoVOhBCpesHkEd8WjVFsLCAAA//8="
	out, err := linkpack.Unpack(text)
	require.NoError(t, err)
	require.Equal(t, golden(), out)
}

func golden() []*receipt.Envelope {
	return []*receipt.Envelope{{
		PayloadType: receipt.PayloadType,
		Payload:     []byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"mcp.tools/call x"}],"outcome":{"status":"httpErrorrpcErrortoolError"}}`),
		Signatures:  []receipt.Signature{{KeyID: "ab", Sig: []byte("sig"), Certificate: []byte("leaf"), Intermediates: [][]byte{[]byte("above")}}},
	}}
}

func TestWhatCannotBePacked(t *testing.T) {
	other := links(t)
	other[1].PayloadType = "text/plain"
	_, err := linkpack.Pack(other, nil)
	require.ErrorIs(t, err, linkpack.ErrUnpackable)
	_, err = linkpack.Pack(slices.Repeat(golden(), linkpack.MaxLinks), nil)
	require.NoError(t, err)
	_, err = linkpack.Pack(slices.Repeat(golden(), linkpack.MaxLinks+1), nil)
	require.ErrorIs(t, err, linkpack.ErrUnpackable)
	large := golden()[0]
	large.Payload = make([]byte, linkpack.MaxUnpacked)
	_, err = linkpack.Pack([]*receipt.Envelope{large}, nil)
	require.ErrorIs(t, err, linkpack.ErrUnpackable)
}

// deflated is the form around anything, without the dictionary.
func deflated(t testing.TB, raw []byte) string {
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestCompression)
	require.NoError(t, err)
	_, err = w.Write(raw)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return "links1:" + base64.StdEncoding.EncodeToString(out.Bytes())
}

func TestWhatIsNoPack(t *testing.T) {
	text, err := linkpack.Pack(golden(), nil)
	require.NoError(t, err)
	bare, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "links1:"))
	require.NoError(t, err)
	encode := func(b []byte) string { return "links1:" + base64.StdEncoding.EncodeToString(b) }
	require.NoError(t, func() error { _, err := linkpack.Unpack(deflated(t, []byte{0, 0})); return err }(), "no signature, no payload")
	for name, in := range map[string]string{
		"empty":                 "",
		"another form":          strings.Replace(text, "links1", "links2", 1),
		"no base64":             text[:len(text)-1] + "!",
		"cut off":               encode(bare[:len(bare)-2]),
		"something behind":      encode(append(slices.Clone(bare), 0)),
		"no deflate":            encode([]byte("hello")),
		"short":                 deflated(t, []byte{0}),
		"a count too long":      deflated(t, bytes.Repeat([]byte{0xff}, 11)),
		"too many signatures":   deflated(t, append(binary.AppendUvarint(nil, receipt.MaxSignatures+1), make([]byte, 200)...)),
		"too many certificates": deflated(t, append([]byte{1, 0, 0, receipt.MaxCertificates + 1}, make([]byte, 200)...)),
		"a payload too long":    deflated(t, []byte{0, 9, 1}),
		"too many links":        deflated(t, make([]byte, 2*(linkpack.MaxLinks+1))),
		"too many bytes":        deflated(t, make([]byte, linkpack.MaxUnpacked+2)),
	} {
		_, err := linkpack.Unpack(in)
		require.ErrorIs(t, err, linkpack.ErrForm, name)
	}
}

func FuzzUnpack(f *testing.F) {
	text, err := linkpack.Pack(links(f), nil)
	require.NoError(f, err)
	f.Add(text)
	f.Add(deflated(f, []byte{0, 0}))
	f.Add("links1:")
	f.Fuzz(func(t *testing.T, text string) {
		out, err := linkpack.Unpack(text)
		if err != nil {
			require.ErrorIs(t, err, linkpack.ErrForm)
			return
		}
		again, err := linkpack.Pack(out, nil)
		require.NoError(t, err)
		back, err := linkpack.Unpack(again)
		require.NoError(t, err)
		require.Equal(t, len(out), len(back))
		for i := range out {
			require.Equal(t, out[i].AppendJSON(nil), back[i].AppendJSON(nil))
		}
	})
}

func BenchmarkPack(b *testing.B) {
	in := links(b)[1:]
	b.ReportAllocs()
	size := 0
	for b.Loop() {
		text, err := linkpack.Pack(in, func(string) bool { return true })
		require.NoError(b, err)
		size = len(text)
	}
	b.ReportMetric(float64(size), "B")
}

func BenchmarkUnpack(b *testing.B) {
	text, err := linkpack.Pack(links(b)[1:], func(string) bool { return true })
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		_, err := linkpack.Unpack(text)
		require.NoError(b, err)
	}
}
