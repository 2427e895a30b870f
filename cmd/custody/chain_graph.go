// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/dapr-custody/custody/internal/dossier"
	"github.com/dapr-custody/custody/internal/receipt"
)

// graphNode is a step, or a join or end, in a picture.
type graphNode struct {
	lines []string
	wrong bool
	prev  []int
}

// graphOf puts a question and its answer into one node.
func graphOf(r *dossier.Report) []graphNode {
	var nodes []graphNode
	at := map[receipt.Digest]int{}
	for i, s := range r.Steps {
		by := s.By.Path()
		lines := []string{s.Name, s.Kind + " by " + by[strings.LastIndex(by, "/")+1:]}
		if s.Tool != "" {
			lines = append(lines, s.Server+"/"+s.Tool+": "+s.Status)
		}
		nodes = append(nodes, graphNode{lines: lines, wrong: len(s.Faults) > 0})
		at[s.Link] = i
		if !s.Answer.IsZero() {
			at[s.Answer] = i
		}
	}
	for _, l := range r.All {
		if _, known := at[l.Digest]; known {
			continue
		}
		at[l.Digest] = len(nodes)
		nodes = append(nodes, graphNode{lines: []string{strings.TrimPrefix(l.Receipt.Action.Kind, "custody.")}})
	}
	for _, l := range r.All {
		n := at[l.Digest]
		for _, p := range l.Receipt.Prev {
			if from, known := at[p]; known && from != n {
				nodes[n].prev = append(nodes[n].prev, from)
			}
		}
	}
	return nodes
}

func chainGraph(out io.Writer, r *dossier.Report, language string) error {
	var b strings.Builder
	nodes := graphOf(r)
	if language == "dot" {
		b.WriteString("digraph chain {\n  node [shape=box];\n")
	} else {
		b.WriteString("flowchart TD\n")
	}
	for i, n := range nodes {
		if language == "dot" {
			dotNode(&b, i, n)
		} else {
			mermaidNode(&b, i, n)
		}
	}
	if language == "dot" {
		b.WriteString("}\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func dotNode(b *strings.Builder, i int, n graphNode) {
	color := ""
	if n.wrong {
		color = ", color=red"
	}
	fmt.Fprintf(b, "  s%d [label=%s%s];\n", i, strconv.Quote(plainLines(strings.Join(n.lines, "\n"))), color)
	for _, p := range n.prev {
		fmt.Fprintf(b, "  s%d -> s%d;\n", p, i)
	}
}

func mermaidNode(b *strings.Builder, i int, n graphNode) {
	escaped := strings.NewReplacer("&", "&amp;", `"`, "&quot;", "<", "&lt;", ">", "&gt;", "#", "&num;", "`", "'",
		"%", "&percnt;") // %%{init}%% is a directive wherever it stands
	lines := make([]string, len(n.lines))
	for j, line := range n.lines {
		lines[j] = escaped.Replace(plain(line))
	}
	fmt.Fprintf(b, "  s%d[\"%s\"]\n", i, strings.Join(lines, "<br>"))
	if n.wrong {
		fmt.Fprintf(b, "  style s%d stroke:#c00\n", i)
	}
	for _, p := range n.prev {
		fmt.Fprintf(b, "  s%d --> s%d\n", p, i)
	}
}
