// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dapr-custody/custody/examples/stage"
)

// whoCan asks the policy, without asking anybody who would have to know.
func (p *play) whoCan(ctx context.Context) error {
	p.out.Title("7. custody policy who-can --server orders-db --sql select --table shop.orders")
	text, err := p.place.Command(ctx, "policy", "who-can", "--server", "orders-db", "--sql", "select", "--table", "shop.orders",
		"--dir", filepath.Join(p.place.Example, "policies"))
	met := err == nil && strings.Count(text, "spiffe://") == 1 && strings.Contains(text, p.place.App(serverApp).SPIFFEID)
	p.Check(met, "who-can: want %s alone, got %v %s", serverApp, err, text)
	for line := range strings.Lines(strings.ReplaceAll(text, p.place.Example+"/", "")) {
		p.out.Line("  " + strings.TrimRight(line, "\n"))
	}
	return nil
}

// recorded is what of `custody receipts list -o json` is used here.
type recorded struct {
	ID      string   `json:"id"`
	Caller  string   `json:"caller"`
	Txn     string   `json:"txn"`
	Actors  []string `json:"actors"`
	Kind    string   `json:"kind"`
	Name    string   `json:"name"`
	Outcome string   `json:"outcome"`
	Touched []struct {
		Kind string `json:"kind"`
		Name string `json:"name"`
	} `json:"touched"`
	Statement *struct {
		Fingerprint string `json:"fingerprint"`
		Text        string `json:"text"`
	} `json:"statement"`
	Rows int64 `json:"rows"`
}

// receipts ends the run and looks at what is left of it.
func (p *play) receipts(ctx context.Context) error {
	p.out.Title("8. What is left: signed records of both doors, verified without the run")
	err := p.place.Stop()
	p.Check(err == nil, "custody up, when stopped: want a good end, got %v", err)
	var all []recorded
	if err := p.place.Receipts(ctx, &all, p.place.journals()...); err != nil {
		return err
	}
	p.oneCall(all)
	p.everyCall(all)
	text, err := p.place.VerifyReceipts(ctx, p.place.journals()...)
	p.Check(err == nil, "the journals do not verify: %v", err)
	p.out.Result(err == nil, "custody receipts verify", "good", stage.LastLine(text))
	return nil
}

// oneCall shows what the two doors wrote of one call of an agent.
func (p *play) oneCall(all []recorded) {
	agent := p.place.App("support-agent").SPIFFEID
	first := slices.IndexFunc(all, func(r recorded) bool {
		return r.Kind == "mcp.tools/call" && r.Name == "get_order" && r.Caller == agent && r.Outcome == "ok"
	})
	if first < 0 || all[first].Txn == "" {
		p.Check(false, "receipts: want one of get_order of %s in a transaction, got %+v", agent, all)
		return
	}
	p.out.Line("  support-agent calls get_order, transaction " + all[first].Txn)
	var kinds []string
	for _, r := range all {
		if r.Txn != all[first].Txn {
			continue
		}
		what := r.Kind + " " + r.Name
		if r.Statement != nil {
			what = r.Kind
			for _, t := range r.Touched {
				what += " " + t.Name
			}
			what += fmt.Sprintf(", statement %.12s, %d rows", r.Statement.Fingerprint, r.Rows)
			met := r.Caller == p.place.App(serverApp).SPIFFEID && len(r.Actors) > 0 && r.Actors[0] == agent && r.Statement.Text == ""
			p.Check(met, "receipt of a statement: want it by %s on behalf of %s and without text, got %+v", serverApp, agent, r)
		}
		kinds = append(kinds, r.Kind)
		p.out.Line(fmt.Sprintf("    %-70s caller %-13s  on behalf of %s", what, appOf(r.Caller), appOf(strings.Join(r.Actors[:min(1, len(r.Actors))], ""))))
	}
	slices.Sort(kinds)
	p.Check(slices.Equal(kinds, []string{"mcp.tools/call", "sql.select", "sql.select"}), "receipts of the transaction: want one call and two statements, got %v", kinds)
}

// everyCall holds the journals against what was seen.
func (p *play) everyCall(all []recorded) {
	answered, known, unopened := 0, 0, false
	for _, r := range all {
		if r.Kind == "sql.open" && r.Caller == p.place.App("support-agent").SPIFFEID {
			unopened = true
		}
		if r.Kind == "mcp.tools/call" && r.Outcome == "ok" {
			answered++
		}
		if r.Outcome == "denied" && p.refused[r.ID] {
			known++
		}
	}
	p.Check(unopened, "receipts: want one of the component that support-agent did not get, got %+v", all)
	met := answered == p.answered && known == len(p.refused)
	p.Check(met, "receipts: want %d answered calls and %d refusals at the database's door, got %d and %d", p.answered, len(p.refused), answered, known)
	p.out.Result(met, "every answered call and every refusal that was told has its receipt", "found", fmt.Sprintf("%d calls, %d refusals", answered, known))
}

func appOf(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }
