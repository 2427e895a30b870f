// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package guarded_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/dapr/components-contrib/state"
	spiffecontext "github.com/dapr/kit/crypto/spiffe/context"
	"github.com/dapr/kit/logger"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/dapr-custody/custody/components/state/guarded"
	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/identity"
	"github.com/dapr-custody/custody/internal/journal"
	"github.com/dapr-custody/custody/internal/policydir"
	"github.com/dapr-custody/custody/internal/rate"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/internal/txn"
)

// aside is the sidecar of the app shop, with a store before which a door of its own stands.
type aside struct {
	t          *testing.T
	ca         *testkit.CA
	self       *source
	roots      *x509bundle.Set
	dir        string
	properties map[string]string
	host       guarded.Host
	sidecar    *guarded.Sidecar
	now        func() time.Time
	log        *said
	store      *guarded.Store
}

// said is a log, to which policies are told beside requests.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(text)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

const shopRules = `
  - {name: carts, effect: allow, from: [shop], to: {server: carts, state: {operations: [get, set], keys: ["cart-*"]}}}
`

// newAside makes the sidecar ready; open opens its store.
func newAside(t *testing.T, rules string) *aside {
	t.Helper()
	ca := testkit.NewCA(t, "custody.test")
	a := &aside{t: t, ca: ca, self: &source{svid: ca.SVID("shop")}, roots: x509bundle.NewSet(ca.Bundle()), dir: t.TempDir(), now: time.Now, log: &said{}}
	a.properties = map[string]string{
		"backend": "sqlite", "connectionString": a.path("state.db"), "journalDir": a.path("journal"), "policyDir": a.path("policies"),
	}
	a.host = guarded.Host{
		ID: a.self.svid.ID, AppID: "shop", Namespace: "default", SVIDs: a.self, Bundles: a.roots, StatusFile: a.path("shop.json"),
		PolicyGrace: time.Millisecond,
	}
	a.sidecar = guarded.NewSidecar(func() (guarded.Host, error) { return a.host, nil })
	require.NoError(t, os.Mkdir(a.path("policies"), 0o700))
	a.rule(rules)
	return a
}

func startAside(t *testing.T, rules string) *aside {
	t.Helper()
	a := newAside(t, rules)
	a.store = a.open("carts")
	return a
}

func (a *aside) path(name string) string { return filepath.Join(a.dir, name) }

func (a *aside) rule(rules string) {
	a.t.Helper()
	file := a.path("policies/carts.yaml")
	text := "apiVersion: custody.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: carts}\nspec:\n  rules:\n" + rules
	require.NoError(a.t, os.WriteFile(file+".new", []byte(text), 0o600))
	require.NoError(a.t, os.Rename(file+".new", file))
}

func (a *aside) made(name string) (*guarded.Store, error) {
	a.t.Helper()
	log := logger.NewLogger(a.t.Name() + name)
	log.SetOutput(a.log)
	store := guarded.New(guarded.Options{Backends: backends(), Sidecar: a.sidecar, Now: a.now}, log)
	return store, store.Init(spiffecontext.WithX509(a.t.Context(), a.self), named(name, a.properties))
}

func (a *aside) open(name string) *guarded.Store {
	a.t.Helper()
	store, err := a.made(name)
	require.NoError(a.t, err)
	a.t.Cleanup(func() { require.NoError(a.t, store.Close()) })
	return store
}

func (a *aside) set(key string) error {
	return a.store.Set(a.t.Context(), &state.SetRequest{Key: "shop||" + key, Value: []byte("1")})
}

func (a *aside) get(key string) error {
	_, err := a.store.Get(a.t.Context(), &state.GetRequest{Key: "shop||" + key})
	return err
}

// kept are the values in the backend, whatever stands before it.
func (a *aside) kept(key string) string {
	a.t.Helper()
	backend := backends()["sqlite"](quiet)
	require.NoError(a.t, backend.Init(a.t.Context(), named("plain", map[string]string{"connectionString": a.path("state.db")})))
	got, err := backend.Get(a.t.Context(), &state.GetRequest{Key: "shop||" + key})
	require.NoError(a.t, errors.Join(err, backend.Close()))
	return string(got.Data)
}

