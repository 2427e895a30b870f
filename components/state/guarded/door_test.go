// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package guarded_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dapr/components-contrib/metadata"
	"github.com/dapr/components-contrib/state"
	"github.com/dapr/components-contrib/state/query"
	conformance "github.com/dapr/components-contrib/tests/conformance/state"
	spiffecontext "github.com/dapr/kit/crypto/spiffe/context"
	"github.com/dapr/kit/logger"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/components/state/guarded"
	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/identity"
	"github.com/dapr-custody/custody/internal/journal"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/internal/txn"
)

// door is a store before which policy stands.
type door struct {
	t       *testing.T
	ca      *testkit.CA
	self    *source
	dir     string
	set     *policy.Set
	writer  *journal.Writer
	options guarded.Options
	store   *guarded.Store
}

type appKey struct{}

// by is the context of a request by an app.
func by(t *testing.T, app string) context.Context {
	t.Helper()
	return context.WithValue(t.Context(), appKey{}, app)
}

func newDoor(t *testing.T, rules string) *door {
	t.Helper()
	d := &door{t: t, ca: testkit.NewCA(t, "custody.test"), dir: t.TempDir()}
	d.self = &source{svid: d.ca.SVID("custody-components")}
	d.allow(rules)
	var err error
	d.writer, err = journal.Open(journal.Options{Dir: filepath.Join(d.dir, "journal")})
	require.NoError(t, err)
	g, err := gate.New(gate.Options{
		Door: guarded.Door, Policy: func() *policy.Set { return d.set }, SVIDs: d.self, Journal: d.writer, Now: time.Now,
	})
	require.NoError(t, err)
	verifier := identity.NewVerifier(d.ca.Bundle(), time.Now)
	d.options = guarded.Options{Backends: backends(), Access: &guarded.Access{
		Gate: g, Tokens: txn.NewVerifier(d.ca.Bundle()), Journal: d.writer,
		Metadata: func(_ identity.Caller, _ string, said map[string]string) (map[string]string, error) { return said, nil },
		Caller: func(ctx context.Context) identity.Caller {
			app, ok := ctx.Value(appKey{}).(string)
			if !ok {
				return identity.Caller{}
			}
			caller, err := verifier.Verify(d.ca.SVID(app).Certificates)
			require.NoError(t, err)
			return caller
		},
	}}
	t.Cleanup(func() { require.NoError(t, errors.Join(d.store.Close(), d.writer.Close())) })
	d.open(map[string]string{"backend": "sqlite", "connectionString": filepath.Join(d.dir, "state.db")})
	return d
}

func (d *door) open(properties map[string]string) {
	d.t.Helper()
	d.store = guarded.New(d.options, quiet)
	require.NoError(d.t, d.store.Init(spiffecontext.WithX509(d.t.Context(), d.self), named("carts", properties)))
}

func named(name string, properties map[string]string) state.Metadata {
	return state.Metadata{Base: metadata.Base{Name: name, Properties: properties}}
}

// allow puts the rules in force.
func (d *door) allow(rules string) {
	d.t.Helper()
	documents, err := policy.Parse("carts.yaml", []byte("apiVersion: custody.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: carts}\nspec:\n  rules:\n"+rules))
	require.NoError(d.t, err)
	d.set, _, err = policy.Compile(documents, policy.CompileOptions{TrustDomain: testkit.TrustDomain("custody.test"), Namespace: "default"})
	require.NoError(d.t, err)
}

func (d *door) receipts() []*receipt.Receipt {
	d.t.Helper()
	return testkit.ReadJournal(d.t, filepath.Join(d.dir, "journal"), d.ca.Bundle()).Receipts
}

func (d *door) last() *receipt.Receipt {
	all := d.receipts()
	return all[len(all)-1]
}

