// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"fmt"
	"path/filepath"

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
	var all []listed
	if err := p.stage.Receipts(ctx, &all, journal); err != nil {
		return err
	}
	effects := map[string]int{}
	for _, r := range all {
		effects[r.Effect]++
	}
	met := effects["allow"] == p.allowed && effects["deny"] == p.denied
	p.Check(met, "want %d allowed and %d denied on record, got %v", p.allowed, p.denied, effects)
	p.out.Result(met, "every request is on record", fmt.Sprintf("%d allowed, %d denied", p.allowed, p.denied), fmt.Sprint(effects))

	text, err := p.stage.VerifyReceipts(ctx, journal)
	p.Check(err == nil, "the journal does not verify: %v", err)
	p.out.Result(err == nil, "custody receipts verify", "good", stage.LastLine(text))
	return nil
}