func (a *aside) receipts() []*receipt.Receipt {
	a.t.Helper()
	return testkit.ReadJournal(a.t, a.path("journal"), a.ca.Bundle()).Receipts
}

// The app's requests are decided and recorded with the sidecar's own identity, and it is told no reason.
func TestSidecarDecides(t *testing.T) {
	a := startAside(t, shopRules)
	require.NoError(t, a.set("cart-1"))
	require.NoError(t, a.get("cart-1"))
	err := a.set("order-1")
	var refusal *gate.DeniedError
	require.ErrorAs(t, err, &refusal)
	require.EqualError(t, err, "policy denied this (reference "+refusal.Reference+")")
	require.Equal(t, "1", a.kept("cart-1"))
	require.Empty(t, a.kept("order-1"))

	all := a.receipts()
	require.Len(t, all, 3)
	for _, r := range all {
		require.Equal(t, a.self.svid.ID, r.Caller.SPIFFEID)
		require.Equal(t, "x509-svid", r.Caller.Proof)
		require.False(t, r.Caller.CertificateDigest.IsZero())
		require.Equal(t, receipt.Door{SPIFFEID: a.self.svid.ID, Name: guarded.Door}, r.Door)
		require.Equal(t, "carts", r.Action.Server)
	}
	require.Equal(t, "carts", all[0].Decision.Rule)
	require.Equal(t, refusal.Reference, all[2].ID)
	require.NotContains(t, a.log.String(), "NOT decided")

	// Another app with the same rules is another caller.
	a.rule(strings.ReplaceAll(shopRules, "[shop]", "[shop2]"))
	require.ErrorAs(t, a.get("cart-1"), &refusal)
}

// A store without policyDir says that it decides nothing.
func TestWitnessSaysWhatItIs(t *testing.T) {
	a := newAside(t, shopRules)
	delete(a.properties, "policyDir")
	a.store = a.open("carts")
	require.Equal(t, 1, strings.Count(a.log.String(), "requests are NOT decided by policy here"))
	require.NoError(t, a.set("order-1"))
	require.Empty(t, a.receipts())
}

func TestChangedPolicyIsInForce(t *testing.T) {
	a := startAside(t, shopRules)
	require.Error(t, a.set("order-1"))
	a.rule(strings.ReplaceAll(shopRules, "cart-*", "order-*"))
	require.NoError(t, a.set("order-1"))
	require.Error(t, a.set("cart-1"))
	require.NoError(t, os.WriteFile(a.path("policies/broken.yaml"), []byte("kind: Acc"), 0o600))
	require.NoError(t, a.set("order-1"), "what is broken changes nothing")
}

// Whatever is broken or missing, nothing is written and nothing told.
func TestSidecarFailsClosed(t *testing.T) {
	for name, c := range map[string]struct {
		before, after func(*aside) // the store is opened
		denied        bool         // on record
	}{
		"no policy":     {func(a *aside) { require.NoError(a.t, os.Remove(a.path("policies/carts.yaml"))) }, nil, true},
		"no folder":     {func(a *aside) { require.NoError(a.t, os.RemoveAll(a.path("policies"))) }, nil, false},
		"broken policy": {func(a *aside) { a.rule("  - {name: carts, effect: maybe}\n") }, nil, false},
		"no identity":   {nil, func(a *aside) { a.self.err = errors.New("gone") }, false},
		"certificate ended": {nil, func(a *aside) {
			a.self.svid.Certificates[0].NotAfter = time.Now().Add(-time.Minute)
		}, false},
		"roots gone": {nil, func(a *aside) { a.roots.Remove(testkit.TrustDomain("custody.test")) }, true},
		"other roots": {nil, func(a *aside) {
			a.roots.Add(testkit.NewCA(a.t, "custody.test").Bundle())
		}, true},
		"other certificate": {nil, func(a *aside) { a.self.svid = testkit.NewCA(a.t, "custody.test").SVID("shop") }, true},
		"journal gone":      {nil, func(a *aside) { require.NoError(a.t, os.RemoveAll(a.path("journal"))) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAside(t, shopRules)
			if c.before != nil {
				c.before(a)
			}
			a.store = a.open("carts")
			if c.after != nil {
				require.NoError(t, a.set("cart-0"))
				c.after(a)
			}
			for _, err := range []error{
				a.set("cart-1"), a.get("cart-0"),
				a.store.Multi(t.Context(), save(map[string]string{"shop||cart-1": "1"})),
				a.store.Delete(t.Context(), &state.DeleteRequest{Key: "shop||cart-0"}),
			} {
				var (
					denied *gate.DeniedError
					closed *gate.ClosedError
				)
				if c.denied {
					require.ErrorAs(t, err, &denied)
					require.Regexp(t, `^policy denied this \(reference [0-9a-f-]{36}\)$`, err.Error())
					continue
				}
				require.ErrorAs(t, err, &closed)
				require.Regexp(t, `^this could not be decided and recorded \(reference [0-9a-f-]{36}\)$`, err.Error())
				require.Contains(t, a.log.String(), closed.Cause.Error(), "the operator is told")
			}
			require.Empty(t, a.kept("cart-1"))
			require.Equal(t, c.after != nil, a.kept("cart-0") != "")
		})
	}
}

