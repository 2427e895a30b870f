// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	_ "modernc.org/sqlite" // intake's store, to make a copy of it

	"github.com/dapr-custody/custody/examples/stage"
)

// offline stops everything and verifies the exported chain with the roots alone.
func (p *play) offline(ctx context.Context) error {
	p.out.Title("4. The chain as it was, verified offline after everything was stopped")
	err := p.stage.Stop()
	p.Check(err == nil, "custody up, when stopped: want a good end, got %v", err)
	output, err := p.verifyOffline(ctx, p.export)
	met := err == nil && strings.Contains(output, "GOOD: 7 links, 5 steps, ended")
	p.Check(met, "custody chain verify of the export: want success, got %s (%v)", stage.OneLine(output), err)
	p.out.Result(met, "custody chain verify good.chain.json", "all good", stage.LastLine(output))
	return nil
}

// tampering changes one byte of the exported chain.
func (p *play) tampering(ctx context.Context) error {
	p.out.Title("5. One byte of a copy of the export is changed")
	export, err := os.ReadFile(p.export)
	if err != nil {
		return err
	}
	var file struct {
		Links     []json.RawMessage
		Histories []struct{ Rows map[string][]byte }
	}
	if err := json.Unmarshal(export, &file); err != nil {
		return err
	}
	payload, err := approvalOf(file.Links)
	if err != nil {
		return err
	}
	var rows map[string][]byte
	if len(file.Histories) > 0 {
		rows = file.Histories[0].Rows
	}
	return p.attempts(ctx,
		attempt{"in the digest of what was approved", "found, and the link named", p.changed(export, payload, `"requestDigest":"sha256:`, "link/signature, step refund-approval")},
		attempt{"in the amount that Dapr's history has", "found, and the row named", p.changed(export, started(rows), `"amount":`, "history/events-changed, instance good")},
	)
}

// approvalOf is the payload of the approval.
func approvalOf(envelopes []json.RawMessage) ([]byte, error) {
	for _, envelope := range envelopes {
		l, err := parseLink(envelope)
		if err != nil {
			return nil, err
		}
		if l.kind == "custody.approval" {
			return l.payload, nil
		}
	}
	return nil, errors.New("the export has no approval")
}

// started is the event by which the refund was started, with what was ordered.
func started(rows map[string][]byte) []byte {
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		if strings.HasPrefix(name, "history-") && bytes.Contains(rows[name], []byte(`"amount":`)) {
			return rows[name]
		}
	}
	return nil
}

// changed changes the first digit after a text in what stands in the export in
// base64, and verifies.
func (p *play) changed(export, what []byte, after, want string) func(context.Context) (bool, string, error) {
	return func(ctx context.Context) (bool, string, error) {
		changed, err := changeDigit(export, what, after)
		if err != nil {
			return false, "", err
		}
		file := p.file("changed.chain.json")
		if err := os.WriteFile(file, changed, 0o600); err != nil {
			return false, "", err
		}
		output, err := p.verifyOffline(ctx, file)
		if ctx.Err() != nil {
			return false, "", ctx.Err()
		}
		line, found := finding(output, want)
		return err != nil && found, line, nil
	}
}

// changeDigit flips the lowest bit of a digit, so that one byte of the base64
// around it becomes another.
func changeDigit(export, what []byte, after string) ([]byte, error) {
	at := bytes.Index(what, []byte(after))
	if at < 0 {
		return nil, fmt.Errorf("the export has no %s", after)
	}
	at += len(after)
	digit := bytes.IndexAny(what[at:], "0123456789")
	if digit < 0 {
		return nil, fmt.Errorf("the export has no digit after %s", after)
	}
	other := bytes.Clone(what)
	other[at+digit] ^= 1
	encoding := base64.StdEncoding
	changed := bytes.Replace(export, []byte(encoding.EncodeToString(what)), []byte(encoding.EncodeToString(other)), 1)
	if bytes.Equal(changed, export) {
		return nil, errors.New("the export is written otherwise")
	}
	return changed, nil
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
	return p.verifyFinds(ctx, "history/rolled-back", "good")
}

func (p *play) notPaidAgain(ctx context.Context) (bool, string, error) {
	if _, err := p.waiting(ctx, "good", 0); err != nil {
		return false, "", err
	}
	if _, err := p.ask(ctx, "approver", http.MethodPost, "/approve/good", broken, nil); err != nil {
		return false, "", err
	}
	s, err := p.ended(ctx, "good")
	return !s.Output.Paid && strings.Contains(s.Error, "the call was made before, with outcome ok"), s.String(), err
}
