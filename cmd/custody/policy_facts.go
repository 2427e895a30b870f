// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/gowebpki/jcs"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/identity"
	"github.com/dapr-custody/custody/internal/policy"
)

// facts are what a guard would know of the call.
func (q policyQuestion) facts() (*policy.Facts, error) {
	facts := &policy.Facts{Proof: string(identity.ProofX509SVID), Now: time.Now(), Arguments: []byte(q.args)}
	if q.data.given() {
		facts.Proof = string(identity.ProofUnixPeer)
	}
	if q.args != "" {
		var object map[string]json.RawMessage
		if err := json.Unmarshal(facts.Arguments, &object); err != nil || object == nil {
			return nil, fmt.Errorf("--args %q is not a JSON object", q.args)
		}
		canonical, err := jcs.Transform(facts.Arguments)
		if err != nil {
			return nil, fmt.Errorf("--args %q: %w", q.args, err)
		}
		facts.ArgumentsDigest = sha256.Sum256(canonical)
	}
	var err error
	if q.now != "" {
		if facts.Now, err = time.Parse(time.RFC3339, q.now); err != nil {
			return nil, fmt.Errorf("--now %q is no time: write it as in 2026-11-23T09:30:00Z", q.now)
		}
	}
	if q.ip != "" {
		if facts.IP, err = netip.ParseAddr(q.ip); err != nil {
			return nil, fmt.Errorf("--ip %q is no address: write it as in 10.0.0.1", q.ip)
		}
	}
	return facts, readPast(q.chain, facts)
}

// readPast reads the file of --chain. Without one there is no past.
func readPast(file string, facts *policy.Facts) error {
	if file == "" {
		return nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("--chain: %w", err)
	}
	past, passed, err := policy.ParsePast(text)
	if err != nil {
		return fmt.Errorf("--chain %s: %w", file, err)
	}
	facts.Past = past
	facts.Passed = func(tool string) (int, error) { return passed[tool], nil }
	return nil
}

// actor is what the guard would have read from a transaction token.
func (q policyQuestion) actor(s *policySource, caller spiffeid.ID) (*policy.Actor, error) {
	if len(q.actors) == 0 {
		if q.txn != "" {
			return nil, errors.New("--txn is for --actors: give both")
		}
		return nil, nil
	}
	actor := &policy.Actor{Txn: q.txn}
	for _, name := range q.actors {
		id, err := s.caller(name)
		if err != nil {
			return nil, fmt.Errorf("--actors: %w", err)
		}
		actor.Chain = append(actor.Chain, id)
	}
	if last := actor.Chain[len(actor.Chain)-1]; last != caller {
		return nil, fmt.Errorf("--actors ends with %s, and the caller is %s: the caller is the last of them", last, caller)
	}
	actor.SPIFFEID = actor.Chain[0]
	return actor, nil
}
