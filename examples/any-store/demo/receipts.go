// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/dapr-custody/custody/examples/stage"
)

// listed is what of `custody receipts list -o json` is used.
type listed struct {
	Caller string `json:"caller"`
	Effect string `json:"effect"`
	Kind   string `json:"kind"`
}

// receipts ends the run and looks at what is left of it.
func (p *play) receipts(ctx context.Context) error {
	p.out.Title("What is left: a signed record of each request, verified without the run")
	if err := p.stage.Stop(); err != nil {
		return err
	}
	journal := filepath.Join(p.stage.Example, "journal")
	text, err := p.stage.Command(ctx, "receipts", "list", "--journal", journal, "-o", "json")
	if err != nil {
		return err
	}
	var all []listed
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return fmt.Errorf("custody receipts list: %w", err)
	}
	effects := map[string]int{}
	for _, r := range all {
		effects[r.Effect]++
	}
	met := effects["allow"] == p.allowed && effects["deny"] == p.denied
	p.Check(met, "want %d allowed and %d denied on record, got %v", p.allowed, p.denied, effects)
	p.out.Result(met, "every request is on record", fmt.Sprintf("%d allowed, %d denied", p.allowed, p.denied), fmt.Sprint(effects))

	text, err = p.stage.Command(ctx, "receipts", "verify", "--trust-bundle", p.stage.Bundle(), "--trust-domain", stage.TrustDomain, "--journal", journal)
	p.Check(err == nil, "the journal does not verify: %v", err)
	last := text[strings.LastIndexByte(strings.TrimSpace(text), '\n')+1:]
	p.out.Result(err == nil, "custody receipts verify", "good", strings.TrimSpace(last))
	return nil
}
