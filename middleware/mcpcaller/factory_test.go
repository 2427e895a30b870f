// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpcaller_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/journal"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/middleware/mcpcaller"
)

func TestFactoryKnowsWhatItMade(t *testing.T) {
	r := newRig(t)
	require.True(t, r.factory.Made("mcpcaller"))
	require.False(t, r.factory.Made("other"))
	r.factory.Forget("mcpcaller")
	require.False(t, r.factory.Made("mcpcaller"))
	_, err := r.factory.Make("mcpcaller", r.meta)
	require.NoError(t, err, "the journal is still open")
	require.True(t, r.factory.Made("mcpcaller"))
}

func TestMakeFails(t *testing.T) {
	inUse := filepath.Join(t.TempDir(), "journal")
	writer, err := journal.Open(journal.Options{Dir: inUse})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, writer.Close()) })
	broken := filepath.Join(t.TempDir(), "broken")
	require.NoError(t, os.MkdirAll(broken, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(broken, "00000001.journal"), []byte("no journal"), 0o600))
	tests := []struct {
		name   string
		change func(*mcpcaller.Host, map[string]string) error
		want   string
	}{
		{"no host yet", func(*mcpcaller.Host, map[string]string) error { return errors.New("no identity yet") }, "no identity yet"},
		{"no mTLS", func(h *mcpcaller.Host, _ map[string]string) error { h.SVIDs = nil; return nil }, "start it with mTLS"},
		{"no roots", func(h *mcpcaller.Host, _ map[string]string) error { h.Bundles = nil; return nil }, "start it with mTLS"},
		{"metadata", func(_ *mcpcaller.Host, m map[string]string) error { m["server"] = "x"; return nil }, `"server" is not known`},
		{"journal of another", func(_ *mcpcaller.Host, m map[string]string) error { m["journalDir"] = inUse; return nil }, "in use by another writer"},
		{"no journal", func(_ *mcpcaller.Host, m map[string]string) error { m["journalDir"] = broken; return nil }, "00000001.journal"},
		{"no folder", func(_ *mcpcaller.Host, m map[string]string) error { m["journalDir"] = "/dev/null"; return nil }, "/dev/null"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			host, meta := r.host, map[string]string{"journalDir": filepath.Join(t.TempDir(), "journal")}
			hostErr := test.change(&host, meta)
			factory := mcpcaller.NewFactory(func() (mcpcaller.Host, error) { return host, hostErr })
			_, err := factory.Make("x", meta)
			require.ErrorContains(t, err, `mcpcaller "x": `)
			require.ErrorContains(t, err, test.want)
			require.False(t, factory.Made("x"))
			require.NoError(t, factory.Close())
		})
	}
}

// A reload goes on in the journal and with the links of before; a new identity of the host signs.
func TestReloadKeepsTheLinks(t *testing.T) {
	r := newRig(t, func(r *rig) { r.host.JournalSuffix = "-a" })
	first := r.call(aStep(1)).header.Get(mcpcaller.HeaderQuestion)
	r.host.SVIDs = r.ca.SVID("refunds") // as after a SIGHUP
	_, err := r.factory.Make("mcpcaller", r.meta)
	require.NoError(t, err)
	require.Equal(t, first, r.call(aStep(1)).header.Get(mcpcaller.HeaderQuestion))
	require.Equal(t, 200, r.call(aStep(2)).status)
	require.Len(t, r.records().Receipts, 2)
	var certificates int
	require.NoError(t, journal.Read(r.meta["journalDir"]+"-a", func(record journal.Record) error {
		if record.Kind == journal.KindCertificates {
			certificates++
			_, err := receipt.DecodeCertificates(record.Payload)
			return err
		}
		return nil
	}))
	require.Equal(t, 2, certificates)
}
