// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package chain

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/dapr-custody/custody/internal/receipt"
)

// A workflow that continues as new states the last link of its generation, which names all of its heads, and the next
// generation begins with a link that continues that one and nothing else. All else of the next generation continues its
// first link, by way of itself or of children. Without such a beginning nothing of a later generation counts, so that
// nobody goes on in another's name by saying that it is a later generation.

// generationKey names a generation of a workflow instance.
type generationKey struct {
	app, instance string
	number        uint32
}

// generation is one after the first.
type generation struct {
	begins []*node
	begun  bool // a beginning counts
}

// generationOf gives the generation that a link needs the beginning of; nil for the first.
func (c *Chain) generationOf(l *Link) *generation {
	w := l.Receipt.Workflow
	if w.Generation == 0 {
		return nil
	}
	key := generationKey{w.App, w.Instance, w.Generation}
	g := c.generations[key]
	if g == nil {
		g = &generation{}
		c.generations[key] = g
	}
	return g
}

// beginning looks whether a generation is begun, now that a beginning of it has come or was taken out.
func (c *Chain) beginning(n *node) {
	g := n.of
	if n.role != begin || g == nil {
		return
	}
	if !slices.Contains(g.begins, n) {
		g.begins = append(g.begins, n)
	}
	begun := slices.ContainsFunc(g.begins, func(n *node) bool { return !n.void })
	if begun != g.begun {
		g.begun = begun
		c.memo = memo{}
	}
}

// otherGeneration says what makes next none that goes on from p; "" if it may.
func otherGeneration(p, next *node) string {
	of, by := p.link.Receipt.Workflow, next.link.Receipt.Workflow
	same := of.App == by.App && of.Instance == by.Instance
	switch {
	case next.role == begin && p.role != goesOn:
		return fmt.Sprintf("it begins generation %d with %s, which is no %s", by.Generation, p.digest, KindContinue)
	case p.role == goesOn && next.role != begin:
		return fmt.Sprintf("it continues %s, which only the %s of the next generation can", p.digest, KindBegin)
	case next.role == begin && (!same || uint64(by.Generation) != uint64(of.Generation)+1):
		return fmt.Sprintf("it begins generation %d of %.140q of app %.80q with the last link of generation %d of %.140q of app %.80q",
			by.Generation, by.Instance, by.App, of.Generation, of.Instance, of.App)
	case next.role != begin && same && of.Generation != by.Generation:
		return fmt.Sprintf("it is of generation %d and continues %s, which is of generation %d", by.Generation, p.digest, of.Generation)
	}
	return ""
}

// Continued gives what the last link of a generation states of the next, in RFC 8785 form: its number, and the digest of the
// RFC 8785 form of its input, so that nobody can have it begin with another. No input is null.
func Continued(generation uint32, input []byte) ([]byte, error) {
	canonical := jsontext.Value("null")
	if len(input) > 0 {
		canonical = jsontext.Value(slices.Clone(input))
	}
	if err := canonical.Canonicalize(); err != nil {
		return nil, err
	}
	return json.Marshal(struct {
		Generation uint32         `json:"generation"`
		Input      receipt.Digest `json:"input"`
	}{generation, receipt.Sum(canonical)})
}

// follows says whether a link is of a generation that is not begun only as those are that it continues, of which that is
// told.
func (n *node) follows() bool {
	return !n.void && n.unbegun() != "" && slices.ContainsFunc(n.prev, func(p *node) bool { return p.link != nil && p.of == n.of })
}

// unbegun says that a link is of a generation without a beginning; "" if it is not.
func (n *node) unbegun() string {
	if n.of == nil || n.of.begun {
		return ""
	}
	return fmt.Sprintf("generation %d has no %s that counts", n.link.Receipt.Workflow.Generation, KindBegin)
}