// Rules that are taken away are gone. Where the folder itself is away nobody knows what it says, and what was in force
// stays, as before every other guard.
func TestPolicyIsTakenAway(t *testing.T) {
	a := startAside(t, shopRules)
	require.NoError(t, os.Rename(a.path("policies"), a.path("moved")))
	require.NoError(t, a.set("cart-1"))
	require.Error(t, a.set("order-1"))
	require.NoError(t, os.Rename(a.path("moved"), a.path("policies")))
	require.NoError(t, os.Remove(a.path("policies/carts.yaml")))
	require.Eventually(t, func() bool { return a.set("cart-1") != nil }, time.Minute, time.Millisecond)
	require.Error(t, a.get("cart-1"))
}

func TestFullDisk(t *testing.T) {
	a := newAside(t, shopRules)
	require.NoError(t, os.Mkdir(a.path("mount"), 0o700))
	if err := unix.Mount("tmpfs", a.path("mount"), "tmpfs", 0, "size=256k"); errors.Is(err, unix.EPERM) {
		return // internal/journal has the same without privileges
	} else {
		require.NoError(t, err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(a.path("mount"), 0)) })
	a.properties["journalDir"] = a.path("mount/journal")
	a.store = a.open("carts")
	require.NoError(t, a.set("cart-1"))
	require.Error(t, os.WriteFile(a.path("mount/ballast"), make([]byte, 1<<20), 0o600))
	var closed *gate.ClosedError
	require.Eventually(t, func() bool { return errors.As(a.get("cart-1"), &closed) }, time.Minute, time.Millisecond)
	require.ErrorIs(t, closed, gate.ErrJournal)
	for range 100 { // an intent is smaller than a receipt
		require.Error(t, a.get("cart-1"))
	}
	require.ErrorAs(t, a.set("cart-2"), &closed)
	require.Empty(t, a.kept("cart-2"))
	require.NoError(t, os.Remove(a.path("mount/ballast")))
	require.NoError(t, a.set("cart-2"))
}

// The identity that counts is that of the moment.
func TestOwnIdentityIsThatOfTheMoment(t *testing.T) {
	now := time.Now()
	a := newAside(t, shopRules)
	a.now = func() time.Time { return now }
	a.store = a.open("carts")
	require.NoError(t, a.set("cart-1"))
	require.NoError(t, a.set("cart-1"))
	a.self.svid = a.ca.SVID("shop")
	require.NoError(t, a.set("cart-1"))
	all := a.receipts()
	require.Equal(t, all[0].Caller.CertificateDigest, all[1].Caller.CertificateDigest)
	require.NotEqual(t, all[0].Caller.CertificateDigest, all[2].Caller.CertificateDigest)

	a.self.svid = a.ca.SVID("shop2")
	require.Error(t, a.set("cart-1"), "another app")
	a.self.svid = a.ca.SVID("shop")
	require.NoError(t, a.set("cart-1"))
	now = a.self.svid.Certificates[0].NotAfter.Add(time.Second)
	require.ErrorIs(t, a.set("cart-1"), gate.ErrClock)
}

