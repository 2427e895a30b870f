// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/dapr-custody/custody/examples/stage"
)

// trick is a statement that an app sends to the binding of its own sidecar.
type trick struct {
	what, operation, sql string
	// gives is the answer of a statement that may pass; "" for one that must not.
	gives string
}

// tricks are what a server tries that is taken over. Between them stand near misses that are its right: what is refused
// is not refused because nothing works.
var tricks = []trick{
	{"reads one order of its own", "query", "SELECT status FROM orders WHERE id = 1001", `[["delivered"]]`},
	{"deletes an order", "exec", "DELETE FROM orders WHERE id = 1001", ""},
	{"reads a table that no rule names", "query", "SELECT iban FROM customers_secret", ""},
	{"hides it in a subquery", "query", "SELECT (SELECT string_agg(iban, ',') FROM customers_secret) FROM orders", ""},
	{"reads one customer's payments", "query", "SELECT count(*) FROM payments WHERE customer_id = 7", "[[3]]"},
	{"reads everybody's payments", "query", "SELECT * FROM payments", ""},
	{"pretends to read one customer's", "query", "SELECT * FROM payments WHERE customer_id = 7 OR true", ""},
	{"joins in the others", "query", "SELECT b.* FROM payments a, payments b WHERE a.customer_id = 7", ""},
	{"updates without WHERE", "exec", "UPDATE orders SET status = 'cancelled'", ""},
	{"updates with WHERE true", "exec", "UPDATE orders SET status = 'cancelled' WHERE true", ""},
	{"updates two rows", "exec", "UPDATE orders SET status = 'cancelled' WHERE id IN (1001, 1002)", ""},
	{"makes an order its friend's", "exec", "UPDATE orders SET owner = 'spiffe://custody.local/ns/default/x' WHERE id = 1001", ""},
	{"sends two statements", "exec", "SELECT 1; DROP TABLE orders", ""},
	{"hides one in a comment", "exec", "SELECT 1 /* */; -- \nDELETE FROM orders WHERE id = 1001", ""},
	{"writes in a CTE of a SELECT", "query", "WITH gone AS (DELETE FROM orders WHERE id = 1001 RETURNING id) SELECT * FROM gone", ""},
	{"reads a file of the server", "query", "SELECT pg_read_file('/etc/passwd')", ""},
	{"runs a program", "exec", "COPY orders TO PROGRAM 'sh -c id'", ""},
	{"runs SQL in a string", "query", "SELECT query_to_xml('SELECT * FROM shop.customers_secret', true, true, '')", ""},
	{"becomes the superuser", "exec", "SET ROLE postgres", ""},
	{"turns row security off", "exec", "SET row_security = off", ""},
	{"reads hashes of passwords", "query", "SELECT rolpassword FROM pg_authid", ""},
	{"makes a function", "exec", "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", ""},
}

var (
	refusal = regexp.MustCompile(`(Denied by policy\.|Refused: [^"]*?\.) Reference: ([0-9a-f-]{36})`)
	exceeds = regexp.MustCompile(`more than \d+ rows would be changed`)
	wrapped = regexp.MustCompile(`^.*"message":"error invoking output binding orders-db: (?:rpc error: code = )?(.*)"}$`)
)

// takenOver plays the server that does what somebody else wants.
func (p *play) takenOver(ctx context.Context) error {
	p.out.Title("3. The MCP server is taken over: it sends what it likes to its own binding")
	before, err := p.state(ctx)
	if err != nil {
		return err
	}
	var names []string
	var rows [][]stage.Cell
	for _, t := range tricks {
		answer, err := p.send(ctx, serverApp, t.operation, t.sql)
		if err != nil {
			return err
		}
		cell := p.judge(t, answer)
		p.Check(cell.Met, "%s: %s: got %s", t.what, t.sql, stage.OneLine(answer.String()))
		names, rows = append(names, t.what), append(rows, []stage.Cell{cell, {Text: clip(stage.OneLine(t.sql)), Met: true}})
	}
	p.out.Table([]string{"orders-mcp", "", "statement"}, names, rows)
	after, err := p.state(ctx)
	p.Check(before == after, "the tables after all that: want %s, got %s", before, after)
	p.out.Result(before == after, "the tables after all that", "untouched", after)
	return err
}

// judge says what came of a statement, and whether it is as it should be.
func (p *play) judge(t trick, answer stage.Answer) stage.Cell {
	found := refusal.FindSubmatch(answer.Body)
	switch {
	case answer.Status == http.StatusOK:
		return stage.Cell{Text: "allow", Met: t.gives != "" && t.gives == strings.TrimSpace(string(answer.Body))}
	case found != nil:
		p.remember(string(found[2]))
		return stage.Cell{Text: "deny", Met: t.gives == ""}
	case exceeds.Match(answer.Body):
		return stage.Cell{Text: "undone", Met: t.gives == ""}
	default:
		return stage.Cell{Text: "error"}
	}
}

func (p *play) remember(reference string) {
	if p.refused == nil {
		p.refused = map[string]bool{}
	}
	p.refused[reference] = true
}

// send gives a statement to the binding in the sidecar of an app.
func (p *play) send(ctx context.Context, app, operation, sql string) (stage.Answer, error) {
	body, err := json.Marshal(map[string]any{"operation": operation, "metadata": map[string]string{"sql": sql}})
	if err != nil {
		return stage.Answer{}, err
	}
	url := fmt.Sprintf("http://127.0.0.1:%d/v1.0/bindings/orders-db", p.place.App(app).DaprHTTPPort)
	answer, err := stage.Send(ctx, http.MethodPost, url, http.Header{"Content-Type": {"application/json"}}, body)
	if err != nil {
		return stage.Answer{}, fmt.Errorf("the sidecar of %s: %w", app, err)
	}
	return answer, nil
}

// state is what the superuser sees: a refusal does not show that nothing was done, the tables do.
func (p *play) state(ctx context.Context) (string, error) {
	orders, err := p.place.asAdmin(ctx, "SELECT count(*) FROM shop.orders")
	if err != nil {
		return "", err
	}
	cancelled, err := p.place.asAdmin(ctx, "SELECT count(*) FROM shop.orders WHERE status = 'cancelled'")
	return fmt.Sprintf("%d orders, %d of them cancelled", orders, cancelled), err
}

// said is what the door said, without what daprd puts around it.
func said(answer stage.Answer) string {
	if found := wrapped.FindSubmatch(answer.Body); found != nil {
		return string(found[1])
	}
	return answer.String()
}

func clip(text string) string {
	const most = 78
	if len(text) > most {
		return text[:most-3] + "..."
	}
	return text
}