// put writes rows past the door's policy.
func (d *door) put(keys ...string) {
	d.t.Helper()
	plain := guarded.New(guarded.Options{Backends: backends()}, quiet)
	dir := d.t.TempDir()
	require.NoError(d.t, plain.Init(spiffecontext.WithX509(d.t.Context(), d.self), named("plain", map[string]string{
		"backend": "sqlite", "connectionString": filepath.Join(d.dir, "state.db"), "journalDir": filepath.Join(dir, "journal"),
	})))
	for _, key := range keys {
		require.NoError(d.t, plain.Set(d.t.Context(), &state.SetRequest{Key: key, Value: []byte(`"` + key + `"`)}))
	}
	require.NoError(d.t, plain.Close())
}

func (d *door) denied(err error) {
	d.t.Helper()
	var refusal *gate.DeniedError
	require.ErrorAs(d.t, err, &refusal)
}

const cartRules = `
  - {name: carts, effect: allow, from: [shop], to: {server: carts, state: {operations: [get, set, delete, transact], keys: ["cart-*"]}}}
  - {name: audit, effect: allow, from: [auditor], to: {server: carts, state: {operations: [get, keys], keys: ["*"]}}}
  - {name: no-secrets, effect: deny, from: [auditor], to: {server: carts, state: {operations: [get], keys: ["shop||cart-secret"]}}}
`

// A key that no record has room for is refused, on record.
func TestKeysThatAreTooLong(t *testing.T) {
	d := newDoor(t, `
  - {name: all, effect: allow, from: [shop], to: {server: carts, state: {operations: ["*"], keys: ["*"]}}}
`)
	longest := strings.Repeat("k", 4096)
	_, err := d.store.Get(by(t, "shop"), &state.GetRequest{Key: longest})
	require.NoError(t, err)
	for _, key := range []string{longest + "k", strings.Repeat("é", 2049), strings.Repeat("k", 2<<20)} {
		before := len(d.receipts())
		_, err := d.store.Get(by(t, "shop"), &state.GetRequest{Key: key})
		d.denied(err)
		receipts := d.receipts()
		require.Len(t, receipts, before+1)
		require.LessOrEqual(t, len(receipts[before].Action.Name), 4096)
	}
}

// A record names such a key otherwise than the store does, so that two rows would have one name in it.
func TestKeysThatAreNotText(t *testing.T) {
	d := newDoor(t, `
  - {name: all, effect: allow, from: [shop], to: {server: carts, state: {operations: ["*"], keys: ["*"]}}}
`)
	for _, key := range []string{"shop||cart-\xff", "shop||\xc3", "\xed\xa0\x80"} {
		_, err := d.store.Get(by(t, "shop"), &state.GetRequest{Key: key})
		d.denied(err)
		d.denied(d.store.BulkSet(by(t, "shop"), []state.SetRequest{{Key: "shop||a", Value: []byte("1")}, {Key: key, Value: []byte("1")}}, state.BulkStoreOpts{}))
		require.Equal(t, "a key is not in UTF-8", d.last().Decision.Reason)
	}
	for _, key := range []string{"shop||\x00", "shop||\ufffd", "shop||é"} {
		require.NoError(t, d.store.Set(by(t, "shop"), &state.SetRequest{Key: key, Value: []byte("1")}))
	}
}

