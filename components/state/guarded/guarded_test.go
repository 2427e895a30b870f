// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package guarded_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/dapr/components-contrib/metadata"
	"github.com/dapr/components-contrib/state"
	inmemory "github.com/dapr/components-contrib/state/in-memory"
	spiffecontext "github.com/dapr/kit/crypto/spiffe/context"
	"github.com/dapr/kit/logger"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"

	stores "github.com/dapr-custody/custody/components/state/backends"
	"github.com/dapr-custody/custody/components/state/guarded"
	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
)

var quiet = logger.NewLogger("test")

func backends() map[string]func(logger.Logger) state.Store { return stores.All() }

// source is an identity that a test can take away.
type source struct {
	svid *x509svid.SVID
	err  error
}

func (s *source) GetX509SVID() (*x509svid.SVID, error) { return s.svid, s.err }

// rig is a store that works over SQLite.
type rig struct {
	t      *testing.T
	ca     *testkit.CA
	source *source
	dir    string
	store  *guarded.Store
}

func newRig(t *testing.T) *rig {
	t.Helper()
	ca := testkit.NewCA(t, "custody.test")
	r := &rig{t: t, ca: ca, source: &source{svid: ca.SVID("intake")}, dir: t.TempDir()}
	r.store = guarded.New(guarded.Options{Backends: backends()}, quiet)
	require.NoError(t, r.store.Init(spiffecontext.WithX509(t.Context(), r.source), r.metadata(nil)))
	t.Cleanup(func() { require.NoError(t, r.store.Close()) })
	return r
}

func (r *rig) metadata(change map[string]string) state.Metadata {
	properties := map[string]string{
		"backend": "sqlite", "connectionString": filepath.Join(r.dir, "state.db"), "journalDir": filepath.Join(r.dir, "journal"),
		"actorStateStore": "true",
	}
	for name, value := range change {
		properties[name] = value
	}
	return state.Metadata{Base: metadata.Base{Name: "workflows", Properties: properties}}
}

func (r *rig) journal() testkit.Journal {
	r.t.Helper()
	return testkit.ReadJournal(r.t, filepath.Join(r.dir, "journal"), r.ca.Bundle())
}

func row(name string) string {
	return "intake||dapr.internal.default.intake.workflow||refund-7||" + name
}

// save is a transaction as Dapr's workflow engine makes it.
func save(rows map[string]string, removed ...string) *state.TransactionalStateRequest {
	request := &state.TransactionalStateRequest{}
	for name, value := range rows {
		request.Operations = append(request.Operations, state.SetRequest{Key: name, Value: []byte(value)})
	}
	for _, name := range removed {
		request.Operations = append(request.Operations, state.DeleteRequest{Key: name})
	}
	return request
}

func TestSignaturesAreAnchored(t *testing.T) {
	r := newRig(t)
	require.NoError(t, r.store.Multi(t.Context(), save(map[string]string{
		row("history-000000"): "event", row("signature-000000"): "signed once", row("metadata"): "m", row("sigcert-000000"): "c",
	})))
	require.NoError(t, r.store.Multi(t.Context(), save(map[string]string{row("signature-000001"): "signed twice"})))

	got := r.journal()
	require.Len(t, got.Receipts, 2)
	require.Len(t, got.Intents, 2)
	for i, value := range []string{"signed once", "signed twice"} {
		a := got.Receipts[i]
		require.Equal(t, receipt.StatusAnchored, a.Outcome.Status)
		require.Equal(t, receipt.Action{Kind: gate.KindHistory, Server: "workflows", Name: "refund-7"}, a.Action)
		require.Equal(t, receipt.Sum([]byte(value)), a.RequestDigest)
		require.Equal(t, &receipt.Workflow{Instance: "refund-7", App: "intake", Task: uint32(i) + 1}, a.Workflow)
		require.Equal(t, "spiffe://custody.test/ns/default/intake", a.Door.SPIFFEID.String())
		require.Equal(t, got.Intents[i].ID, a.ID)
	}
	kept, err := r.store.Get(t.Context(), &state.GetRequest{Key: row("signature-000000")})
	require.NoError(t, err)
	require.Equal(t, "signed once", string(kept.Data))
}

