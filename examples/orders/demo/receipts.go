// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dapr-custody/custody/examples/stage"
)

// recorded is what of `custody receipts list -o json` is used here.
type recorded struct {
	ID      string `json:"id"`
	Caller  string `json:"caller"`
	Kind    string `json:"kind"`
	Name    string `json:"name"`
	Outcome string `json:"outcome"`
}

// receipts stops the run and verifies what it left, with the journal and the
// trust bundle alone.
func (p *play) receipts(ctx context.Context) error {
	p.out.Title("4. Receipts, verified offline after everything was stopped")
	err := p.stage.Stop()
	p.Check(err == nil, "custody up, when stopped: want a good end, got %v", err)
	output, err := p.stage.VerifyReceipts(ctx, p.stage.journal())
	p.Check(err == nil, "custody receipts verify: want success, got %v", err)
	p.out.Result(err == nil, "custody receipts verify", "all good", stage.LastLine(output))
	return p.compareReceipts(ctx)
}

// compareReceipts holds the journal against what the agents saw.
func (p *play) compareReceipts(ctx context.Context) error {
	var all []recorded
	if err := p.stage.Receipts(ctx, &all, p.stage.journal()); err != nil {
		return err
	}
	byID := map[string]recorded{}
	answered, denied := 0, 0
	for _, r := range all {
		byID[r.ID] = r
		switch {
		case r.Outcome == "denied":
			denied++
		case r.Kind == "mcp.tools/call" && r.Outcome == "ok":
			answered++
		}
	}
	p.Check(answered == p.answered, "receipts of answered tool calls: want %d, got %d", p.answered, answered)
	p.out.Result(answered == p.answered, "every answered tool call has its receipt", "found", fmt.Sprintf("%d of %d", answered, p.answered))

	found := 0
	for id, seen := range p.seen {
		r, ok := byID[id]
		met := ok && r.Outcome == "denied" && r.Caller == p.stage.App(seen.agent).SPIFFEID &&
			(r.Kind != "mcp.tools/call" || r.Name == seen.tool)
		p.Check(met, "receipt %s of the refusal that %q had of tool %q: got %+v", id, seen.agent, seen.tool, r)
		if met {
			found++
		}
	}
	p.out.Result(found == len(p.seen), "every refusal that was told has its receipt", "found",
		fmt.Sprintf("%d of %d, each naming who was refused; %d refusals in all", found, len(p.seen), denied))
	return nil
}

// tampering flips one bit in a copy of the journal.
func (p *play) tampering(ctx context.Context) error {
	p.out.Title("5. One byte of a copy of the journal is changed")
	copied := filepath.Join(p.stage.Dir, "tampered")
	if err := os.CopyFS(copied, os.DirFS(p.stage.journal())); err != nil {
		return err
	}
	segment, offset, err := flipByte(copied)
	if err != nil {
		return err
	}
	p.out.Note("byte %d of %s", offset, segment)
	output, err := p.stage.VerifyReceipts(ctx, copied)
	back := strings.ReplaceAll(output, copied, "tampered")
	met := err != nil && strings.Contains(back, segment)
	p.Check(met, "custody receipts verify of the changed copy: want a failure that names %s, got %s", segment, stage.OneLine(back))
	p.out.Result(met, "custody receipts verify", "fails and names the spot", firstLine(back))
	return nil
}

// flipByte changes the byte in the middle of the journal's first segment.
func flipByte(dir string) (segment string, offset int, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.journal"))
	if err != nil {
		return "", 0, err
	}
	if len(files) == 0 {
		return "", 0, errors.New("the journal has no segment")
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		return "", 0, err
	}
	offset = len(text) / 2
	text[offset] ^= 1
	return filepath.Base(files[0]), offset, os.WriteFile(files[0], text, 0o600)
}

func firstLine(text string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return first
}
