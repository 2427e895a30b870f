// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/dapr-custody/custody/examples/stage"
)

// ask is something that an app wants of a store.
type ask struct {
	app, what    string
	method, path string
	body         string
	allowed      bool
}

// asks are tried at every store, in this order.
var asks = []ask{
	{"cart-service", "writes cart-1", http.MethodPost, "", `[{"key":"cart-1","value":{"items":2}}]`, true},
	{"cart-service", "writes cart-private-1", http.MethodPost, "", `[{"key":"cart-private-1","value":{"items":1}}]`, true},
	{"cart-service", "reads cart-1", http.MethodGet, "/cart-1", "", true},
	{"cart-service", "writes price-1", http.MethodPost, "", `[{"key":"price-1","value":0}]`, false},
	{"reporting", "reads cart-1", http.MethodGet, "/cart-1", "", true},
	{"reporting", "reads cart-private-1", http.MethodGet, "/cart-private-1", "", false},
	{"reporting", "writes cart-1", http.MethodPost, "", `[{"key":"cart-1","value":{"items":0}}]`, false},
	{"reporting", "deletes cart-1", http.MethodDelete, "/cart-1", "", false},
}

func (p *play) send(ctx context.Context, store string, a ask) (stage.Answer, error) {
	url := fmt.Sprintf("http://127.0.0.1:%d/v1.0/state/%s%s", p.stage.App(a.app).DaprHTTPPort, store, a.path)
	return stage.Send(ctx, a.method, url, http.Header{"Content-Type": {"application/json"}}, []byte(a.body))
}

// refusal says whether an answer is the door's: what fails for another reason does not count.
func refusal(answer stage.Answer) bool {
	return answer.Status >= http.StatusBadRequest && strings.Contains(string(answer.Body), "policy denied this (reference ")
}

func (p *play) count(a ask) {
	if a.allowed {
		p.allowed++
	} else {
		p.denied++
	}
}

// table tries everything at every store.
func (p *play) table(ctx context.Context) error {
	p.out.Title("One policy, four stores")
	rows := make([][]stage.Cell, len(asks))
	heads := []string{""}
	whats := make([]string, len(asks))
	for i, a := range asks {
		whats[i] = a.app + " " + a.what
		for _, store := range names {
			answer, err := p.send(ctx, store, a)
			if err != nil {
				return fmt.Errorf("%s %s in %s: %w", a.app, a.what, store, err)
			}
			p.count(a)
			cell := stage.Cell{Text: "allow", Met: a.allowed && answer.Status < http.StatusMultipleChoices}
			if !a.allowed {
				cell = stage.Cell{Text: "deny", Met: refusal(answer)}
			}
			p.Check(cell.Met, "%s %s in %s: want %s, got %s", a.app, a.what, store, cell.Text, stage.OneLine(answer.String()))
			rows[i] = append(rows[i], cell)
		}
	}
	p.out.Table(append(heads, names...), whats, rows)
	return nil
}

// whole tries requests of which one part is not allowed.
func (p *play) whole(ctx context.Context) error {
	p.out.Title("A request is allowed whole or not at all")
	for _, store := range names {
		both := ask{"cart-service", "writes cart-2 and price-2", http.MethodPost, "", `[{"key":"cart-2","value":1},{"key":"price-2","value":0}]`, false}
		answer, err := p.send(ctx, store, both)
		if err != nil {
			return err
		}
		p.count(both)
		look := ask{"cart-service", "reads cart-2", http.MethodGet, "/cart-2", "", true}
		kept, err := p.send(ctx, store, look)
		if err != nil {
			return err
		}
		p.count(look)
		met := refusal(answer) && kept.Status == http.StatusNoContent
		p.Check(met, "%s %s in %s: got %s, and then %s", both.app, both.what, store, stage.OneLine(answer.String()), stage.OneLine(kept.String()))
		p.out.Result(met, store+": "+both.what, "refused, and cart-2 is not there", answer.String())
	}
	return nil
}
