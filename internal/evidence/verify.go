// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package evidence

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"

	"github.com/dapr-custody/custody/internal/receipt"
)

// Check says against what receipts are verified.
type Check struct {
	Bundles x509bundle.Source
	Options receipt.VerifyOptions
	// Progress, if not nil, is called after each receipt.
	Progress func()
}

// Report is what verifying a journal or a file gave.
type Report struct {
	Summary
	// Good counts the receipts with which nothing is wrong.
	Good int `json:"good"`
}

// OK says whether nothing is wrong. Intents without a receipt are not wrong.
func (r *Report) OK() bool { return len(r.Findings) == 0 }

// VerifyJournal verifies the journal in a folder: every record, every receipt, and that the receipts stand on what is
// there. What is wrong stands in the Report; an error means that the folder could not be read.
func VerifyJournal(dir string, check Check) (*Report, error) {
	report := &Report{}
	var failures []Finding
	summary, err := Walk(dir, func(item *Item) error {
		if item.Receipt == nil {
			return nil
		}
		if _, err := receipt.Verify(item.Envelope, check.Bundles, check.Options); err != nil {
			// A certificate that the journal lacks was found before.
			if !errors.Is(err, receipt.ErrCertificate) || len(item.Findings) == 0 {
				failures = append(failures, item.finding(item.Receipt.ID, err.Error()))
			}
		} else if len(item.Findings) == 0 {
			report.Good++
		}
		check.progress()
		return nil
	})
	report.Summary = *summary
	report.Findings = append(report.Findings, failures...)
	return report, err
}

// VerifyFile verifies exported receipts: one envelope, or one on each line (.intoto.jsonl). The name is for findings. A
// receipt that is there twice is a Finding. An error means that the file could not be read.
func VerifyFile(name string, in io.Reader, check Check) (*Report, error) {
	report := &Report{Summary: Summary{Source: name, Findings: []Finding{}}}
	seen := map[[2]string]int{}
	lines := bufio.NewReaderSize(in, receipt.MaxEnvelope+2)
	if head, err := lines.Peek(receipt.MaxEnvelope + 1); errors.Is(err, io.EOF) {
		if _, err := receipt.DecodeEnvelope(head); err == nil { // also where it is spread over several lines
			report.envelope(0, head, check, seen)
			return report, nil
		}
	}
	for n := 1; ; n++ {
		line, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			report.find(n, "", fmt.Sprintf("line is longer than %d bytes; the rest of the file was not read", receipt.MaxEnvelope))
			return report, nil
		case err != nil && !errors.Is(err, io.EOF):
			return report, fmt.Errorf("evidence: %s: %w", name, err)
		}
		if text := bytes.TrimRight(line, "\r\n"); len(text) > 0 {
			report.envelope(n, text, check, seen)
		}
		if err != nil {
			break
		}
	}
	if report.Receipts == 0 {
		report.find(0, "", "file holds no receipt")
	}
	return report, nil
}

func (r *Report) envelope(line int, text []byte, check Check, seen map[[2]string]int) {
	r.Receipts++
	defer check.progress()
	e, err := receipt.DecodeEnvelope(text)
	if err != nil {
		r.find(line, "", err.Error())
		return
	}
	verified, err := receipt.Verify(e, check.Bundles, check.Options)
	if err != nil {
		id := ""
		if claimed, err := e.UnsafeReceipt(); err == nil {
			id = claimed.ID
		}
		r.find(line, id, err.Error())
		return
	}
	key := [2]string{verified.Receipt.Journal.ID, verified.Receipt.ID}
	if before, ok := seen[key]; ok {
		r.find(line, verified.Receipt.ID, fmt.Sprintf("a receipt with this ID stands on line %d", before))
		return
	}
	seen[key] = line
	r.Good++
}

func (r *Report) find(line int, id, reason string) {
	r.Findings = append(r.Findings, Finding{Source: r.Source, Line: line, ID: id, Reason: reason})
}

func (c Check) progress() {
	if c.Progress != nil {
		c.Progress()
	}
}
