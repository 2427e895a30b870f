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

const domain = "spiffe://" + stage.TrustDomain + "/ns/default/"

// chain is what of `custody chain show -o json` is used here.
type chain struct {
	OK    bool        `json:"ok"`
	Ended bool        `json:"ended"`
	Links int         `json:"links"`
	Steps []chainStep `json:"steps"`

	Histories []struct {
		Instance string `json:"instance"`
		App      string `json:"app"`
		Events   int    `json:"events"`
		Verified int    `json:"verified"`
		Anchored *int   `json:"anchored"`
	} `json:"histories"`
}

type chainStep struct {
	Step       string `json:"step"`
	Kind       string `json:"kind"`
	By         string `json:"by"`
	Tool       string `json:"tool"`
	AnsweredBy string `json:"answeredBy"`
	Status     string `json:"status"`
	Scheduled  *int   `json:"scheduled"`
	Recorded   *int   `json:"recorded"`
	Verified   bool   `json:"verified"`
}

// want are the steps of a refund that was paid, written down a second time.
var want = []chainStep{
	{Step: "custody.child", Kind: "statement", By: domain + "intake", Status: "stated"},
	{Step: "fraud-check", Kind: "statement", By: domain + "fraud", Status: "stated"},
	{Step: "custody.ask.refund-approval", Kind: "statement", By: domain + "intake", Status: "stated"},
	{Step: "refund-approval", Kind: "approval", By: domain + "approver", Status: "approved"},
	{Step: "refund_payment", Kind: "tool", By: domain + "intake", Tool: "refund_payment", AnsweredBy: domain + "payments", Status: "ok"},
}

// good: a refund that the fraud service checks and a person approves is paid,
// and its chain holds.
func (p *play) good(ctx context.Context) error {
	p.out.Title("1. A refund, checked by fraud and approved by a person")
	if err := p.begin(ctx, "good", order{payment: broken}); err != nil {
		return err
	}
	waits, err := p.waiting(ctx, "good", 0)
	if err != nil {
		return err
	}
	p.out.Note("waits for an approval of %s", waits.Statement)
	if p.earlier, err = p.copyStore(ctx); err != nil {
		return err
	}
	another := broken
	another.Amount++
	wrong, err := p.ask(ctx, "approver", http.MethodPost, "/approve/good", another, nil)
	p.Check(wrong.Status == http.StatusBadRequest, "approval of what is not asked: want 400, got %s (%v)", wrong, err)
	if _, err := p.ask(ctx, "approver", http.MethodPost, "/approve/good", broken, nil); err != nil {
		return err
	}
	s, err := p.ended(ctx, "good")
	if err != nil {
		return err
	}
	met := s.Output.Receipt == "P-00001"
	p.Check(met, "the good refund: want receipt P-00001, got %s", s)
	p.out.Result(met, "approved by the person, called by intake", "paid", s.String())
	return p.show(ctx)
}

// show prints the chain of the good refund.
func (p *play) show(ctx context.Context) error {
	text, err := p.stage.Command(ctx, "chain", "show", "good", "--app", "intake", "-o", "json")
	p.Check(err == nil, "custody chain show: want success, got %v", err)
	var c chain
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return fmt.Errorf("custody chain show: %w", err)
	}
	p.Check(c.OK && c.Ended && len(c.Steps) == len(want), "the chain: want it whole, with %d steps, got %s", len(want), stage.OneLine(text))
	p.out.Line("  custody chain show good, shortened:")
	var names []string
	var rows [][]stage.Cell
	for i, s := range c.Steps {
		same := i < len(want) && s.matches(want[i])
		p.Check(same, "step %d: want %+v, got %+v", i+1, want[min(i, len(want)-1)], s)
		names = append(names, s.Step)
		rows = append(rows, s.row(same))
	}
	p.out.Table([]string{"STEP", "KIND", "BY", "ANSWERED BY", "STATUS", "HISTORY", "VERIFIED"}, names, rows)
	for _, h := range c.Histories {
		met := h.Events > 0 && h.Verified == h.Events && h.Anchored != nil && *h.Anchored > 0
		p.Check(met, "history of %s in %s: want it verified and anchored, got %+v", h.Instance, h.App, h)
		if met {
			p.out.Note("Dapr's history of %s in %s: %d of %d events verified, %d signatures anchored", h.Instance, h.App, h.Verified, h.Events, *h.Anchored)
		}
	}
	p.Check(len(c.Histories) == 2, "histories: want that of intake and that of fraud, got %d", len(c.Histories))
	return nil
}

func (s chainStep) matches(want chainStep) bool {
	return s.Step == want.Step && s.Kind == want.Kind && s.By == want.By && s.Tool == want.Tool && s.AnsweredBy == want.AnsweredBy &&
		s.Status == want.Status && s.Verified && s.Scheduled != nil && s.Recorded != nil
}

func (s chainStep) row(met bool) []stage.Cell {
	history := "-"
	if s.Scheduled != nil && s.Recorded != nil {
		history = fmt.Sprintf("%d-%d", *s.Scheduled, *s.Recorded)
	}
	verified := "yes"
	if !s.Verified {
		verified = "NO"
	}
	texts := []string{s.Kind, strings.TrimPrefix(s.By, domain), strings.TrimPrefix(s.AnsweredBy, domain), s.Status, history, verified}
	row := make([]stage.Cell, len(texts))
	for i, text := range texts {
		row[i] = stage.Cell{Text: text, Met: met}
	}
	return row
}

// verifyOffline verifies the chain in a file with the roots that the run left, and nothing else.
func (p *play) verifyOffline(ctx context.Context, file string) (string, error) {
	return p.stage.Command(ctx, "chain", "verify", file, "--trust-bundle", p.stage.Bundle(), "--trust-domain", stage.TrustDomain, "--anchored")
}

// verifyFinds verifies the chain of a refund, while all runs. It returns whether
// the first that is found wrong is that, and the line that says so.
func (p *play) verifyFinds(ctx context.Context, what, id string) (bool, string, error) {
	output, err := p.stage.Command(ctx, "chain", "verify", id, "--app", "intake", "--anchored")
	if ctx.Err() != nil {
		return false, "", ctx.Err()
	}
	line, found := finding(output, what)
	first, _, _ := strings.Cut(output, "\n")
	return err != nil && found && strings.HasPrefix(first, "WRONG  "+what), line, nil
}

// finding is the line that says that this is wrong, or else all lines.
func finding(output, what string) (line string, found bool) {
	for line := range strings.Lines(output) {
		if strings.HasPrefix(line, "WRONG  "+what) {
			return short(strings.TrimSpace(line)), true
		}
	}
	return output, false
}

var digest = regexp.MustCompile(`(sha256:[0-9a-f]{8})[0-9a-f]{56}`)

// short leaves out what a line has too much of to be read here.
func short(line string) string {
	return strings.ReplaceAll(digest.ReplaceAllString(line, "$1..."), domain, "")
}
