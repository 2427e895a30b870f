// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	_ "modernc.org/sqlite" // intake's store, to make a copy of it

	"github.com/dapr-custody/custody/examples/stage"
)

// offline stops everything and verifies the exported chain with the roots alone.
func (p *play) offline(ctx context.Context) error {
	p.out.Title("4. The chain as it was, verified offline after everything was stopped")
	err := p.stage.Stop()
	p.Check(err == nil, "custody up, when stopped: want a good end, got %v", err)
	output, err := p.verify(ctx, p.export)
	met := err == nil && strings.Contains(output, "GOOD: 7 links, 5 steps, ended")
	p.Check(met, "custody chain verify of the export: want success, got %s (%v)", stage.OneLine(output), err)
	p.out.Result(met, "custody chain verify good.chain.json", "all good", lastLine(output))
	return nil
}

// tampering changes one byte of the exported chain.
func (p *play) tampering(ctx context.Context) error {
	p.out.Title("5. One byte of a copy of the export is changed")
	text, err := os.ReadFile(p.export)
	if err != nil {
		return err
	}
	var file struct {
		Links     []json.RawMessage
		Histories []struct {
			Instance string
			Rows     map[string]string
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return err
	}
	var approval link
	for _, envelope := range file.Links {
		l, err := parseLink(envelope)
		if err != nil {
			return err
		}
		if l.kind == "custody.approval" {
			approval = l
		}
	}
	const row = "history-000004"
	return p.attempts(ctx,
		attempt{"in the approval", "found, and the link named", p.changed(text, payload(approval.envelope), "link")},
		attempt{"in an event of Dapr's history", "found, and the events named", p.changed(text, file.Histories[0].Rows[row], row)},
	)
}

// payload is that of an envelope, as it stands in it.
func payload(envelope json.RawMessage) string {
	var e struct{ Payload string }
	if err := json.Unmarshal(envelope, &e); err != nil {
		return ""
	}
	return e.Payload
}

// changed changes the middle of what stands in the export, and verifies.
func (p *play) changed(export []byte, what, name string) func(context.Context) (bool, string, error) {
	return func(ctx context.Context) (bool, string, error) {
		at := bytes.LastIndex(export, []byte(what))
		if what == "" || at < 0 {
			return false, "", errors.New("the export has no such text")
		}
		changed := bytes.Clone(export)
		if at += len(what) / 2; changed[at] == 'A' {
			changed[at] = 'B'
		} else {
			changed[at] = 'A'
		}
		file := p.file("changed.chain.json")
		if err := os.WriteFile(file, changed, 0o600); err != nil {
			return false, "", err
		}
		output, err := p.verify(ctx, file)
		found := wrong(output)
		return err != nil && len(found) > 0 && strings.Contains(strings.Join(found, "\n"), name), strings.Join(found, " "), nil
	}
}

// copyStore copies intake's store, as who can read it may at any time.
func (p *play) copyStore(ctx context.Context) (file string, err error) {
	file = p.file("earlier.db")
	db, err := p.open()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	_, err = db.ExecContext(ctx, "VACUUM INTO ?", file)
	return file, err
}

func (p *play) open() (*sql.DB, error) {
	return sql.Open("sqlite", "file:"+filepath.Join(p.stage.Example, "intake.db")+"?_pragma=busy_timeout(5000)")
}

// rollback puts back the store of intake as it was while the good refund
// waited for its approval, so that it was never paid.
func (p *play) rollback(ctx context.Context) error {
	p.out.Title("3. The store of intake is put back to a copy from before the payment")
	p.export = p.file("good.chain.json")
	if _, err := p.stage.Command(ctx, "chain", "export", "good", "--app", "intake", "--file", p.export); err != nil {
		return err
	}
	if err := p.putBack(ctx); err != nil {
		return err
	}
	return p.attempts(ctx,
		attempt{"Dapr verifies it and goes on: the refund", "waits again", p.waitsAgain},
		attempt{"custody chain verify good", "found", p.foundRolledBack},
		attempt{"approved again: a second payment", "not made", p.notPaidAgain},
	)
}

// putBack has every row of the store as it was.
func (p *play) putBack(ctx context.Context) (err error) {
	db, err := p.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1) // ATTACH is for a connection
	if _, err := db.ExecContext(ctx, "ATTACH ? AS earlier", p.earlier); err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, "BEGIN IMMEDIATE; DELETE FROM state; INSERT INTO state SELECT * FROM earlier.state; COMMIT")
	return err
}

func (p *play) waitsAgain(ctx context.Context) (bool, string, error) {
	var s state
	_, err := p.ask(ctx, "intake", http.MethodGet, "/refunds/good", nil, &s)
	return s.Status == "RUNNING", s.String(), err
}

func (p *play) foundRolledBack(ctx context.Context) (bool, string, error) {
	output, err := p.stage.Command(ctx, "chain", "verify", "good", "--app", "intake", "--anchored")
	found := strings.Join(wrong(output), "\n")
	first, _, _ := strings.Cut(found, "\n")
	return err != nil && strings.Contains(found, "rolled-back"), first, nil
}

func (p *play) notPaidAgain(ctx context.Context) (bool, string, error) {
	if _, err := p.waiting(ctx, "good", 0); err != nil {
		return false, "", err
	}
	if _, err := p.ask(ctx, "approver", http.MethodPost, "/approve/good", broken, nil); err != nil {
		return false, "", err
	}
	s, err := p.ended(ctx, "good")
	return !s.Output.Paid && s.Error != "", fmt.Sprint(s), err
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