// What anchors vouch for is the history of the app itself. Another's could be written anew otherwise, with the server's word
// for it.
func TestNobodyVouchesForTheHistoryOfAnother(t *testing.T) {
	d := newDoor(t, `
  - {name: all, effect: allow, from: [shop, other], to: {server: carts, state: {operations: ["*"], keys: ["*"]}}}
`)
	const own = "shop||dapr.internal.default.shop.workflow||refund-1||signature-000000"
	ways := map[string]func(app, key string) error{
		"set": func(app, key string) error {
			return d.store.Set(by(t, app), &state.SetRequest{Key: key, Value: []byte("signature")})
		},
		"bulk set": func(app, key string) error {
			return d.store.BulkSet(by(t, app), []state.SetRequest{{Key: app + "||x", Value: []byte("1")}, {Key: key, Value: []byte("signature")}}, state.BulkStoreOpts{})
		},
		"delete": func(app, key string) error { return d.store.Delete(by(t, app), &state.DeleteRequest{Key: key}) },
		"bulk delete": func(app, key string) error {
			return d.store.BulkDelete(by(t, app), []state.DeleteRequest{{Key: key}}, state.BulkStoreOpts{})
		},
		"transaction": func(app, key string) error {
			return d.store.Multi(by(t, app), &state.TransactionalStateRequest{Operations: []state.TransactionalStateOperation{
				state.SetRequest{Key: key, Value: []byte("signature")}, state.DeleteRequest{Key: key},
			}})
		},
	}
	for name, do := range ways {
		require.NoError(t, do("shop", own), name)
	}
	anchored := len(d.anchors())
	require.NotZero(t, anchored)
	for name, do := range ways {
		err := do("other", own)
		d.denied(err)
		d.denied(do("shop", strings.Replace(own, ".default.", ".prod.", 1)))
		require.Len(t, d.anchors(), anchored, name)
	}
	_, err := d.store.Get(by(t, "other"), &state.GetRequest{Key: own})
	require.NoError(t, err, "what policy allows to be read is read")
}

// anchors are the receipts of histories.
func (d *door) anchors() []*receipt.Receipt {
	return slices.DeleteFunc(d.receipts(), func(r *receipt.Receipt) bool {
		return r.Action.Kind != gate.KindHistory && r.Action.Kind != gate.KindHistoryRemoved
	})
}

func TestKeysAreDecided(t *testing.T) {
	d := newDoor(t, cartRules)
	d.put("shop||cart-1", "shop||cart-secret", "shop||order-1", "other||cart-1")
	get := func(app, key string) error {
		_, err := d.store.Get(by(t, app), &state.GetRequest{Key: key})
		return err
	}
	require.NoError(t, get("shop", "shop||cart-1"))
	d.denied(get("shop", "shop||order-1"))
	d.denied(get("shop", "other||cart-1"))
	d.denied(get("other", "other||cart-1"))
	d.denied(get("shop", ""))
	require.NoError(t, get("auditor", "shop||cart-1"))
	d.denied(get("auditor", "shop||cart-secret"))

	set := func(app, key string) error {
		return d.store.Set(by(t, app), &state.SetRequest{Key: key, Value: []byte("1")})
	}
	require.NoError(t, set("shop", "shop||cart-2"))
	d.denied(set("shop", "shop||order-1"))
	d.denied(set("auditor", "shop||cart-2"))
	require.NoError(t, d.store.Delete(by(t, "shop"), &state.DeleteRequest{Key: "shop||cart-2"}))
	d.denied(d.store.Delete(by(t, "auditor"), &state.DeleteRequest{Key: "shop||cart-1"}))

	_, err := d.store.Get(t.Context(), &state.GetRequest{Key: "shop||cart-1"})
	d.denied(err) // nobody
}

