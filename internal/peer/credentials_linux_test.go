// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package peer_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/dapr-custody/custody/internal/identity"
	"github.com/dapr-custody/custody/internal/peer"
	"github.com/dapr-custody/custody/internal/testkit"
)

const (
	orders = "spiffe://custody.local/ns/default/orders-mcp"
	cart   = "spiffe://custody.local/ns/default/cart"
)

// house is a server behind Credentials, with a folder of registrations.
type house struct {
	t       *testing.T
	socket  string
	dir     string
	folder  *peer.Folder
	clock   atomic.Int64
	refused chan refusal

	mu      sync.Mutex
	callers []identity.Caller
	seen    []identity.Process
}

type refusal struct {
	process identity.Process
	err     error
}

func newHouse(t *testing.T, change ...func(*peer.Options)) *house {
	t.Helper()
	base := folder(t)
	h := &house{t: t, socket: filepath.Join(base, "s"), dir: filepath.Join(base, "registrations"), refused: make(chan refusal, 1000)}
	require.NoError(t, os.Mkdir(h.dir, 0o700))
	var err error
	h.folder, err = peer.OpenFolder(h.dir, peer.FolderOptions{Now: func() time.Time { return time.Unix(0, h.clock.Load()) }})
	require.NoError(t, err)
	opts := peer.Options{
		Match:   h.folder.Match,
		Refused: func(p identity.Process, err error) { h.refused <- refusal{p, err} },
		Now:     func() time.Time { return time.Unix(0, h.clock.Load()) },
	}
	for _, c := range change {
		c(&opts)
	}
	listener, err := net.Listen("unix", h.socket)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(h.socket, 0o666))
	server := grpc.NewServer(grpc.Creds(peer.NewCredentials(opts)), grpc.UnaryInterceptor(h.serve))
	healthpb.RegisterHealthServer(server, health.NewServer())
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-served)
	})
	return h
}

// serve is what a handler does: it asks who calls.
func (h *house) serve(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	caller, process, err := peer.FromContext(ctx)
	if err != nil {
		return nil, status.Error(codes.Unauthenticated, "nobody")
	}
	h.mu.Lock()
	h.callers, h.seen = append(h.callers, caller), append(h.seen, process)
	h.mu.Unlock()
	return handler(ctx, req)
}

// write puts a registration into the folder, whole.
func (h *house) write(name, id string, selectors ...string) {
	h.t.Helper()
	text := fmt.Sprintf("apiVersion: custody.dev/v1alpha1\nkind: WorkloadRegistration\nmetadata: {name: %s}\nspec:\n  spiffeID: %s\n  selectors:\n    %s\n",
		name, id, strings.Join(selectors, "\n    "))
	put(h.t, filepath.Join(h.dir, name+".yaml"), text)
}

func put(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".tmp", []byte(text), 0o600))
	require.NoError(t, os.Rename(path+".tmp", path))
}

func (h *house) last() (identity.Caller, identity.Process) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.callers[len(h.callers)-1], h.seen[len(h.seen)-1]
}

func uidSelector(uid int) string { return fmt.Sprintf("unix:uid: %q", strconv.Itoa(uid)) }

