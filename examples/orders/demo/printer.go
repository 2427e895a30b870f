// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

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

// printer writes for a person; colours only to a terminal without NO_COLOR.
type printer struct {
	out    io.Writer
	colour bool
}

func newPrinter(file *os.File) *printer {
	info, err := file.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	return &printer{out: file, colour: terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

func (p *printer) paint(colour, text string) string {
	if !p.colour {
		return text
	}
	return colour + text + reset
}

func (p *printer) line(text string) { fmt.Fprintln(p.out, text) }

func (p *printer) title(text string) { p.line("\n" + p.paint(bold, text)) }

func (p *printer) note(format string, a ...any) {
	p.line("  " + p.paint(dim, fmt.Sprintf(format, a...)))
}

func (p *printer) good(format string, a ...any) { p.line(p.paint(green, fmt.Sprintf(format, a...))) }

func (p *printer) bad(format string, a ...any) { p.line(p.paint(red, fmt.Sprintf(format, a...))) }

// result prints one attempt, whether it went as it should, and what came back.
func (p *printer) result(met bool, what, good, back string) {
	mark := p.paint(green, good)
	if !met {
		mark = p.paint(red, "NOT AS EXPECTED")
	}
	p.line(fmt.Sprintf("  %s: %s", what, mark))
	p.note("  -> %s", oneLine(back))
}

// cell is a field of a table: its text, and whether it is as expected.
type cell struct {
	text string
	met  bool
}

// table prints rows with a first column of names.
func (p *printer) table(head []string, names []string, rows [][]cell) {
	widths := make([]int, len(head))
	for i, title := range head {
		widths[i] = len(title)
	}
	for i, name := range names {
		widths[0] = max(widths[0], len(name))
		for j, c := range rows[i] {
			widths[j+1] = max(widths[j+1], len(c.text))
		}
	}
	var line strings.Builder
	for i, title := range head {
		fmt.Fprintf(&line, "  %-*s", widths[i], title)
	}
	p.line(p.paint(bold, strings.TrimRight(line.String(), " ")))
	for i, name := range names {
		line.Reset()
		fmt.Fprintf(&line, "  %-*s", widths[0], name)
		for j, c := range rows[i] {
			colour := green
			if !c.met {
				colour = red
			}
			fmt.Fprintf(&line, "  %s%s", p.paint(colour, c.text), strings.Repeat(" ", widths[j+1]-len(c.text)))
		}
		p.line(strings.TrimRight(line.String(), " "))
	}
}

// oneLine makes what a server answered fit to print: control characters could
// rewrite the terminal.
func oneLine(text string) string {
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