// Many keys are allowed together, or nothing happens.
func TestWholeOrNotAtAll(t *testing.T) {
	d := newDoor(t, cartRules)
	d.put("shop||cart-1", "shop||order-1")
	ctx := by(t, "shop")
	both := []state.GetRequest{{Key: "shop||cart-1"}, {Key: "shop||order-1"}}
	got, err := d.store.BulkGet(ctx, both[:1], state.BulkGetOpts{})
	require.NoError(t, err)
	require.Len(t, got, 1)
	got, err = d.store.BulkGet(ctx, both, state.BulkGetOpts{})
	d.denied(err)
	require.Empty(t, got)

	value := []byte("new")
	sets := []state.SetRequest{{Key: "shop||cart-1", Value: value}, {Key: "shop||order-1", Value: value}}
	d.denied(d.store.BulkSet(ctx, sets, state.BulkStoreOpts{}))
	d.denied(d.store.BulkDelete(ctx, []state.DeleteRequest{{Key: "shop||cart-1"}, {Key: "shop||order-1"}}, state.BulkStoreOpts{}))
	d.denied(d.store.Multi(ctx, save(map[string]string{"shop||cart-1": "new"}, "shop||order-1")))
	kept, err := d.store.Get(ctx, &state.GetRequest{Key: "shop||cart-1"})
	require.NoError(t, err)
	require.Equal(t, `"shop||cart-1"`, string(kept.Data))

	require.NoError(t, d.store.BulkSet(ctx, sets[:1], state.BulkStoreOpts{}))
	require.NoError(t, d.store.Multi(ctx, save(map[string]string{"shop||cart-2": "new"}, "shop||cart-1")))
	require.NoError(t, d.store.BulkDelete(ctx, []state.DeleteRequest{{Key: "shop||cart-2"}}, state.BulkStoreOpts{}))
	require.NoError(t, d.store.Multi(ctx, save(nil)), "nothing is asked")

	// Who may write each key may not for that use transactions.
	d.allow(`
  - {name: carts, effect: allow, from: [shop], to: {server: carts, state: {operations: [set], keys: ["cart-*"]}}}
`)
	d.denied(d.store.Multi(ctx, save(map[string]string{"shop||cart-3": "new"})))
	require.NoError(t, d.store.Set(ctx, &state.SetRequest{Key: "shop||cart-3", Value: value}))
}

func TestListedKeysAreDecidedEach(t *testing.T) {
	d := newDoor(t, cartRules)
	d.put("shop||cart-1", "shop||order-1", "shop||cart%9")
	list := func(app, pattern string) ([]string, error) {
		resp, err := d.store.KeysLike(by(t, app), &state.KeysLikeRequest{Pattern: pattern})
		if err != nil {
			return nil, err
		}
		return resp.Keys, nil
	}
	denied := func(app, pattern string) {
		t.Helper()
		_, err := list(app, pattern)
		d.denied(err)
	}
	all, err := list("auditor", "shop||%")
	require.NoError(t, err)
	require.Len(t, all, 3)
	denied("shop", "shop||cart-%")
	d.allow(`
  - {name: audit, effect: allow, from: [auditor], to: {server: carts, state: {operations: [keys, get], keys: ["*"]}}}
  - {name: but, effect: deny, from: [auditor], to: {server: carts, state: {operations: [keys], keys: ["shop||order-*"]}}}
  - {name: carts, effect: allow, from: [shop], to: {server: carts, state: {operations: [keys, get], keys: ["cart-*"]}}}
`)
	denied("auditor", "shop||%")
	_, err = list("auditor", "shop||cart-%")
	require.NoError(t, err)
	all, err = list("shop", "shop||cart-%")
	require.NoError(t, err)
	require.Equal(t, []string{"shop||cart-1"}, all)
	for _, pattern := range []string{"%", "", "shop||%", "shop||cart%", "shop||cart_1", `shop||cart\%9`, "shop||order-1", "sh_p||cart-1", "other||cart-%"} {
		denied("shop", pattern)
	}
}

// Who may list keys and not get them learns of none, as with queries.
func TestListedKeysAreThoseThatMayBeGot(t *testing.T) {
	d := newDoor(t, `
  - {name: list, effect: allow, from: [auditor, lister], to: {server: carts, state: {operations: [keys], keys: ["*"]}}}
  - {name: audit, effect: allow, from: [auditor], to: {server: carts, state: {operations: [get], keys: ["*"]}}}
  - {name: but, effect: deny, from: [auditor], to: {server: carts, state: {operations: [get], keys: ["shop||secret-*"]}}}
`)
	d.put("shop||cart-1", "shop||secret-1")
	for app, pattern := range map[string]string{"auditor": "shop||%", "lister": "shop||cart-%"} {
		resp, err := d.store.KeysLike(by(t, app), &state.KeysLikeRequest{Pattern: pattern})
		require.ErrorIs(t, err, guarded.ErrWithheld, app)
		require.Nil(t, resp)
		require.Equal(t, receipt.StatusWithheld, d.last().Outcome.Status)
	}
	_, err := d.store.KeysLike(by(t, "auditor"), &state.KeysLikeRequest{Pattern: "shop||cart-%"})
	require.NoError(t, err)
}

