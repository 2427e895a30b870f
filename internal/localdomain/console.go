// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

const (
	// tailLines is how much of the end of a log an error quotes, and loudLines how many warnings and errors from
	// before: a service that fails says why, and then how it stops, step by step.
	tailLines, loudLines = 15, 8
	// maxLogLine is where a longer line is cut in two.
	maxLogLine = 64 << 10
	// maxTailLine is how much of one line an error quotes.
	maxTailLine = 600
	// maxLevelPlace is how far into a line its level is looked for, so that none is taken from a message.
	maxLevelPlace = 120
)

// logLine is a line with its place in the log.
type logLine struct {
	place int
	text  string
	level level
}

// level is what a line says of its weight.
type level uint8

const (
	plainLine level = iota // says nothing
	quietLine              // info or debug
	loudLine               // a warning, an error, the end
)

// levelOf reads the level of a line in logfmt or JSON, and knows how Go begins what it prints at the end.
func levelOf(line []byte) level {
	head := bytes.ToLower(line[:min(len(line), maxLevelPlace)])
	for _, key := range []string{"level=", `"level":"`} {
		_, word, found := bytes.Cut(head, []byte(key))
		if !found {
			continue
		}
		switch word = bytes.TrimLeft(word, `"`); {
		case bytes.HasPrefix(word, []byte("info")), bytes.HasPrefix(word, []byte("debug")):
			return quietLine
		}
		return loudLine
	}
	if bytes.HasPrefix(head, []byte("panic:")) || bytes.HasPrefix(head, []byte("fatal error:")) {
		return loudLine
	}
	return plainLine
}

// console writes whole lines of many processes to one writer.
type console struct {
	mu  sync.Mutex
	out io.Writer
}

func (c *console) line(prefix string, line []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := fmt.Fprintf(c.out, "%s%s\n", prefix, line)
	return err
}

// output receives what one process writes: into its log file, into the memory
// of last lines and, if prefix is not empty, to the console.
type output struct {
	file    *os.File
	console *console
	prefix  string

	mu         sync.Mutex
	count      int
	tail, loud []logLine
}

// copyFrom reads lines until the end of r.
func (o *output) copyFrom(r io.Reader) error {
	var failed error
	buf := bufio.NewReaderSize(r, maxLogLine)
	for {
		line, _, err := buf.ReadLine()
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) {
				err = nil
			}
			return errors.Join(failed, err)
		}
		// A full disk must not block the process: go on reading.
		if err = o.write(line); err != nil && failed == nil {
			failed = err
		}
	}
}

func (o *output) write(line []byte) error {
	o.remember(line)
	_, err := o.file.Write(append(line[:len(line):len(line)], '\n'))
	if o.prefix != "" && o.console.line(o.prefix, line) != nil {
		o.prefix = "" // nobody reads the console any more; the file has it all
	}
	return err
}

func (o *output) remember(line []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.count++
	l := logLine{place: o.count, text: string(line[:min(len(line), maxTailLine)]), level: levelOf(line)}
	o.tail = lastOf(tailLines, o.tail, l)
	if l.level == loudLine {
		o.loud = lastOf(loudLines, o.loud, l)
	}
}

func lastOf(most int, lines []logLine, more logLine) []logLine {
	if len(lines) == most {
		lines = lines[1:]
	}
	return append(lines, more)
}

// warnings gives the last warnings and errors of the log.
func (o *output) warnings() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	lines := make([]string, 0, len(o.loud))
	for _, l := range o.loud {
		lines = append(lines, l.text)
	}
	return lines
}

// lastLines gives the end of the log. Where the log has warnings or errors, these stand in it, and what is of no
// weight is left out.
func (o *output) lastLines() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var lines []string
	for _, l := range o.loud {
		if l.place < o.tail[0].place {
			lines = append(lines, l.text)
		}
	}
	for _, l := range o.tail {
		if len(o.loud) == 0 || l.level != quietLine {
			lines = append(lines, l.text)
		}
	}
	return lines
}