// Each selector lets in the process that it names; every near miss is refused, told
// with what is known, and reaches no handler.
func TestEachSelectorAgainstARealProcess(t *testing.T) {
	dir := folder(t)
	same, other := copyTo(t, filepath.Join(dir, "daprd"), ""), copyTo(t, filepath.Join(dir, "other"), "x")
	hash := func(path string) string { s := sum(t, path); return "unix:sha256: " + hex.EncodeToString(s[:]) }
	uid := uidSelector(os.Geteuid())
	instance := func(pid, started int) func(*peerProcess) string {
		return func(p *peerProcess) string {
			return fmt.Sprintf("unix:pid: %d@%d", p.pid()+pid, startTicks(t, p.pid())+uint64(started))
		}
	}
	tests := []struct {
		name      string
		how       how
		selectors []string
		pid       func(*peerProcess) string
		other     []string // selectors of a document with another ID
		want      string   // why it is refused, empty if it is not
	}{
		{name: "uid", selectors: []string{uid}},
		{name: "another uid", selectors: []string{uidSelector(os.Geteuid() + 1)}, want: "unix:uid is"},
		{name: "path", selectors: []string{"unix:path: " + same}},
		{name: "another path", how: how{exe: other}, selectors: []string{"unix:path: " + same}, want: "unix:path is"},
		{name: "content", selectors: []string{hash(same)}},
		{name: "another content", how: how{exe: other}, selectors: []string{hash(same)}, want: "unix:sha256 is"},
		{name: "the process", pid: instance(0, 0)},
		{name: "another process", pid: instance(1, 0), want: "unix:pid is"},
		{name: "an earlier process of this number", pid: instance(0, -1), want: "unix:pid is"},
		{name: "app ID", how: how{args: []string{"--app-id", "orders-mcp"}}, selectors: []string{uid, "dapr:app-id: orders-mcp"}},
		{name: "another app ID", how: how{args: []string{"--app-id", "orders"}}, selectors: []string{uid, "dapr:app-id: orders-mcp"}, want: "dapr:app-id is"},
		{name: "no app ID", selectors: []string{uid, "dapr:app-id: orders-mcp"}, want: "dapr:app-id is not known"},
		{name: "namespace by default", selectors: []string{uid, "dapr:namespace: default"}},
		{name: "namespace", how: how{namespace: []string{"NAMESPACE=prod"}}, selectors: []string{uid, "dapr:namespace: prod"}},
		{name: "another namespace", how: how{namespace: []string{"NAMESPACE=prod2"}}, selectors: []string{uid, "dapr:namespace: prod"}, want: "dapr:namespace is"},
		{name: "all", how: how{args: []string{"-app-id=a"}}, selectors: []string{uid, "unix:path: " + same, hash(same), "dapr:app-id: a", "dapr:namespace: default"}, pid: instance(0, 0)},
		{name: "two of one ID and one of another", selectors: []string{uid}, other: []string{"dapr:namespace: default", uid}, want: "different SPIFFE IDs"},
		{name: "two, of which one matches", selectors: []string{uid}, other: []string{uidSelector(os.Geteuid() + 1)}},
	}
	if os.Geteuid() == 0 {
		tests = append(tests, tests[0])
		last := &tests[len(tests)-1]
		last.name, last.how.uid, last.want = "a process of another user", anotherUser, "unix:uid is"
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHouse(t)
			if test.how.exe == "" {
				test.how.exe = same
			}
			p := start(t, "call", h.socket, test.how)
			if test.pid != nil {
				test.selectors = append(test.selectors, test.pid(p))
			}
			h.write("orders", orders, test.selectors...)
			if test.other != nil {
				h.write("cart", cart, test.other...)
			}
			answer := p.do()
			if test.want == "" {
				require.Equal(t, "served: SERVING", answer)
				caller, process := h.last()
				require.Equal(t, orders, caller.String())
				require.Equal(t, identity.ProofUnixPeer, caller.Proof())
				require.Equal(t, p.pid(), process.PID)
				return
			}
			require.Contains(t, answer, "refused: ")
			require.Contains(t, answer, "nobody", "it is told, and does not wait for ever")
			told := <-h.refused
			require.ErrorContains(t, told.err, test.want)
			require.Equal(t, p.pid(), told.process.PID)
			require.Empty(t, h.callers)
		})
	}
}