// A receipt tells two values apart wherever the store does, and knows one value however it came.
func TestDigestsTellValuesApart(t *testing.T) {
	d := newDoor(t, cartRules)
	digest := func(value any) receipt.Digest {
		require.NoError(t, d.store.Set(by(t, "shop"), &state.SetRequest{Key: "shop||cart-1", Value: value}))
		return d.last().RequestDigest
	}
	seen := map[receipt.Digest]any{}
	for _, value := range []any{nil, "", "1", float64(1), true, "true", []any{"a b"}, []any{"a", "b"}, map[string]any{"a": "b"}, "map[a:b]", []byte{}} {
		sum := digest(value)
		require.NotContains(t, seen, sum, "%v and %v", value, seen[sum])
		seen[sum] = value
	}
	require.Equal(t, digest(map[string]any{"a": "b"}), digest([]byte(`{"a":"b"}`)), "HTTP and gRPC")
	require.NotEqual(t, digest([]byte("1")), digest([]byte("2")))
	before := len(d.receipts())
	d.denied(d.store.Set(by(t, "shop"), &state.SetRequest{Key: "shop||cart-1", Value: func() {}}))
	require.Len(t, d.receipts(), before+1)
}

// found is a store whose queries find what a test says.
type found struct {
	state.Store

	keys []string
}

func (f *found) Query(context.Context, *state.QueryRequest) (*state.QueryResponse, error) {
	resp := &state.QueryResponse{}
	for _, key := range f.keys {
		resp.Results = append(resp.Results, state.QueryItem{Key: key, Data: []byte("1")})
	}
	return resp, nil
}

// A query tells no row that its caller may not get.
func TestFoundRowsAreDecidedEach(t *testing.T) {
	d := newDoor(t, `
  - {name: find, effect: allow, from: [shop], to: {server: carts, state: {operations: [query], keys: ["*"]}}}
  - {name: get, effect: allow, from: [shop, other], to: {server: carts, state: {operations: [get], keys: ["cart-*"]}}}
`)
	backend := &found{}
	d.options.Backends["found"] = func(log logger.Logger) state.Store {
		backend.Store = d.options.Backends["in-memory"](log)
		return backend
	}
	require.NoError(t, d.store.Close())
	d.open(map[string]string{"backend": "found"})
	ask := &state.QueryRequest{Query: query.Query{}}
	backend.keys = []string{"shop||cart-1", "shop||cart-2"}
	resp, err := d.store.Query(by(t, "shop"), ask)
	require.NoError(t, err)
	require.Len(t, resp.Results, 2)
	_, err = d.store.Query(by(t, "other"), ask)
	d.denied(err)
	backend.keys = []string{"shop||cart-1", "shop||order-1"}
	resp, err = d.store.Query(by(t, "shop"), ask)
	require.ErrorIs(t, err, guarded.ErrWithheld)
	require.Nil(t, resp)
	require.Equal(t, receipt.StatusWithheld, d.last().Outcome.Status)
}