// A certificate that its issuer does not outlive is nobody's from then on, though it was verified before.
func TestCallerEndsWithItsIssuer(t *testing.T) {
	now := time.Now()
	a := newAside(t, shopRules)
	a.now = func() time.Time { return now }
	a.self.svid = a.ca.SVID("shop", func(c *x509.Certificate) { c.NotAfter = c.NotAfter.AddDate(20, 0, 0) })
	a.store = a.open("carts")
	require.NoError(t, a.set("cart-1"))
	require.Len(t, a.self.svid.Certificates, 2)
	now = a.self.svid.Certificates[1].NotAfter.Add(time.Second)
	var refusal *gate.DeniedError
	require.ErrorAs(t, a.set("cart-2"), &refusal)
	require.Equal(t, "the caller is not known", refusal.Decision.Reason)
	require.Contains(t, a.log.String(), "the sidecar does not know itself, and refuses")
	require.Empty(t, a.kept("cart-2"))
}

// A component that is closed gives everything free, and its status says that it is.
func TestSidecarClosesEverything(t *testing.T) {
	a := newAside(t, `
  - {name: carts, effect: allow, from: [shop], to: {server: carts, state: {operations: [set], keys: ["*"]}}, rate: 2/hour}
`)
	a.properties["rateFile"] = a.path("rates")
	var err error
	files := []string{a.path("journal/guard-status@carts.json"), a.path("shop@carts.json")}
	for range 2 {
		a.store, err = a.made("carts")
		require.NoError(t, err)
		require.NoError(t, a.set("x"))
		for _, file := range files {
			status, err := policydir.ReadStatus(file)
			require.NoError(t, err)
			require.Equal(t, []any{"shop", "carts", os.Getpid(), 1, a.path("policies"), false}, []any{status.App, status.Guard, status.PID, status.Rules, status.Dir, status.RatesPerProcess})
		}
		require.NoError(t, a.store.Close())
		for _, file := range files {
			status, err := policydir.ReadStatus(file)
			require.NoError(t, err)
			require.Zero(t, status.PID)
		}
		writer, err := journal.Open(journal.Options{Dir: a.path("journal")})
		require.NoError(t, err)
		require.NoError(t, writer.Close())
		limiter, err := rate.New(rate.Options{File: a.path("rates"), Now: time.Now})
		require.NoError(t, err)
		require.NoError(t, limiter.Close())
	}
	a.store = a.open("carts")
	require.Error(t, a.set("x"), "what was counted before counts")
}

// Without a file what was counted counts until the process ends, also for a component that is loaded again.
func TestRatesOutliveAReload(t *testing.T) {
	a := newAside(t, `
  - {name: carts, effect: allow, from: [shop], to: {server: carts, state: {operations: [set], keys: ["*"]}}, rate: 1/hour}
`)
	var err error
	a.store, err = a.made("carts")
	require.NoError(t, err)
	require.NoError(t, a.set("x"))
	require.NoError(t, a.store.Close())
	a.store = a.open("carts")
	require.Error(t, a.set("x"))
}

// Stores of one sidecar may share a journal, which is closed after the last of them. Their states are told apart.
func TestStoresShareAJournal(t *testing.T) {
	a := newAside(t, shopRules)
	first, err := a.made("carts")
	require.NoError(t, err)
	a.store = a.open("carts2")
	require.NoError(t, errors.Join(first.Close(), first.Close()))
	require.Error(t, a.set("cart-1"), "of a rule for another store")
	require.Len(t, a.receipts(), 1)
	require.FileExists(t, a.path("journal/guard-status@carts2.json"))
	for _, other := range []string{"group", "sync"} {
		a.properties["durability"] = other
		store, err := a.made("carts3")
		require.Equal(t, other == "group", err == nil, err)
		require.NoError(t, store.Close())
	}
}

