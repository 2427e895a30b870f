// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

const (
	// tailLines is how much of a log an error quotes.
	tailLines = 15
	// maxLogLine is where a longer line is cut in two.
	maxLogLine = 64 << 10
	// maxTailLine is how much of one line an error quotes.
	maxTailLine = 600
)

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

	mu   sync.Mutex
	tail []string
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
	o.mu.Lock()
	if len(o.tail) == tailLines {
		o.tail = o.tail[1:]
	}
	o.tail = append(o.tail, string(line[:min(len(line), maxTailLine)]))
	o.mu.Unlock()
	_, err := o.file.Write(append(line[:len(line):len(line)], '\n'))
	if o.prefix != "" && o.console.line(o.prefix, line) != nil {
		o.prefix = "" // nobody reads the console any more; the file has it all
	}
	return err
}

func (o *output) lastLines() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.tail...)
}