func TestWhatTheRecordSays(t *testing.T) {
	d := newDoor(t, cartRules)
	ctx := by(t, "shop")
	require.NoError(t, d.store.Multi(ctx, save(map[string]string{"shop||cart-1": "secret"}, "shop||cart-0")))
	_, err := d.store.Get(ctx, &state.GetRequest{Key: "shop||cart-1"})
	require.NoError(t, err)
	d.denied(d.store.Set(ctx, &state.SetRequest{Key: "shop||order-1", Value: []byte("secret")}))
	etag := "7"
	require.Error(t, d.store.Set(ctx, &state.SetRequest{Key: "shop||cart-1", Value: []byte("x"), ETag: &etag}))

	all := d.receipts()
	require.Len(t, all, 4)
	for _, r := range all {
		require.Equal(t, "spiffe://custody.test/ns/default/custody-components", r.Door.SPIFFEID.String())
		require.Equal(t, "spiffe://custody.test/ns/default/shop", r.Caller.SPIFFEID.String())
		require.Equal(t, "carts", r.Action.Server)
		require.False(t, r.RequestDigest.IsZero())
	}
	require.Equal(t, policy.KindStateTransact, all[0].Action.Kind)
	require.Equal(t, []receipt.Touched{
		{Kind: "state.set", Name: "cart-1"},
		{Kind: "state.transact", Name: "cart-1"},
		{Kind: "state.delete", Name: "cart-0"},
		{Kind: "state.transact", Name: "cart-0"},
	}, all[0].Touched)
	require.Equal(t, receipt.StatusOK, all[1].Outcome.Status)
	require.False(t, all[1].Outcome.ResponseDigest.IsZero())
	require.Equal(t, receipt.StatusDenied, all[2].Outcome.Status)
	require.Equal(t, "order-1", all[2].Action.Name)
	require.Equal(t, receipt.StatusFailed, all[3].Outcome.Status)
}

func TestResultsThatAreTooLarge(t *testing.T) {
	d := newDoor(t, `
  - {name: small, effect: allow, from: [shop], to: {server: carts, state: {operations: [get], keys: ["*"]}}, maxResultBytes: 40}
`)
	d.put("shop||cart-1", "shop||cart-2")
	ctx := by(t, "shop")
	_, err := d.store.Get(ctx, &state.GetRequest{Key: "shop||cart-1"})
	require.NoError(t, err)
	got, err := d.store.BulkGet(ctx, []state.GetRequest{{Key: "shop||cart-1"}, {Key: "shop||cart-2"}}, state.BulkGetOpts{})
	require.ErrorIs(t, err, guarded.ErrWithheld)
	require.EqualError(t, err, "the result is withheld (reference "+d.last().ID+")")
	require.Empty(t, got)
	require.Equal(t, receipt.StatusWithheld, d.last().Outcome.Status)
}

func TestNothingPassesWhenSomethingIsBroken(t *testing.T) {
	for name, breaks := range map[string]func(*door){
		"no policy":   func(d *door) { d.set = nil },
		"no identity": func(d *door) { d.self.err = errors.New("gone") },
		"no journal":  func(d *door) { require.NoError(d.t, os.RemoveAll(filepath.Join(d.dir, "journal"))) },
		"old identity": func(d *door) {
			d.self.svid.Certificates[0].NotAfter = d.self.svid.Certificates[0].NotBefore
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDoor(t, cartRules)
			d.put("shop||cart-1")
			breaks(d)
			ctx := by(t, "shop")
			var closed *gate.ClosedError
			resp, err := d.store.Get(ctx, &state.GetRequest{Key: "shop||cart-1"})
			require.ErrorAs(t, err, &closed)
			require.Nil(t, resp)
			require.ErrorAs(t, d.store.Set(ctx, &state.SetRequest{Key: "shop||cart-1", Value: []byte("new")}), &closed)
			require.ErrorAs(t, d.store.Multi(ctx, save(nil, "shop||cart-1")), &closed)
			plain := guarded.New(guarded.Options{Backends: backends()}, quiet)
			require.NoError(t, plain.Init(spiffecontext.WithX509(t.Context(), &source{svid: d.ca.SVID("x")}), named("plain", map[string]string{
				"backend": "sqlite", "connectionString": filepath.Join(d.dir, "state.db"), "journalDir": filepath.Join(t.TempDir(), "journal"),
			})))
			kept, err := plain.Get(t.Context(), &state.GetRequest{Key: "shop||cart-1"})
			require.NoError(t, err)
			require.Equal(t, `"shop||cart-1"`, string(kept.Data))
			require.NoError(t, plain.Close())
		})
	}
}

