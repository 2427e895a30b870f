// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/dapr/components-contrib/bindings"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/database"
	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/identity"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/txn"
)

// DoorName is what the door is called in receipts: Options.Door of the gate.
const DoorName = "custody-postgres"

// Options are the parts of a Door. All are required but Log and Tokens.
type Options struct {
	// Databases gives the document of a database as it is now. The same document has to be the same pointer.
	Databases func(name string) (*database.Database, bool)
	// Gate decides and records, and Policy is its policy, of which the door needs to know the functions that rules name.
	Gate   *gate.Gate
	Policy func() *policy.Set
	// CA makes the certificates of sessions.
	CA Minter
	// Caller says who is at the other end of a request.
	Caller func(ctx context.Context) (identity.Caller, error)
	// TrustDomain and Namespace are those in which the app IDs of documents mean apps.
	TrustDomain spiffeid.TrustDomain
	Namespace   string
	// Tokens verifies the transaction tokens that callers were sent and pass on. Without it every request that comes with
	// one is refused.
	Tokens *txn.Verifier
	// Now is the clock.
	Now func() time.Time
	// Log takes what the operator should know. It is given no text of statements, and no values.
	Log func(format string, args ...any)
}

// Door is what all bindings of a process share: the sessions with databases and what is known of them. It is safe for
// concurrent use.
type Door struct {
	options Options
	// unguarded lets statements past sqlguard, for tests of what the database does by itself.
	unguarded bool

	mu     sync.Mutex
	bases  map[string]*base
	closed bool
	behind sync.WaitGroup // what goes on behind the requests
}

// New makes a Door. A part that is missing is an error.
func New(options Options) (*Door, error) {
	o := &options
	if o.Databases == nil || o.Gate == nil || o.Policy == nil || o.CA == nil || o.Caller == nil || o.Now == nil {
		return nil, errors.New("custody-postgres: every part of a door is required")
	}
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	return &Door{options: options, bases: map[string]*base{}}, nil
}

// Binding makes an instance of the component. Each is for one caller's one component.
func (d *Door) Binding() bindings.OutputBinding { return &Binding{door: d} }

// Close ends all sessions. It waits for statements that still run.
func (d *Door) Close() error {
	d.mu.Lock()
	bases := d.bases
	d.bases, d.closed = nil, true
	d.mu.Unlock()
	for _, b := range bases {
		b.close()
	}
	d.behind.Wait()
	return nil
}

// base gives a database by its name. One whose document has changed is begun anew.
func (d *Door) base(name string) (*base, error) {
	at, ok := d.options.Databases(name)
	if !ok {
		return nil, errNoDocument
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, errClosed
	}
	known := d.bases[name]
	if known != nil && known.at == at {
		return known, nil
	}
	if known != nil {
		d.behind.Go(known.close)
	}
	made := &base{door: d, at: at, pools: map[string]*pool{}, reading: make(chan struct{}, 1)}
	d.bases[name] = made
	return made, nil
}

var errNoDocument = errors.New("there is no document of that database")

// base is one database.
type base struct {
	door *Door
	at   *database.Database

	mu      sync.Mutex
	pools   map[string]*pool // by role
	closed  bool
	behind  sync.WaitGroup
	reading chan struct{} // one reads the catalogue at a time
	memory  memory
}

// pool gives the sessions of a role.
func (b *base) pool(role string) *pool {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.pools[role]
	if p == nil {
		p = newPool(b.at, b.door.options.CA, b.door.options.Now, b.complain)
		p.closed = b.closed
		b.pools[role] = p
	}
	return p
}

// complain tells the operator what failed though no request did.
func (b *base) complain(what string, err error) {
	b.door.options.Log("custody-postgres: database %s: %s: %s", b.at.Name, what, told(err))
}

// use runs do in a session of theirs.
func (b *base) use(ctx context.Context, w who, do func(*session) error) error {
	return b.pool(w.role).use(ctx, w, do)
}

// renew ends the sessions that nobody uses now.
func (b *base) renew() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.pools {
		p.renew()
	}
}

func (b *base) close() {
	b.mu.Lock()
	b.closed = true
	pools := b.pools
	b.mu.Unlock()
	b.behind.Wait()
	for _, p := range pools {
		p.close()
	}
}