func TestEveryWayOfWritingIsSeen(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	set := func(i int) state.SetRequest {
		return state.SetRequest{Key: row(fmt.Sprintf("signature-%06d", i)), Value: []byte{byte(i), 1}}
	}
	first := set(0)
	require.NoError(t, r.store.Set(ctx, &first))
	require.NoError(t, r.store.BulkSet(ctx, []state.SetRequest{set(1), set(2)}, state.BulkStoreOpts{}))
	require.NoError(t, r.store.Delete(ctx, &state.DeleteRequest{Key: first.Key}))
	require.NoError(t, r.store.BulkDelete(ctx, []state.DeleteRequest{{Key: set(1).Key}}, state.BulkStoreOpts{}))
	require.NoError(t, r.store.Multi(ctx, save(nil, set(2).Key)))

	var kinds []string
	for _, a := range r.journal().Receipts {
		kinds = append(kinds, fmt.Sprint(a.Action.Kind, " ", a.Workflow.Task))
	}
	require.Equal(t, []string{
		"custody.history 1", "custody.history 2", "custody.history 3",
		"custody.history-removed 1", "custody.history-removed 2", "custody.history-removed 3",
	}, kinds)
}

// What is no signature of a workflow's history costs nothing.
func TestOtherRowsPass(t *testing.T) {
	r := newRig(t)
	for _, key := range []string{
		"intake||order-1", "intake||cart||7||signature-000001", row("history-000001"), row("signature-1"), row("signature-00000x"),
		row("signature-"), row("xsignature-000001"), row("signature-000001||x"), "intake||dapr.internal.default.other.workflow||i||signature-000001",
		"intake||dapr.internal.default.intake.activity||i||signature-000001", "||dapr.internal.default..workflow||i||signature-000001",
		"intake||dapr.internal.default.intake.workflow||signature-000001", "signature-000001", row("signature-99999999999"),
	} {
		require.NoError(t, r.store.Multi(t.Context(), save(map[string]string{key: "v"}, "intake||gone")), key)
	}
	require.Empty(t, r.journal().Receipts)
	require.Empty(t, r.journal().Intents)
}

// Names of instances may hold the separator.
func TestInstanceWithSeparator(t *testing.T) {
	r := newRig(t)
	key := "intake||dapr.internal.default.intake.workflow||a||b||signature-000003"
	require.NoError(t, r.store.Multi(t.Context(), save(map[string]string{key: "v"})))
	require.Equal(t, "a||b", r.journal().Receipts[0].Action.Name)
}

func TestNothingIsWrittenWithoutRecord(t *testing.T) {
	signature := save(map[string]string{row("signature-000000"): "s", row("metadata"): "m"})
	other := save(map[string]string{"intake||order": "o"})
	for name, c := range map[string]struct {
		breaks func(*rig)
	}{
		"no identity":     {func(r *rig) { r.source.err = errors.New("gone") }},
		"no journal":      {func(r *rig) { require.NoError(r.t, os.RemoveAll(filepath.Join(r.dir, "journal"))) }},
		"identity is old": {func(r *rig) { r.source.svid.Certificates[0].NotAfter = r.source.svid.Certificates[0].NotBefore }},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			c.breaks(r)
			require.ErrorContains(t, r.store.Multi(t.Context(), signature), "not written without a record")
			kept, err := r.store.Get(t.Context(), &state.GetRequest{Key: row("metadata")})
			require.NoError(t, err)
			require.Empty(t, kept.Data)
			require.NoError(t, r.store.Multi(t.Context(), other), "rows of no workflow need no record")
		})
	}
}

// What was written and could not be vouched for is told as that, and the journal says that it may have been done.
func TestWrittenWithoutRecord(t *testing.T) {
	ca := testkit.NewCA(t, "custody.test")
	identity := &source{svid: ca.SVID("intake")}
	dir := t.TempDir()
	store := guarded.New(guarded.Options{Backends: map[string]func(logger.Logger) state.Store{
		"lossy": func(log logger.Logger) state.Store {
			return &lossy{Store: inmemory.NewInMemoryStateStore(log), identity: identity}
		},
	}}, quiet)
	require.NoError(t, store.Init(spiffecontext.WithX509(t.Context(), identity), state.Metadata{Base: metadata.Base{
		Name: "s", Properties: map[string]string{"backend": "lossy", "journalDir": filepath.Join(dir, "journal")},
	}}))
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	err := store.Set(t.Context(), &state.SetRequest{Key: row("signature-000000"), Value: []byte("s")})
	require.ErrorContains(t, err, "was written without a record")
	journal := testkit.ReadJournal(t, filepath.Join(dir, "journal"), ca.Bundle())
	require.Len(t, journal.Intents, 1)
	require.Empty(t, journal.Receipts)
}

// lossy is a backend during whose writes the identity is lost.
type lossy struct {
	state.Store

	identity *source
}

func (l *lossy) Set(ctx context.Context, req *state.SetRequest) error {
	l.identity.err = errors.New("gone")
	return l.Store.Set(ctx, req)
}

