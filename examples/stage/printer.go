// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package stage

import (
	"fmt"
	"io"
	"os"
	"strings"
)

const (
	green = "\x1b[32m"
	red   = "\x1b[31m"
	bold  = "\x1b[1m"
	dim   = "\x1b[2m"
	reset = "\x1b[0m"
)

// Printer writes for a person, in colour if it is told to.
type Printer struct {
	Out    io.Writer
	Colour bool
}

// NewPrinter writes in colour only to a terminal without NO_COLOR.
func NewPrinter(file *os.File) *Printer {
	info, err := file.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	return &Printer{Out: file, Colour: terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

func (p *Printer) paint(colour, text string) string {
	if !p.Colour {
		return text
	}
	return colour + text + reset
}

// Line prints a line as it is.
func (p *Printer) Line(text string) { fmt.Fprintln(p.Out, text) }

// Title prints the title of a part.
func (p *Printer) Title(text string) { p.Line("\n" + p.paint(bold, text)) }

// Note prints what is beside the point.
func (p *Printer) Note(format string, a ...any) {
	p.Line("  " + p.paint(dim, fmt.Sprintf(format, a...)))
}

// Good prints that all is well.
func (p *Printer) Good(format string, a ...any) { p.Line(p.paint(green, fmt.Sprintf(format, a...))) }

// Bad prints what is not.
func (p *Printer) Bad(format string, a ...any) { p.Line(p.paint(red, fmt.Sprintf(format, a...))) }

// Result prints one attempt, whether it went as it should, and what came back.
func (p *Printer) Result(met bool, what, good, back string) {
	mark := p.paint(green, good)
	if !met {
		mark = p.paint(red, "NOT AS EXPECTED")
	}
	p.Line(fmt.Sprintf("  %s: %s", what, mark))
	p.Note("  -> %s", OneLine(back))
}

// Cell is a field of a table: its text, and whether it is as expected.
type Cell struct {
	Text string
	Met  bool
}

// Table prints rows with a first column of names.
func (p *Printer) Table(head []string, names []string, rows [][]Cell) {
	widths := make([]int, len(head))
	for i, title := range head {
		widths[i] = len(title)
	}
	for i, name := range names {
		widths[0] = max(widths[0], len(name))
		for j, c := range rows[i] {
			widths[j+1] = max(widths[j+1], len(c.Text))
		}
	}
	var line strings.Builder
	for i, title := range head {
		fmt.Fprintf(&line, "  %-*s", widths[i], title)
	}
	p.Line(p.paint(bold, strings.TrimRight(line.String(), " ")))
	for i, name := range names {
		line.Reset()
		fmt.Fprintf(&line, "  %-*s", widths[0], name)
		for j, c := range rows[i] {
			colour := green
			if !c.Met {
				colour = red
			}
			fmt.Fprintf(&line, "  %s%s", p.paint(colour, c.Text), strings.Repeat(" ", widths[j+1]-len(c.Text)))
		}
		p.Line(strings.TrimRight(line.String(), " "))
	}
}

// LastLine is the last line of what a command printed.
func LastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// OneLine makes what a server answered fit to print: control characters could
// rewrite the terminal.
func OneLine(text string) string {
	const most = 160
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
	clean = strings.Join(strings.Fields(clean), " ")
	if len(clean) > most {
		clean = clean[:most] + "..."
	}
	return clean
}
