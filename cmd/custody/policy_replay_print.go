// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dapr-custody/custody/internal/policy"
)

// replayAnswer is what the replay command prints.
type replayAnswer struct {
	Since time.Time `json:"since,omitzero"`
	// Sets are the digests of NEW, one for each trust domain and namespace.
	Sets      []string `json:"sets"`
	Decisions int      `json:"decisions"`
	Same      int      `json:"same"`
	Otherwise int      `json:"otherwise"`
	Depends   int      `json:"depends"`
	// OwnRefusals are refusals of the doors' own, which no policy changes.
	OwnRefusals int             `json:"ownRefusals"`
	Unverified  int             `json:"unverified,omitempty"`
	Changes     []*replayChange `json:"changes"`
	// Obliged are the allowed calls that NEW allows too, and what it obliges them to.
	Obliged []*replayObliged `json:"obliged"`

	groups  map[replayKey]*replayChange
	obliged map[replayKey]*replayObliged
}

// The changes, in the order in which they are printed.
const (
	changeOpens     = "opens"
	changeMayOpen   = "may open"
	changeReveals   = "reveals"
	changeMayReveal = "may reveal"
	changeCloses    = "closes"
	changeMayClose  = "may close"
)

var changeOrder = []string{changeOpens, changeMayOpen, changeReveals, changeMayReveal, changeCloses, changeMayClose}

// replayChange is a group of decisions that come out otherwise in the same way.
type replayChange struct {
	Change string        `json:"change"`
	Caller string        `json:"caller"`
	Kind   string        `json:"kind"`
	Server string        `json:"server,omitempty"`
	Name   string        `json:"name,omitempty"`
	Was    replayVerdict `json:"was"`
	Would  replayVerdict `json:"wouldBe"`
	Times  int           `json:"times"`
	// Last is when the last of them was decided, Reference its ID and Journal where it stands.
	Last      time.Time `json:"last"`
	Reference string    `json:"reference"`
	Journal   string    `json:"journal"`
}

// replayObliged is a group of decisions that stay an allow.
type replayObliged struct {
	Caller      string   `json:"caller"`
	Kind        string   `json:"kind"`
	Server      string   `json:"server,omitempty"`
	Name        string   `json:"name,omitempty"`
	Obligations []string `json:"obligations"`
	Times       int      `json:"times"`
}

type replayKey struct {
	concern
	change, was, would string
}

// add replays one decision.
func (a *replayAnswer) add(r *recorded, c *candidate) {
	if r.ownRefusal() {
		a.OwnRefusals++
		return
	}
	a.Decisions++
	was, would, change := c.changes(r)
	if r.Effect == policy.Allow && len(would.Obligations) > 0 {
		a.oblige(r, would.Obligations)
	}
	switch change {
	case "":
		a.Same++
		return
	case changeMayOpen, changeMayReveal, changeMayClose:
		a.Depends++
	default:
		a.Otherwise++
	}
	a.group(r, was, would, change)
}

// oblige keeps what comes with a decision that stays an allow.
func (a *replayAnswer) oblige(r *recorded, obligations []string) {
	key := replayKey{concern: concern{r.caller, r.action}, would: strings.Join(obligations, "; ")}
	g := a.obliged[key]
	if g == nil {
		g = &replayObliged{Caller: r.caller.String(), Kind: r.action.Kind, Server: r.action.Server, Name: r.action.Name, Obligations: obligations}
		a.obliged[key] = g
		a.Obliged = append(a.Obliged, g)
	}
	g.Times++
}

func (a *replayAnswer) group(r *recorded, was, would replayVerdict, change string) {
	key := replayKey{concern{r.caller, r.action}, change, was.String(), would.String()}
	g := a.groups[key]
	if g == nil {
		g = &replayChange{
			Change: change, Caller: r.caller.String(), Kind: r.action.Kind, Server: r.action.Server, Name: r.action.Name, Would: would,
		}
		a.groups[key] = g
		a.Changes = append(a.Changes, g)
	}
	g.Times++
	if g.Times == 1 || r.at.After(g.Last) {
		g.Was, g.Last, g.Reference, g.Journal = was, r.at, r.id, r.journal
	}
}

// sort puts first what opens, and what is frequent.
func (a *replayAnswer) sort() {
	slices.SortStableFunc(a.Changes, func(x, y *replayChange) int {
		return cmp.Or(
			slices.Index(changeOrder, x.Change)-slices.Index(changeOrder, y.Change), cmp.Compare(y.Times, x.Times),
			strings.Compare(x.Caller, y.Caller), strings.Compare(x.Server, y.Server), strings.Compare(x.Name, y.Name),
			strings.Compare(x.Kind, y.Kind), strings.Compare(x.Was.String(), y.Was.String()), strings.Compare(x.Would.String(), y.Would.String()),
		)
	})
	slices.SortStableFunc(a.Obliged, func(x, y *replayObliged) int {
		return cmp.Or(
			cmp.Compare(y.Times, x.Times), strings.Compare(x.Caller, y.Caller), strings.Compare(x.Server, y.Server),
			strings.Compare(x.Name, y.Name), strings.Compare(x.Kind, y.Kind), slices.Compare(x.Obligations, y.Obligations),
		)
	})
}

// print writes the answer; changes are an error too, for the exit code.
func (a *replayAnswer) print(w io.Writer, format string) error {
	show := a.table
	if format != "table" {
		show = func(w io.Writer) error { return policyValue(w, format, a) }
	}
	if err := show(w); err != nil {
		return err
	}
	if len(a.Changes) == 0 {
		return nil
	}
	var parts []string
	if a.Otherwise > 0 {
		parts = append(parts, count(a.Otherwise, "decision is", "decisions are")+" made otherwise")
	}
	if a.Depends > 0 {
		parts = append(parts, count(a.Depends, "decision depends", "decisions depend")+" on what is not recorded")
	}
	return &exitError{code: exitNo, err: errors.New(strings.Join(parts, ", "))}
}

func (a *replayAnswer) table(w io.Writer) error {
	if len(a.Changes) > 0 {
		t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
		fmt.Fprintln(t, "CHANGE\tCALLER\tACTION\tWAS\tWOULD BE\tTIMES\tLAST\tREFERENCE")
		for _, c := range a.Changes {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", c.Change, c.Caller, plain(actionText(c.Kind, c.Server, c.Name)),
				plain(c.Was.String()), plain(c.Would.String()), c.Times, c.Last.UTC().Format("2006-01-02T15:04:05.000Z"), c.Reference)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	if len(a.Obliged) > 0 {
		t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
		fmt.Fprintln(t, "CALLER\tACTION\tALLOWED AS BEFORE, WITH\tTIMES")
		for _, o := range a.Obliged {
			fmt.Fprintf(t, "%s\t%s\t%s\t%d\n", o.Caller, plain(actionText(o.Kind, o.Server, o.Name)), plain(strings.Join(o.Obligations, "; ")), o.Times)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w, a.summary())
	return err
}

func (a *replayAnswer) summary() string {
	text := count(a.Decisions, "decision", "decisions")
	if !a.Since.IsZero() {
		text += " since " + a.Since.UTC().Format(time.RFC3339)
	}
	text += fmt.Sprintf(": %d as before, %d otherwise, %d that depend", a.Same, a.Otherwise, a.Depends)
	if a.OwnRefusals > 0 {
		text += "; left out: " + count(a.OwnRefusals, "refusal", "refusals") + " of the doors' own"
	}
	if a.Unverified > 0 {
		text += "; " + count(a.Unverified, "thing", "things") + " in the journals did not verify"
	}
	return text
}