// The process that connected ends; who inherited the connection is served no more.
func TestConnectionOutlivesItsProcess(t *testing.T) {
	h := newHouse(t)
	h.write("orders", orders, uidSelector(os.Geteuid()))
	p := start(t, "bequeath", h.socket, how{})
	require.Equal(t, "served: SERVING", p.do())
	_, process := h.last()
	require.Equal(t, p.pid(), process.PID, "it is the one that connected")
	p.kill()
	require.Contains(t, p.do(), "refused: ")
	told := <-h.refused
	require.ErrorIs(t, told.err, peer.ErrEnded)
	require.Equal(t, p.pid(), told.process.PID)
	require.Len(t, h.callers, 1)
}

// A registration that is taken away, or gives another ID, ends the connection; the
// peer comes again and is what is registered then.
func TestRegistrationTakenAway(t *testing.T) {
	h := newHouse(t)
	uid := uidSelector(os.Geteuid())
	h.write("orders", orders, uid)
	p := start(t, "call", h.socket, how{})
	require.Equal(t, "served: SERVING", p.do())

	h.write("orders", cart, uid)
	require.Equal(t, "served: SERVING", p.do(), "attested once per connection")
	caller, _ := h.last()
	require.Equal(t, orders, caller.String())
	h.clock.Add(int64(time.Second))
	require.Contains(t, p.do(), "refused: ")
	require.ErrorContains(t, (<-h.refused).err, "it was "+orders+" and is now "+cart)
	require.Equal(t, "served: SERVING", p.do())
	caller, _ = h.last()
	require.Equal(t, cart, caller.String())

	require.NoError(t, os.Remove(filepath.Join(h.dir, "orders.yaml")))
	h.clock.Add(-int64(time.Hour))
	require.Contains(t, p.do(), "refused: ", "a clock that went back is no reason to go on")
	told := <-h.refused
	require.ErrorIs(t, told.err, peer.ErrRevoked)
	require.ErrorIs(t, told.err, identity.ErrUnregistered)

	// It came again and is nobody, until it is registered: on the same connection.
	require.Contains(t, p.do(), "nobody")
	told = <-h.refused
	require.ErrorIs(t, told.err, identity.ErrUnregistered)
	require.NotErrorIs(t, told.err, peer.ErrRevoked)
	h.write("orders", orders, uid)
	require.Contains(t, p.do(), "nobody")
	h.clock.Add(int64(time.Second))
	require.Equal(t, "served: SERVING", p.do())
	require.Empty(t, h.refused)
}

// With the folder all registrations go, those of connections in use too, and come back with it.
func TestAllRegistrationsTakenAway(t *testing.T) {
	h := newHouse(t)
	h.write("orders", orders, uidSelector(os.Geteuid()))
	p := start(t, "call", h.socket, how{})
	require.Equal(t, "served: SERVING", p.do())
	require.NoError(t, os.Rename(h.dir, h.dir+"2"))
	h.clock.Add(int64(peer.FolderGrace))
	require.Equal(t, "served: SERVING", p.do())
	require.Equal(t, "served: SERVING", start(t, "call", h.socket, how{}).do())
	require.Len(t, h.callers, 3)

	h.clock.Add(int64(time.Second))
	require.Contains(t, p.do(), "refused: ")
	told := <-h.refused
	require.ErrorIs(t, told.err, peer.ErrRevoked)
	require.ErrorIs(t, told.err, identity.ErrUnregistered)
	require.Contains(t, p.do(), "nobody", "it came again")
	require.ErrorIs(t, (<-h.refused).err, identity.ErrUnregistered)
	require.Contains(t, start(t, "call", h.socket, how{}).do(), "nobody")
	require.ErrorIs(t, (<-h.refused).err, identity.ErrUnregistered)
	require.Len(t, h.callers, 3)

	require.NoError(t, os.Rename(h.dir+"2", h.dir))
	h.clock.Add(int64(time.Second))
	require.Equal(t, "served: SERVING", p.do())
}

