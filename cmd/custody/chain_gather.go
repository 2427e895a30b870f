// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/dapr-custody/custody/internal/dossier"
	"github.com/dapr-custody/custody/internal/evidence"
	"github.com/dapr-custody/custody/internal/history"
	"github.com/dapr-custody/custody/internal/identity"
	"github.com/dapr-custody/custody/internal/localdomain"
	"github.com/dapr-custody/custody/internal/receipt"
)

// gatherer puts together what is known of a chain.
type gatherer struct {
	flags   *chainFlags
	dossier *dossier.Dossier
	chain   *receipt.Chain
	// links are those of journals, by the chain that they name.
	links []*receipt.Envelope
	// missed are instances of which no store that was read has anything.
	missed []history.Rows
	// absent tells of folders of runs without a journal.
	absent []string
}

// gather gives beside the dossier what is to be said of how it was put together.
func (f *chainFlags) gather(ctx context.Context, instance string) (*dossier.Dossier, []string, error) {
	rows, err := f.one(ctx, instance)
	if err != nil {
		return nil, nil, err
	}
	g := &gatherer{flags: f, dossier: &dossier.Dossier{
		App: rows.App, Namespace: rows.Namespace, Instance: rows.Instance, Exported: time.Now().UTC(),
	}}
	if len(rows.Rows) == 0 {
		g.missed = append(g.missed, rows)
	}
	if err := g.instance(ctx, rows); err != nil {
		return nil, nil, err
	}
	if err := g.root(ctx); err != nil {
		return nil, nil, err
	}
	notes, err := g.notes()
	if err != nil {
		return nil, nil, err
	}
	err = g.journals()
	return g.dossier, append(notes, g.absent...), err
}

// notes name instances that the stores do not have: another may.
func (g *gatherer) notes() ([]string, error) {
	if len(g.missed) == 0 {
		return nil, nil
	}
	read, err := g.flags.readText()
	if err != nil {
		return nil, err
	}
	notes := make([]string, len(g.missed))
	for i, r := range g.missed {
		notes[i] = fmt.Sprintf("nothing is stored of instance %q of app %s in %s; if the app has another store, give its --component too",
			r.Instance, r.App, read)
	}
	return notes, nil
}

// instance takes up the history of an instance, and follows the chain into its children, and to where its links are of.
func (g *gatherer) instance(ctx context.Context, rows history.Rows) error {
	g.dossier.Histories = append(g.dossier.Histories, rows)
	in, err := history.Decode(rows)
	if err != nil {
		return usage(err)
	}
	places := map[place]bool{}
	for _, e := range dossier.LinksIn(in) {
		r, err := e.UnsafeReceipt()
		if err != nil || r.Workflow == nil || r.Workflow.Chain == nil {
			continue
		}
		if g.chain == nil {
			g.chain = r.Workflow.Chain
		}
		if g.chain.Equal(r.Workflow.Chain) {
			places[place{r.Workflow.App, r.Workflow.Instance}] = true
		}
	}
	// Of the children of earlier generations nothing but their links is here.
	for _, of := range slices.SortedFunc(maps.Keys(places), place.compare) {
		if err := g.follow(ctx, of.app, rows.Namespace, of.instance); err != nil {
			return err
		}
	}
	for _, child := range dossier.ChildrenOf(in) {
		if err := g.follow(ctx, child.App, child.Namespace, child.Instance); err != nil {
			return err
		}
	}
	return nil
}

// place is an instance of an app.
type place struct{ app, instance string }

func (p place) compare(q place) int {
	return cmp.Or(strings.Compare(p.app, q.app), strings.Compare(p.instance, q.instance))
}

// follow reads another instance. If nothing is stored of it, that is for the verification to say.
func (g *gatherer) follow(ctx context.Context, app, namespace, instance string) error {
	is := func(r history.Rows) bool { return r.Instance == instance && r.App == app }
	if slices.ContainsFunc(g.dossier.Histories, is) || slices.ContainsFunc(g.missed, is) {
		return nil
	}
	if len(g.dossier.Histories)+len(g.missed) >= dossier.MaxHistories {
		return usage(fmt.Errorf("the chain runs through more than %d instances", dossier.MaxHistories))
	}
	other := g.flags.storeFlags
	other.app, other.namespace = app, namespace
	rows, err := other.one(ctx, instance)
	if err != nil {
		return err
	}
	if len(rows.Rows) == 0 {
		g.missed = append(g.missed, rows)
		return nil
	}
	return g.instance(ctx, rows)
}