// What Dapr itself writes for workflows is asked for like everything else.
func TestOwnWorkflowsNeedARule(t *testing.T) {
	a := startAside(t, `
  - name: workflows
    effect: allow
    from: [shop]
    to: {server: carts, state: {operations: [get, set, delete, transact], keys: ["dapr.internal.default.shop.*"]}}
`)
	rows := func(prefix string) *state.TransactionalStateRequest {
		return save(map[string]string{prefix + "||refund-1||signature-000000": "s", prefix + "||refund-1||metadata": "m"})
	}
	require.NoError(t, a.store.Multi(t.Context(), rows("shop||dapr.internal.default.shop.workflow")))
	kinds := map[string]int{}
	for _, r := range a.receipts() {
		kinds[r.Action.Kind]++
	}
	require.Equal(t, map[string]int{gate.KindHistory: 1, "state.transact": 1}, kinds)
	for _, other := range []string{"other||dapr.internal.default.other.workflow", "shop||dapr.internal.prod.shop.workflow", "shop||dapr.internal.defaultx"} {
		require.Error(t, a.store.Multi(t.Context(), rows(other)), other)
	}
	a.rule(`
  - {name: all, effect: allow, from: [shop], to: {server: carts, state: {operations: ["*"], keys: ["*"]}}}
`)
	require.Error(t, a.store.Multi(t.Context(), rows("other||dapr.internal.default.other.workflow")), "anchors would vouch for it")
}

// Transaction tokens that the app was sent count as behind a component server.
func TestSidecarTakesTokens(t *testing.T) {
	a := startAside(t, `
  - name: on-behalf
    effect: allow
    from: [shop]
    to: {server: carts, state: {operations: [set], keys: ["*"]}}
    when: actor.spiffeID == "spiffe://custody.test/ns/default/agent"
`)
	token := func(app, to string) string {
		scope, err := txn.ParseScope(txn.Everything)
		require.NoError(t, err)
		begin := txn.Begin{Txn: "t-1", To: a.ca.SVID(to).ID, Scope: scope, Now: time.Now()}
		token, err := begin.Sign(a.ca.SVID(app))
		require.NoError(t, err)
		return token.Compact
	}
	set := func(token string) error {
		return a.store.Set(t.Context(), &state.SetRequest{Key: "shop||x", Value: []byte("1"), Metadata: map[string]string{"txn-token": token}})
	}
	require.NoError(t, set(token("agent", "shop")))
	require.Equal(t, []spiffeid.ID{a.ca.SVID("agent").ID, a.self.svid.ID}, a.receipts()[0].Actors)
	require.Error(t, set(token("agent", "other")))
	require.Error(t, set(token("other", "shop")))
	require.Error(t, set("x"))
	require.Error(t, a.set("x"))
}

func TestDoorsThatDoNotOpen(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*aside)
		want   string
	}{
		"without mTLS": {func(a *aside) { a.host = guarded.Host{AppID: "shop", Namespace: "default"} }, "the sidecar has no identity: start it with mTLS"},
		"without a runtime": {func(a *aside) {
			a.sidecar = guarded.NewSidecar(func() (guarded.Host, error) { return a.host, errors.New("not yet") })
		}, "not yet"},
		"without a sidecar": {func(a *aside) { a.sidecar = nil }, "this process is no sidecar"},
		"policyDir misspelled": {
			func(a *aside) { a.properties["policiesDir"] = a.path("policies"); delete(a.properties, "policyDir") },
			`metadata "policiesDir" is no setting of a store: write "policyDir"`,
		},
		"policyDir is empty":  {func(a *aside) { a.properties["policyDir"] = " " }, `metadata "policyDir" is empty`},
		"policyDir twice":     {func(a *aside) { a.properties["PolicyDir"] = a.path("others") }, "is given twice, in another case"},
		"rates of no rules":   {func(a *aside) { delete(a.properties, "policyDir"); a.properties["RATEFILE"] = "x" }, `"rateFile" counts for the rules of a "policyDir"`},
		"rates in no folder":  {func(a *aside) { a.properties["rateFile"] = a.path("no/rates") }, "rate"},
		"without a journal":   {func(a *aside) { delete(a.properties, "journalDir") }, `metadata "journalDir" is missing`},
		"without a namespace": {func(a *aside) { a.host.Namespace = "" }, "policydir"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAside(t, shopRules)
			c.change(a)
			store, err := a.made("carts")
			require.ErrorContains(t, err, c.want)
			require.NoError(t, store.Close())
			writer, err := journal.Open(journal.Options{Dir: a.path("journal")})
			require.NoError(t, err, "the journal is free")
			require.NoError(t, writer.Close())
		})
	}
}

