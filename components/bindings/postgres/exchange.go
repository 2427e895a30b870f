// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"

	"github.com/dapr-custody/custody/internal/database"
	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/sqlguard"
)

// kindUnread is the kind of a request that is refused before anybody knows what it does.
const kindUnread = kindPrefix + "statement"

// kindOpen is the kind of what a sidecar does that asks for the component.
const kindOpen = kindPrefix + "open"

const reasonNoRole = "the document of the database has no role for the caller"

// maxText is the longest statement whose text goes into a receipt: what is longer is refused.
const maxText = sqlguard.DefaultBytes

// exchange is one request on its way.
type exchange struct {
	door    *Door
	base    *base
	request *request
	ask     gate.Ask
	who     who
	role    database.Role
	judged  judged
}

// judged is what a statement does by what is known.
type judged struct {
	by     *knowledge
	parts  []policy.Action
	writes bool
	ddl    bool
	within bool // a part of the statement writes
	calls  bool // functions that only a rule allows
}

// invoke does what is asked of a database, if it may be done. malformed is why it cannot be understood, nil if it can.
func (d *Door) invoke(ctx context.Context, name string, r *request, malformed error) (done, error) {
	x := &exchange{door: d, request: r}
	x.ask = gate.Ask{
		Action:  policy.Action{Kind: kindUnread, Server: name},
		Request: receipt.Sum([]byte(r.sql)), Statement: &receipt.Statement{Digest: receipt.Sum([]byte(r.sql))},
		Facts: policy.Facts{Context: ctx},
	}
	refused := x.prepare(ctx, name, malformed)
	if refused != nil {
		x.ask.Refusal, x.ask.Parts = refused.reason, nil
	}
	permit, err := d.options.Gate.Check(x.ask)
	if err != nil {
		return done{}, toldOf(err, refused)
	}
	answer, err := x.run(ctx, permit.Obligations())
	outcome, say := outcomeOf(ctx, answer, err)
	if _, err := permit.Settle(outcome); err != nil {
		return done{}, toldOf(err, nil)
	}
	if say != "" {
		return done{}, referred(codes.Unknown, say, permit.Reference())
	}
	return answer, nil
}

// prepare finds out who asks for what. The error is why the door does not let it pass, whatever the policy says.
func (x *exchange) prepare(ctx context.Context, name string, malformed error) *refusal {
	caller, err := x.door.options.Caller(ctx)
	if err != nil {
		return &refusal{fmt.Sprintf("the caller is not known: %.200s", err.Error()), sayDenied}
	}
	x.ask.Caller = caller
	if x.base, err = x.door.base(name); err != nil {
		return &refusal{err.Error(), sayClosed}
	}
	if text := x.request.sql; x.base.at.RecordStatements && len(text) <= maxText && utf8.ValidString(text) {
		x.ask.Statement.Text = text
	}
	if malformed != nil {
		return &refusal{fmt.Sprintf("the request is malformed: %.200s", malformed.Error()), malformed.Error() + "."}
	}
	if err := x.behalf(); err != nil {
		return &refusal{err.Error(), sayNoToken}
	}
	var ok bool
	if x.role, ok = x.base.role(caller.ID()); !ok {
		return &refusal{reasonNoRole, sayDenied}
	}
	x.who = who{role: x.role.Name, caller: caller.ID()}
	if x.ask.Token != nil {
		x.who.actor = x.ask.Token.Subject
	}
	return x.understand(ctx)
}

// role is the one that the document gives a workload.
func (b *base) role(id spiffeid.ID) (database.Role, bool) {
	return b.at.RoleOf(id, b.door.options.TrustDomain, b.door.options.Namespace)
}

// behalf takes the transaction token that the caller was sent and passes on.
func (x *exchange) behalf() (err error) {
	x.ask.Token, err = x.door.options.Tokens.VerifyHeld(x.request.tokens, x.ask.Caller.ID(), x.door.options.Now())
	return err
}