// root reads the instance that the chain began with.
func (g *gatherer) root(ctx context.Context) error {
	if g.chain == nil {
		return nil
	}
	namespace, app, ok := identity.App(g.chain.App)
	if !ok {
		return nil
	}
	return g.follow(ctx, app, namespace, g.chain.Instance)
}

// journals takes up the links and the anchors that journals have.
func (g *gatherer) journals() error {
	sources, err := journalSources(g.flags.journals)
	if err != nil && len(g.flags.journals) > 0 {
		return err
	}
	for _, source := range sources {
		summary, err := evidence.Walk(source.Dir, g.item)
		if source.missing(err) {
			g.absent = append(g.absent, absentText(source.Dir))
			continue
		}
		if err != nil {
			return usage(err)
		}
		read := dossier.Journal{ID: summary.Journal, Seq: summary.Head.Seq, Chain: summary.Head.Chain}
		for _, finding := range summary.Findings {
			read.Wrong = append(read.Wrong, finding.String())
		}
		g.dossier.Journals = append(g.dossier.Journals, read)
		if g.dossier.Anchors == nil {
			g.dossier.Anchors = []dossier.Anchor{}
		}
	}
	g.choose()
	return nil
}

func (g *gatherer) item(item *evidence.Item) error {
	if item.Receipt == nil {
		if i := item.Intent; g.anchors(i.Action, i.Workflow) {
			text, err := i.AppendJSON(nil)
			if err != nil {
				return err
			}
			g.dossier.Anchors = append(g.dossier.Anchors, dossier.Anchor{Intent: text})
		}
		return nil
	}
	r := item.Receipt
	switch {
	case g.anchors(r.Action, r.Workflow):
		g.dossier.Anchors = append(g.dossier.Anchors, dossier.Anchor{Envelope: item.Envelope.AppendJSON(nil)})
	case r.Workflow == nil || r.Workflow.Chain == nil:
	case g.chain != nil && g.chain.Equal(r.Workflow.Chain), g.chain == nil && r.Workflow.Instance == g.dossier.Instance && r.Workflow.App == g.dossier.App:
		g.links = append(g.links, item.Envelope)
	}
	return nil
}

// anchors says whether an action is an anchor of one of the histories.
func (g *gatherer) anchors(action receipt.Action, w *receipt.Workflow) bool {
	if action.Kind != dossier.KindHistory && action.Kind != dossier.KindHistoryRemoved || w == nil {
		return false
	}
	return slices.ContainsFunc(g.dossier.Histories, func(r history.Rows) bool { return r.App == w.App && r.Instance == w.Instance })
}

// choose keeps the links of one chain: where no history says which, that of the newest run.
func (g *gatherer) choose() {
	chainOf := func(e *receipt.Envelope) *receipt.Chain {
		r, err := e.UnsafeReceipt()
		if err != nil || r.Workflow == nil {
			return nil
		}
		return r.Workflow.Chain
	}
	if g.chain == nil {
		for _, e := range g.links {
			if id := chainOf(e); id != nil && (g.chain == nil || id.Started.After(g.chain.Started)) {
				g.chain = id
			}
		}
	}
	for _, e := range g.links {
		if id := chainOf(e); id != nil && id.Equal(g.chain) {
			g.dossier.Links = append(g.dossier.Links, jsontext.Value(e.AppendJSON(nil)))
		}
	}
}

// export writes a chain as it is, and to told what was not found of it.
func (f *chainFlags) export(ctx context.Context, out, told io.Writer, instance, file string) error {
	d, notes, err := f.gather(ctx, instance)
	if err != nil {
		return err
	}
	for _, note := range notes {
		fmt.Fprintf(told, "note: %s\n", plain(note))
	}
	if d.TrustBundle, err = f.bundleDigest(); err != nil {
		return usage(err)
	}
	text, err := d.Encode()
	if err != nil {
		return usage(err)
	}
	if file == "" || file == "-" {
		if _, err := out.Write(text); err != nil {
			return usage(err)
		}
		return nil
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return usage(err)
	}
	return nil
}

// bundleDigest names the bundle that a verification now would take; nil if there is none.
func (f *chainFlags) bundleDigest() (*dossier.TrustBundle, error) {
	file := f.bundle
	if file == "" {
		home, err := homeFolder()
		if err != nil {
			return nil, err
		}
		file = filepath.Join(home, localdomain.RootsFile)
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) && f.bundle == "" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &dossier.TrustBundle{File: receipt.Sum(text)}, nil
}