// What cannot be attested is told so by each call, and stays nobody.
func TestUnattestableIsToldSo(t *testing.T) {
	h := newHouse(t)
	h.write("orders", orders, uidSelector(os.Geteuid()))
	p := start(t, "call", h.socket, how{args: []string{"--app-id", "a", "--app-id", "b"}})
	for range 2 {
		require.Contains(t, p.do(), "nobody")
		h.clock.Add(int64(time.Second))
	}
	told := <-h.refused
	require.ErrorIs(t, told.err, peer.ErrAmbiguous)
	require.Equal(t, p.pid(), told.process.PID)
	require.Empty(t, h.refused, "it is told once per connection")
	require.Empty(t, h.callers)
}

// A registration may come a moment after the process.
func TestWaitForARegistration(t *testing.T) {
	var h *house
	looked := atomic.Int32{}
	h = newHouse(t, func(o *peer.Options) {
		match := o.Match
		o.Wait = time.Minute
		o.Match = func(p identity.Process) (identity.Caller, error) {
			if looked.Add(1) == 3 {
				h.write("orders", orders, uidSelector(os.Geteuid()))
			}
			return match(p)
		}
	})
	require.Equal(t, "served: SERVING", start(t, "call", h.socket, how{}).do())
	require.EqualValues(t, 3, looked.Load())
	require.Empty(t, h.refused)

	// Who goes meanwhile is waited for no longer.
	require.NoError(t, os.Remove(filepath.Join(h.dir, "orders.yaml")))
	p := start(t, "connect", h.socket, how{})
	p.kill()
	require.ErrorIs(t, (<-h.refused).err, peer.ErrEnded)
}

// What is not unregistered but wrong is refused at once, however long Wait is.
func TestNothingElseIsWaitedFor(t *testing.T) {
	h := newHouse(t, func(o *peer.Options) { o.Wait, o.Timeout = time.Hour, time.Hour })
	h.write("a", orders, uidSelector(os.Geteuid()))
	h.write("b", cart, uidSelector(os.Geteuid()))
	require.Contains(t, start(t, "call", h.socket, how{}).do(), "refused: ")
	require.ErrorIs(t, (<-h.refused).err, identity.ErrAmbiguous)
}

func TestFailClosed(t *testing.T) {
	broken := errors.New("broken")
	tests := []struct {
		name   string
		change func(*peer.Options)
		want   error
	}{
		{"no match", func(o *peer.Options) { o.Match = nil }, nil},
		{"match fails", func(o *peer.Options) {
			o.Match = func(identity.Process) (identity.Caller, error) { return identity.Caller{}, broken }
		}, broken},
		{"match is nobody", func(o *peer.Options) {
			o.Match = func(identity.Process) (identity.Caller, error) { return identity.Caller{}, nil }
		}, identity.ErrUnregistered},
		{"no time", func(o *peer.Options) { o.Timeout = 1 }, context.DeadlineExceeded},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHouse(t, test.change)
			h.write("orders", orders, uidSelector(os.Geteuid()))
			p := start(t, "call", h.socket, how{})
			require.Contains(t, p.do(), "refused: ")
			told := <-h.refused
			require.Error(t, told.err)
			if test.want != nil && !errors.Is(told.err, peer.ErrHidden) {
				require.ErrorIs(t, told.err, test.want)
			}
			require.Equal(t, p.pid(), told.process.PID)
			require.Empty(t, h.callers)
		})
	}
}

// Beside one app: whoever reaches the socket speaks as the component, while it is somebody.
func TestOwn(t *testing.T) {
	ca := testkit.NewCA(t, "custody.local")
	now := atomic.Int64{}
	now.Store(time.Now().Unix())
	verifier := identity.NewVerifier(ca.Bundle(), func() time.Time { return time.Unix(now.Load(), 0) })
	svid := ca.SVID("orders-mcp")
	h := newHouse(t, func(o *peer.Options) {
		o.Match = nil
		o.Own = func() (identity.Caller, error) { return identity.OwnSVID(verifier, svid) }
	})
	p := start(t, "call", h.socket, how{})
	require.Equal(t, "served: SERVING", p.do())
	caller, process := h.last()
	require.Equal(t, orders, caller.String())
	require.Equal(t, identity.ProofX509SVID, caller.Proof())
	require.Equal(t, identity.Process{PID: p.pid(), UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}, process)
	now.Add(7200)
	require.Contains(t, p.do(), "refused: ")
	now.Add(-7200)
	require.Equal(t, "served: SERVING", p.do())
}