// Who gives a served component a policyDir believes that it decides.
func TestServedStoresHaveNoPolicyOfTheirOwn(t *testing.T) {
	d := newDoor(t, cartRules)
	opened := func(said map[string]string) error {
		return guarded.New(d.options, quiet).Init(spiffecontext.WithX509(t.Context(), d.self), named("carts", said))
	}
	for _, field := range []string{"policyDir", "POLICYDIR", "rateFile"} {
		const want = "a component server serves this store, and its own "
		said := map[string]string{"backend": "in-memory", field: "x"}
		d.options.Access.Metadata = func(identity.Caller, string, map[string]string) (map[string]string, error) {
			return nil, errors.New("that is not what the operator wrote")
		}
		require.ErrorContains(t, opened(said), want)
		d.options.Access.Metadata = func(identity.Caller, string, map[string]string) (map[string]string, error) { return said, nil }
		require.ErrorContains(t, opened(map[string]string{"backend": "in-memory"}), want, "in the operator's own list")
	}
}

// tries asks as Dapr does for what it wants to have done: until it is told to stop, at most as often as a test waits.
func tries(ask func() error) int {
	n := 0
	_ = backoff.Retry(func() error {
		if n++; n > 50 {
			return backoff.Permanent(errors.New("without end"))
		}
		return ask()
	}, &backoff.ZeroBackOff{})
	return n
}

// What was denied or withheld is not tried again, since it would be again, on record each time. What could not be decided
// may be.
func TestRefusalsAreNotTriedAgain(t *testing.T) {
	a := startAside(t, `
  - {name: carts, effect: allow, from: [shop], to: {server: carts, state: {operations: [get, set], keys: ["cart-*"]}}, maxResultBytes: 1}
`)
	require.Equal(t, 1, tries(func() error { return a.set("order-1") }))
	require.Equal(t, 1, tries(func() error { return a.get("order-1") }))
	require.NoError(t, a.set("cart-1"))
	require.Equal(t, 1, tries(func() error { return a.get("cart-1") }), "withheld")
	var denied *gate.DeniedError
	require.ErrorAs(t, a.set("order-1"), &denied)
	require.ErrorIs(t, a.get("cart-1"), guarded.ErrWithheld)
	require.NoError(t, os.RemoveAll(a.path("policies")))
	require.Eventually(t, func() bool { return tries(func() error { return a.set("cart-1") }) > 50 }, 10*time.Second, 100*time.Millisecond)
}

// Dapr looks for the row of a transaction without end, unless it is told to stop.
func TestOutboxRowsAreNotLookedForWithoutEnd(t *testing.T) {
	const row = "outbox-0a0a0a0a-1b1b-4c4c-8d8d-0e0e0e0e0e0e"
	a := newAside(t, `
  - {name: outbox, effect: allow, from: [shop], to: {server: carts, state: {operations: ["*"], keys: ["*"]}}}
`)
	a.properties["outboxPublishTopic"] = "news"
	store := a.open("carts")
	get := func(key string) error {
		resp, err := store.Get(t.Context(), &state.GetRequest{Key: key})
		if err == nil && len(resp.Data) == 0 {
			err = errors.New("not there")
		}
		return err
	}
	for range 2 {
		require.Equal(t, 6, tries(func() error { return get(row) }), "the message came again")
	}
	for _, other := range []string{"shop||" + row, row + "0", "outbox-1", "shop||cart-1"} {
		require.Greater(t, tries(func() error { return get(other) }), 50, other)
	}
	require.Error(t, get(row))
	require.NoError(t, store.Set(t.Context(), &state.SetRequest{Key: row, Value: []byte("0")}))
	require.NoError(t, get(row), "it came late")
	require.NoError(t, store.Delete(t.Context(), &state.DeleteRequest{Key: row}))

	delete(a.properties, "outboxPublishTopic")
	store = a.open("carts")
	require.Greater(t, tries(func() error { return get(row) }), 50, "the store has no outbox")
}
