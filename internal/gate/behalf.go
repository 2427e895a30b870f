// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package gate

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/txn"
)

// TransactionOf gives the ID and the context (tctx) of the transaction that all steps of a chain are a part of
// (docs/delegation.md): the hexadecimal SHA-256 of the chain's name in RFC 8785 form, and that name as member "chain".
func TransactionOf(c *receipt.Chain) (id string, context jsontext.Value) {
	const open = `{"chain":`
	context = c.AppendJSON([]byte(open))
	sum := sha256.Sum256(context[len(open):])
	return hex.EncodeToString(sum[:]), append(context, '}')
}

// SameChain says why a step of the chain must not be done with the token: its tctx names another chain. A transaction
// that was not begun by a workflow names none.
func SameChain(t *txn.Token, c *receipt.Chain) error {
	if len(t.Context) == 0 {
		return nil
	}
	var said struct {
		Chain *receipt.Chain `json:"chain"`
	}
	if err := json.Unmarshal(t.Context, &said); err != nil {
		return fmt.Errorf("tctx of the transaction token: %w", err)
	}
	if said.Chain != nil && !said.Chain.Equal(c) {
		return fmt.Errorf("the transaction token is for the chain of instance %.80q, and the step is of another", said.Chain.Instance)
	}
	return nil
}

// outside says why the transaction does not let the action pass, "" if it does or if there is none. A token only narrows:
// what it covers is still for the policy to decide.
func (a *Ask) outside() string {
	t := a.Token
	if t == nil {
		return ""
	}
	if t.Sender() != a.Caller.ID() {
		return fmt.Sprintf("the transaction token is from %s, which is not the caller", t.Sender())
	}
	if a.Step != nil {
		if err := SameChain(t, a.Step.receipt.Workflow.Chain); err != nil {
			return err.Error()
		}
	}
	name, server := a.Action.Name, a.Action.Server
	covered := t.Scope.Reaches(server)
	switch {
	case a.Continues != policy.Action{}:
		name, covered = a.Continues.Name, within(t.Scope, a.Continues)
	case len(a.Parts) > 0:
		for _, part := range a.Parts {
			name, covered = part.Name, within(t.Scope, part)
			// A statement that touches no table names nothing.
			if part.Kind == policy.KindSQLSelect && part.Name == "" {
				covered = t.Scope.Reaches(part.Server)
			}
			if !covered {
				break
			}
		}
	case !a.Plumbing:
		covered = within(t.Scope, a.Action)
	}
	if covered {
		return ""
	}
	return fmt.Sprintf("the scope %.200q of the transaction does not cover %.80q of server %s", t.Scope, name, server)
}

// within reports whether the scope covers the action. What is not in plain form could be taken for something else by the
// server, as it could where rules name it.
func within(s txn.Scope, a policy.Action) bool {
	if a.Odd() {
		return s.CoversAll(a.Server)
	}
	return s.Covers(a.Server, a.Name)
}

// covers reports whether the transaction of the action, if it is in one, lets something else of the server be used.
func (p *Permit) covers(kind, name string) bool {
	return p.ask.Token == nil || within(p.ask.Token.Scope, policy.Action{Kind: kind, Server: p.ask.Action.Server, Name: name})
}

// coversSome is covers for the resources that a URI template makes, some of them.
func (p *Permit) coversSome(template string) bool {
	return p.ask.Token == nil || p.ask.Token.Scope.Some(p.ask.Action.Server, func(pattern string) bool { return policy.MeetsTemplate(pattern, template) })
}

// actorOf is who stands behind an action, as conditions see it. Nil without a token.
func actorOf(t *txn.Token) *policy.Actor {
	if t == nil {
		return nil
	}
	return &policy.Actor{SPIFFEID: t.Subject, Txn: t.Txn, Chain: t.Actors}
}