func TestManyAtOnce(t *testing.T) {
	h := newHouse(t)
	h.write("orders", orders, uidSelector(os.Geteuid()), "unix:path: "+executable(t))
	before := openFiles(t)
	clients := make([]*grpc.ClientConn, 100)
	answers := make([]string, len(clients))
	var all sync.WaitGroup
	for i := range clients {
		client, err := grpc.NewClient("unix://"+h.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
		require.NoError(t, err)
		clients[i] = client
		all.Go(func() { answers[i] = call(client) })
	}
	all.Wait()
	for i, client := range clients {
		require.Equal(t, "served: SERVING", answers[i])
		require.NoError(t, client.Close())
	}
	require.Len(t, h.callers, len(clients))
	require.Eventually(t, func() bool { return openFiles(t) <= before }, time.Minute, 10*time.Millisecond, "each process is let go")
}

// Clients that go in the middle, and clients that say nothing, hold nothing back.
func TestSocketClosedInTheMiddle(t *testing.T) {
	h := newHouse(t, func(o *peer.Options) { o.Wait = 30 * time.Millisecond })
	before := openFiles(t)
	var all sync.WaitGroup
	for i := range 60 {
		all.Go(func() {
			conn, err := net.Dial("unix", h.socket)
			if err != nil {
				t.Error(err)
				return
			}
			if i%3 == 1 {
				if _, err := conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00")); err != nil && !errors.Is(err, net.ErrClosed) {
					t.Log(err) // It was refused meanwhile.
				}
			}
			conn.Close()
		})
	}
	all.Wait()
	for range 60 {
		require.ErrorIs(t, (<-h.refused).err, identity.ErrUnregistered)
	}
	require.Empty(t, h.callers)
	require.Eventually(t, func() bool { return openFiles(t) <= before }, time.Minute, 10*time.Millisecond)
	h.write("orders", orders, uidSelector(os.Geteuid()))
	require.Equal(t, "served: SERVING", start(t, "call", h.socket, how{}).do())
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

// Nothing but a Unix socket is attested, and nothing but an attested one has a caller.
func TestOtherConnections(t *testing.T) {
	told := make(chan refusal, 1)
	creds := peer.NewCredentials(peer.Options{Refused: func(p identity.Process, err error) { told <- refusal{p, err} }})
	pipe, _ := net.Pipe()
	defer pipe.Close()
	_, _, err := creds.ServerHandshake(pipe)
	require.ErrorIs(t, err, peer.ErrNotUnix)
	require.ErrorIs(t, (<-told).err, peer.ErrNotUnix)
	_, _, err = creds.Clone().ClientHandshake(t.Context(), "", pipe)
	require.ErrorContains(t, err, "for servers only")
	require.Equal(t, "unix-peer", creds.Info().SecurityProtocol)

	caller, _, err := peer.FromContext(t.Context())
	require.ErrorIs(t, err, peer.ErrNoPeer)
	require.True(t, caller.IsZero())

	// The same server without credentials: its handlers know nobody.
	listener, err := net.Listen("unix", filepath.Join(folder(t), "s"))
	require.NoError(t, err)
	h := &house{t: t}
	server := grpc.NewServer(grpc.UnaryInterceptor(h.serve))
	healthpb.RegisterHealthServer(server, health.NewServer())
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	client, err := grpc.NewClient("unix://"+listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	require.Contains(t, call(client), "nobody")
	require.NoError(t, client.Close())
	server.Stop()
	require.NoError(t, <-served)
}