// understand judges the statement and says what policy has to decide.
func (x *exchange) understand(ctx context.Context) *refusal {
	known, err := x.base.know(ctx, x.who)
	if err != nil {
		return &refusal{"what the database holds is not known: " + told(err), sayNoWay}
	}
	statement, err := x.inspect(known)
	if err != nil {
		return refusalOf(err)
	}
	x.ask.Statement.Fingerprint = statement.Fingerprint
	if x.judged, err = x.judge(known, statement); err != nil {
		return &refusal{err.Error(), sayDenied}
	}
	x.ask.Parts, x.ask.Action = x.judged.parts, policy.Headline(x.judged.parts)
	x.ask.Facts.SQL = &policy.Statement{
		Command: statement.Command, Tables: tables(x.judged.parts), Limit: statement.Limit, Params: x.request.params.text,
	}
	if x.judged.writes && !x.role.Write {
		return &refusal{fmt.Sprintf("the document of the database lets role %s only read", x.role.Name), sayDenied}
	}
	return nil
}

func (x *exchange) inspect(known *knowledge) (*sqlguard.Statement, error) {
	if x.door.unguarded {
		return &sqlguard.Statement{Command: "select", Kinds: sqlguard.Select, Limit: -1}, nil
	}
	return known.guard.Inspect(x.request.sql)
}

func (x *exchange) judge(known *knowledge, s *sqlguard.Statement) (judged, error) {
	parts, err := known.parts(x.base.at.Name, s)
	return judged{
		by: known, parts: parts, writes: !s.ReadOnly(), ddl: s.Kinds.Has(sqlguard.DDL), within: writesWithin(s),
		calls: slices.ContainsFunc(s.Functions, func(f sqlguard.Function) bool { return f.Named }),
	}, err
}

// writesWithin reports whether a common table expression writes, of which the statement's own count says nothing.
func writesWithin(s *sqlguard.Statement) bool {
	written := 0
	for _, r := range s.Relations {
		if r.Use&(sqlguard.Insert|sqlguard.Update|sqlguard.Delete) != 0 {
			written++
		}
	}
	return written > 1 || written == 1 && s.Command == "select"
}

// errChanged says that the statement may mean something else now than what was decided.
var errChanged = errors.New("the database was started anew or defined anew, and the statement means something else there")

// run does the statement. What the database was when it was judged it still has to be.
func (x *exchange) run(ctx context.Context, o *policy.Obligations) (done, error) {
	if o != nil && o.Redact != nil {
		return done{}, &excessError{"a rule wants something taken out of the result, which this door cannot do"}
	}
	j := x.job(o)
	answer, server, err := x.attempt(ctx, j)
	if errors.Is(err, errChanged) {
		if err = x.judgeAgain(ctx); err == nil {
			answer, server, err = x.attempt(ctx, j)
		}
	}
	if x.judged.ddl && server != "" {
		// What sessions have prepared, and what is known, may be of what is no more.
		x.base.memory.forget()
		x.base.renew()
	}
	return answer, err
}

// attempt does the statement unless the server is not the one by which it was judged.
func (x *exchange) attempt(ctx context.Context, j *job) (answer done, server string, err error) {
	err = x.base.use(ctx, x.who, func(s *session) (err error) {
		if s.server != x.judged.by.server {
			return errChanged
		}
		server = s.server
		answer, err = s.run(ctx, j)
		return err
	})
	return answer, server, err
}

// judgeAgain judges by what the database is now, and refuses what is no longer the same.
func (x *exchange) judgeAgain(ctx context.Context) error {
	x.base.memory.forget()
	known, err := x.base.know(ctx, x.who)
	if err != nil {
		return err
	}
	statement, err := x.inspect(known)
	if err != nil {
		return errChanged
	}
	again, err := x.judge(known, statement)
	if err != nil || again.writes != x.judged.writes || !reflect.DeepEqual(again.parts, x.judged.parts) {
		return errChanged
	}
	x.judged = again
	return nil
}

const commitSlack = 5 * time.Second

func (x *exchange) job(o *policy.Obligations) *job {
	limits := &x.base.at.Limits
	j := &job{
		sql: x.request.sql, params: x.request.params, writes: x.judged.writes,
		within: x.judged.within, calls: x.judged.calls, rows: x.request.operation == operationQuery,
		maxRows: int64(limits.MaxRows), maxBytes: limits.MaxBytes, patience: limits.StatementTimeout + commitSlack,
	}
	if o != nil && o.MaxRows > 0 {
		j.maxRows = min(j.maxRows, int64(o.MaxRows))
	}
	if o != nil && o.MaxResultBytes > 0 {
		j.maxBytes = min(j.maxBytes, o.MaxResultBytes)
	}
	return j
}
