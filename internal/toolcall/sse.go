// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package toolcall

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
)

// Event is one event of a text/event-stream, or a stretch of the stream that dispatches none: comments, a retry time,
// blank lines.
type Event struct {
	Raw      []byte // the bytes as they came; those of all events together are the stream
	Name     string // event
	ID       string // id
	HasID    bool   // the event has an id, which may be empty
	Retry    uint64 // retry, in milliseconds
	HasRetry bool   // the event has a retry
	Data     []byte // the data lines joined by line feeds
	// HasData says that there was a data line. By the specification only events with data that is not empty are
	// dispatched; a client may be laxer, so a door has to look at every event that has data.
	HasData bool
	// Unfinished says that the stream ended before the blank line. By the specification such an event is not
	// dispatched, but some clients do dispatch it.
	Unfinished bool
}

// EventReader reads server-sent events as the WHATWG HTML standard says (section 9.2, "Server-sent events"): lines end
// in LF, CR or CRLF, one byte order mark may stand at the start, unknown fields and comments are passed over. An event
// is returned as soon as its blank line has been read. Readers differ in what they make of odd streams, so a door that
// changes what a caller may see has to send [AppendEvent] and not Raw.
type EventReader struct {
	r       *bufio.Reader
	limit   int
	started bool
	afterCR bool // the last line ended in CR, so that a LF now belongs to it
	err     error
}

// NewEventReader reads from r. An event, or a stretch between events, of more than lim.BodyBytes is an error.
func NewEventReader(r io.Reader, lim Limits) *EventReader {
	return &EventReader{r: bufio.NewReader(r), limit: lim.orAnswer().BodyBytes}
}

// Next returns the next event. At the end of the stream it returns io.EOF. The event that a failing stream broke off is
// lost, and the error stays: [ErrEventTooLarge] or that of the stream.
func (e *EventReader) Next() (*Event, error) {
	if e.err != nil {
		return nil, e.err
	}
	ev := &Event{}
	for {
		line, err := e.line(ev)
		if err != nil {
			e.err = err
			if errors.Is(err, io.EOF) && len(ev.Raw) > 0 {
				ev.take(line)
				ev.Unfinished = len(bytes.Trim(ev.Raw, "\r\n")) > 0
				return ev, nil
			}
			return nil, err
		}
		if len(line) == 0 {
			return ev, nil
		}
		ev.take(line)
	}
}

// line appends the next line with its end to ev.Raw and returns it without. At the end of the stream it returns the
// last line, which has no end, with io.EOF.
func (e *EventReader) line(ev *Event) ([]byte, error) {
	from := len(ev.Raw)
	for {
		chunk, err := e.chunk()
		if err != nil {
			return e.strip(ev.Raw[from:]), err
		}
		if e.afterCR {
			e.afterCR = false
			if chunk[0] == '\n' {
				ev.Raw = append(ev.Raw, '\n')
				from++
				if err := e.advance(ev, 1); err != nil {
					return nil, err
				}
				continue
			}
		}
		end := bytes.IndexAny(chunk, "\r\n")
		n := end + 1
		if end < 0 {
			n = len(chunk)
		}
		ev.Raw = append(ev.Raw, chunk[:n]...)
		if err := e.advance(ev, n); err != nil {
			return nil, err
		}
		if end >= 0 {
			e.afterCR = ev.Raw[len(ev.Raw)-1] == '\r'
			return e.strip(ev.Raw[from : len(ev.Raw)-1]), nil
		}
	}
}

// chunk returns what has been read and not yet used, at least one byte.
func (e *EventReader) chunk() ([]byte, error) {
	if _, err := e.r.Peek(1); err != nil {
		return nil, err
	}
	return e.r.Peek(e.r.Buffered())
}

func (e *EventReader) advance(ev *Event, n int) error {
	if len(ev.Raw) > e.limit {
		return ErrEventTooLarge
	}
	_, err := e.r.Discard(n)
	return err
}

// strip takes the byte order mark off the first line.
func (e *EventReader) strip(line []byte) []byte {
	if e.started {
		return line
	}
	e.started = true
	return bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
}

// take applies one line to the event.
func (ev *Event) take(line []byte) {
	name, value, _ := bytes.Cut(line, []byte{':'})
	value = bytes.TrimPrefix(value, []byte{' '})
	switch string(name) {
	case "event":
		ev.Name = string(value)
	case "data":
		if ev.HasData {
			ev.Data = append(ev.Data, '\n')
		}
		ev.HasData = true
		ev.Data = append(ev.Data, value...)
	case "id":
		if bytes.IndexByte(value, 0) < 0 {
			ev.ID, ev.HasID = string(value), true
		}
	case "retry":
		if n, err := strconv.ParseUint(string(value), 10, 64); err == nil {
			ev.Retry, ev.HasRetry = n, true
		}
	}
}

// AppendEvent writes an event in the one form that all readers take alike: event, id and retry where they are set, each
// line of data, a blank line. Raw and comments are not written, and an event that has none of these gives nothing. An
// error means that Name, ID or Data holds a character that would end a line; no event that was read has one.
func AppendEvent(dst []byte, ev *Event) ([]byte, error) {
	if strings.ContainsAny(ev.Name, "\r\n") || strings.ContainsAny(ev.ID, "\r\n\x00") ||
		bytes.IndexByte(ev.Data, '\r') >= 0 {
		return dst, errors.New("toolcall: event holds a character that ends a line")
	}
	from := len(dst)
	if ev.Name != "" {
		dst = appendField(dst, "event", []byte(ev.Name))
	}
	if ev.HasID {
		dst = appendField(dst, "id", []byte(ev.ID))
	}
	if ev.HasRetry {
		dst = appendField(dst, "retry", strconv.AppendUint(nil, ev.Retry, 10))
	}
	if ev.HasData {
		for line := range bytes.SplitSeq(ev.Data, []byte{'\n'}) {
			dst = appendField(dst, "data", line)
		}
	}
	if len(dst) == from {
		return dst, nil
	}
	return append(dst, '\n'), nil
}

func appendField(dst []byte, name string, value []byte) []byte {
	dst = append(append(dst, name...), ": "...)
	return append(append(dst, value...), '\n')
}