// What a server says of its journal no component says.
func TestServedStoresHaveNoJournal(t *testing.T) {
	d := newDoor(t, cartRules)
	for _, extra := range []string{"journalDir", "durability"} {
		err := guarded.New(d.options, quiet).Init(spiffecontext.WithX509(t.Context(), d.self), named("carts", map[string]string{"backend": "in-memory", extra: "group"}))
		require.ErrorContains(t, err, "component server's to say")
	}
	d.options.Access = &guarded.Access{Gate: d.options.Access.Gate}
	err := guarded.New(d.options, quiet).Init(spiffecontext.WithX509(t.Context(), d.self), named("carts", map[string]string{"backend": "in-memory"}))
	require.ErrorContains(t, err, "every part is required")
}

// allowed is a store behind a policy that allows everything, called by one app.
type allowed struct{ *guarded.Store }

func (a allowed) Init(ctx context.Context, meta state.Metadata) error {
	meta.Name = "carts"
	return a.Store.Init(ctx, meta)
}

// decided gives each call its caller.
type decided struct {
	actorStore

	door *door
}

func (d decided) ctx(ctx context.Context) context.Context {
	return spiffecontext.WithX509(context.WithValue(ctx, appKey{}, "shop"), d.door.self)
}

func (d decided) Init(ctx context.Context, meta state.Metadata) error {
	return d.actorStore.Init(d.ctx(ctx), meta)
}

func (d decided) Get(ctx context.Context, req *state.GetRequest) (*state.GetResponse, error) {
	return d.actorStore.Get(d.ctx(ctx), req)
}

func (d decided) BulkGet(ctx context.Context, req []state.GetRequest, opts state.BulkGetOpts) ([]state.BulkGetResponse, error) {
	return d.actorStore.BulkGet(d.ctx(ctx), req, opts)
}

func (d decided) Set(ctx context.Context, req *state.SetRequest) error {
	return d.actorStore.Set(d.ctx(ctx), req)
}

func (d decided) BulkSet(ctx context.Context, req []state.SetRequest, opts state.BulkStoreOpts) error {
	return d.actorStore.BulkSet(d.ctx(ctx), req, opts)
}

func (d decided) Delete(ctx context.Context, req *state.DeleteRequest) error {
	return d.actorStore.Delete(d.ctx(ctx), req)
}

func (d decided) BulkDelete(ctx context.Context, req []state.DeleteRequest, opts state.BulkStoreOpts) error {
	return d.actorStore.BulkDelete(d.ctx(ctx), req, opts)
}

func (d decided) Multi(ctx context.Context, req *state.TransactionalStateRequest) error {
	return d.actorStore.Multi(d.ctx(ctx), req)
}

func (d decided) KeysLike(ctx context.Context, req *state.KeysLikeRequest) (*state.KeysLikeResponse, error) {
	return d.actorStore.KeysLike(d.ctx(ctx), req)
}

// With everything allowed the suite of components-contrib finds nothing changed.
func TestConformanceBehindPolicy(t *testing.T) {
	config, err := conformance.NewTestConfig("sqlite", []string{"transaction", "etag", "first-write", "ttl", "actorStateStore", "keyslike"}, map[string]any{})
	require.NoError(t, err)
	d := newDoor(t, `
  - {name: all, effect: allow, from: [shop], to: {server: carts, state: {operations: ["*"], keys: ["*"]}}}
`)
	store := decided{actorStore: allowed{guarded.New(d.options, quiet)}, door: d}
	conformance.ConformanceTests(t, map[string]string{"backend": "sqlite", "connectionString": filepath.Join(t.TempDir(), "state.db")}, store, config)
	require.NotEmpty(t, d.receipts())
}
