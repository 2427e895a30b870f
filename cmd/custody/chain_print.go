// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/dossier"
	"github.com/dapr-custody/custody/internal/identity"
	"github.com/dapr-custody/custody/internal/receipt"
)

// chainView is a verified chain as it is printed.
type chainView struct {
	OK      bool           `json:"ok"`
	Chain   *receipt.Chain `json:"chain,omitempty"`
	Ended   bool           `json:"ended"`
	Running bool           `json:"running"`
	Links   int            `json:"links"`
	// Anchored counts the signatures of the histories that journals know; it is left out if there was no journal.
	Anchored  *int             `json:"anchored,omitempty"`
	Steps     []stepView       `json:"steps"`
	Histories []chainHistory   `json:"histories"`
	Faults    []*dossier.Fault `json:"faults"`
	Notes     []string         `json:"notes"`
}

type stepView struct {
	Step       string           `json:"step"`
	Kind       string           `json:"kind"`
	By         string           `json:"by"`
	Server     string           `json:"server,omitempty"`
	Tool       string           `json:"tool,omitempty"`
	AnsweredBy string           `json:"answeredBy,omitempty"`
	Status     string           `json:"status"`
	At         time.Time        `json:"at"`
	App        string           `json:"app"`
	Instance   string           `json:"instance"`
	Task       uint32           `json:"task"`
	Link       receipt.Digest   `json:"link"`
	Answer     receipt.Digest   `json:"answer,omitzero"`
	Prev       []receipt.Digest `json:"prev,omitempty"`
	Scheduled  *int             `json:"scheduled,omitempty"`
	Recorded   *int             `json:"recorded,omitempty"`
	Verified   bool             `json:"verified"`
	// Unchecked is what of the step nothing that was read can tell.
	Unchecked string `json:"unchecked,omitempty"`
}

type chainHistory struct {
	Instance string `json:"instance"`
	App      string `json:"app"`
	Workflow string `json:"workflow,omitempty"`
	Status   string `json:"status,omitempty"`
	Events   int    `json:"events"`
	Verified int    `json:"verified"`
	Anchored *int   `json:"anchored,omitempty"`
}

func newChainView(r *dossier.Report) *chainView {
	v := &chainView{
		OK: r.OK(), Ended: r.Ended, Running: r.Running, Links: r.Links, Anchored: present(r.Anchored), Steps: []stepView{},
		Histories: []chainHistory{}, Faults: r.Faults, Notes: r.Notes,
	}
	if r.Chain.Instance != "" {
		v.Chain = &r.Chain
	}
	if v.Faults == nil {
		v.Faults = []*dossier.Fault{}
	}
	if v.Notes == nil {
		v.Notes = []string{}
	}
	for _, s := range r.Steps {
		v.Steps = append(v.Steps, stepView{
			Step: s.Name, Kind: s.Kind, By: s.By.String(), Server: s.Server, Tool: s.Tool, AnsweredBy: s.Door.String(), Status: s.Status,
			At: s.At, App: s.App, Instance: s.Instance, Task: s.Task, Link: s.Link, Answer: s.Answer, Prev: s.Prev,
			Scheduled: present(s.Scheduled), Recorded: present(s.Recorded), Verified: len(s.Faults) == 0, Unchecked: s.Unchecked,
		})
	}
	for _, h := range r.Histories {
		v.Histories = append(v.Histories, chainHistory{
			Instance: h.Instance, App: h.App, Workflow: h.Name, Status: h.Status, Events: len(h.Events), Verified: h.Verified,
			Anchored: present(h.Anchored),
		})
	}
	return v
}

// present is nil for a number below 0, which stands for none.
func present(n int) *int {
	if n < 0 {
		return nil
	}
	return &n
}

// The widths of the columns of the table, which all of them together fit 160 columns. What is longer is cut off; -o json
// has all of it.
const (
	widthStep, widthApp, widthTool, widthInstance, widthFault = 20, 14, 20, 12, 16
)

func chainTable(out io.Writer, r *dossier.Report) error {
	if r.Chain.Instance != "" {
		fmt.Fprintf(out, "chain of %s, begun by %s at %s; apps are of its namespace if they name no other\n", plain(r.Chain.Instance),
			r.Chain.App, timeText(r.Chain.Started))
	}
	t := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "#\tSTEP\tKIND\tBY\tTOOL\tANSWERED BY\tSTATUS\tAT\tINSTANCE\tHISTORY\tVERIFIED")
	for i, s := range r.Steps {
		tool := "-"
		if s.Server != "" || s.Tool != "" {
			tool = clip(s.Server+"/"+s.Tool, widthTool)
		}
		verified := "yes"
		if s.Unchecked != "" {
			verified = "in part"
		}
		if len(s.Faults) > 0 {
			verified = clip("NO: "+string(s.Faults[0].Kind), widthFault)
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", i+1, clip(s.Name, widthStep), s.Kind, appText(s.By, r.Chain.App), tool,
			appText(s.Door, r.Chain.App), dash(s.Status), s.At.UTC().Format("01-02 15:04:05"), clip(s.Instance, widthInstance), eventsText(s), verified)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	chainText(out, r)
	return nil
}

// clip gives a text as it is printed in a column: at most so many runes of it, and - for none.
func clip(s string, width int) string {
	runes := []rune(dash(s))
	if len(runes) > width {
		runes = append(runes[:width-1], '\u2026')
	}
	return string(runes)
}

// appText names an app beside that which began the chain: by as little as tells them apart.
func appText(id, beside spiffeid.ID) string {
	text := id.String()
	namespace, app, ok := identity.App(id)
	if of, _, is := identity.App(beside); ok && is && id.TrustDomain() == beside.TrustDomain() {
		if text = app; namespace != of {
			text = namespace + "/" + app
		}
	}
	return clip(text, widthApp)
}

func eventsText(s dossier.Step) string {
	switch {
	case s.Scheduled < 0:
		return "-"
	case s.Recorded < 0:
		return strconv.Itoa(s.Scheduled)
	}
	return strconv.Itoa(s.Scheduled) + "-" + strconv.Itoa(s.Recorded)
}

// chainText says what was verified, and what is wrong.
func chainText(out io.Writer, r *dossier.Report) {
	for _, f := range r.Faults {
		fmt.Fprintf(out, "WRONG  %s\n", plain(f.Error()))
	}
	for _, note := range r.Notes {
		fmt.Fprintf(out, "note: %s\n", plain(note))
	}
	for _, h := range r.Histories {
		fmt.Fprintf(out, "history of %s in app %s (%s): %d of %s verified, %s\n", plain(h.Instance), plain(h.App), dash(h.Status), h.Verified,
			count(len(h.Events), "event", "events"), anchorText(h.Anchored))
	}
	verdict := "GOOD"
	if !r.OK() {
		verdict = "NOT GOOD"
	}
	state := "ended"
	switch {
	case r.Running:
		state = "still running or terminated"
	case !r.Ended:
		state = "not ended"
	}
	fmt.Fprintf(out, "%s: %s, %s, %s\n", verdict, count(r.Links, "link", "links"), count(len(r.Steps), "step", "steps"), state)
}

func anchorText(anchored int) string {
	switch anchored {
	case -1:
		return "no journal to ask for anchors"
	case 0:
		return "no anchor"
	}
	return count(anchored, "signature", "signatures") + " anchored"
}

func chainVerdict(r *dossier.Report) error {
	if r.OK() {
		return nil
	}
	return findings(len(r.Faults))
}