// A transaction that the backend refused stands in the journal as begun only.
func TestRefusedTransaction(t *testing.T) {
	r := newRig(t)
	etag := "not this one"
	request := save(map[string]string{row("signature-000000"): "s"})
	request.Operations = append(request.Operations, state.SetRequest{Key: row("metadata"), Value: []byte("m"), ETag: &etag})
	require.Error(t, r.store.Multi(t.Context(), request))
	require.Empty(t, r.journal().Receipts)
	require.Len(t, r.journal().Intents, 1)
}

func TestSignatureThatIsNotBytes(t *testing.T) {
	r := newRig(t)
	request := &state.TransactionalStateRequest{Operations: []state.TransactionalStateOperation{
		state.SetRequest{Key: row("signature-000000"), Value: "text"},
	}}
	require.ErrorContains(t, r.store.Multi(t.Context(), request), "not given as bytes")
	require.Empty(t, r.journal().Intents)
}

func TestInitRefuses(t *testing.T) {
	r := newRig(t)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for name, c := range map[string]struct {
		change map[string]string
		ctx    context.Context
		want   string
	}{
		"no backend":         {map[string]string{"backend": ""}, nil, `metadata "backend" is missing`},
		"another backend":    {map[string]string{"backend": "mongodb"}, nil, `"mongodb" is not one of dynamodb, in-memory, postgresql, redis, sqlite`},
		"no journal":         {map[string]string{"journalDir": ""}, nil, `metadata "journalDir" is missing`},
		"another durability": {map[string]string{"durability": "never"}, nil, `metadata "durability"`},
		"journal is a file":  {map[string]string{"journalDir": file}, nil, "journal"},
		"backend refuses":    {map[string]string{"connectionString": ""}, nil, "backend sqlite"},
		"no identity":        {nil, t.Context(), "no identity"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := c.ctx
			if ctx == nil {
				ctx = spiffecontext.WithX509(t.Context(), r.source)
			}
			store := guarded.New(guarded.Options{Backends: backends()}, quiet)
			require.ErrorContains(t, store.Init(ctx, r.metadata(c.change)), c.want)
			require.NoError(t, store.Close())
		})
	}
}

// Names of metadata count in any case, and the component's own do not reach the backend.
func TestNamesOfMetadata(t *testing.T) {
	ca := testkit.NewCA(t, "custody.test")
	var seen map[string]string
	store := guarded.New(guarded.Options{Backends: map[string]func(logger.Logger) state.Store{
		"spy": func(log logger.Logger) state.Store {
			return &spy{Store: inmemory.NewInMemoryStateStore(log), seen: &seen}
		},
	}, JournalSuffix: "-2"}, quiet)
	dir := t.TempDir()
	err := store.Init(spiffecontext.WithX509(t.Context(), &source{svid: ca.SVID("a")}), state.Metadata{Base: metadata.Base{
		Name: "s", Properties: map[string]string{"BACKEND": "spy", "journaldir": filepath.Join(dir, "j"), "Durability": "sync", "host": "h"},
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	require.Equal(t, map[string]string{"host": "h"}, seen)
	require.DirExists(t, filepath.Join(dir, "j-2"))
	require.ErrorContains(t, store.Multi(t.Context(), save(nil)), "the backend has no transactions")
	_, err = store.Query(t.Context(), nil)
	require.ErrorContains(t, err, "the backend has no queries")
	_, err = store.KeysLike(t.Context(), nil)
	require.ErrorContains(t, err, "the backend has no listing of keys")
}

// spy is a backend that can do the least.
type spy struct {
	state.Store

	seen *map[string]string
}

func (s *spy) Init(_ context.Context, meta state.Metadata) error {
	*s.seen = meta.Properties
	return nil
}

func FuzzKeys(f *testing.F) {
	f.Add(row("signature-000001"))
	f.Add("a||b||c")
	ca := testkit.NewCA(f, "custody.test")
	store := guarded.New(guarded.Options{Backends: backends()}, quiet)
	require.NoError(f, store.Init(spiffecontext.WithX509(f.Context(), &source{svid: ca.SVID("a")}), state.Metadata{Base: metadata.Base{
		Name: "s", Properties: map[string]string{"backend": "in-memory", "journalDir": filepath.Join(f.TempDir(), "j")},
	}}))
	f.Cleanup(func() { require.NoError(f, store.Close()) })
	f.Fuzz(func(t *testing.T, key string) {
		if key == "" {
			return
		}
		require.NoError(t, store.Set(t.Context(), &state.SetRequest{Key: key, Value: []byte("v")}))
	})
}
