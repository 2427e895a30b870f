// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package toolcall_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/toolcall"
)

func events(t *testing.T, r io.Reader, lim toolcall.Limits) ([]*toolcall.Event, error) {
	t.Helper()
	var all []*toolcall.Event
	for er := toolcall.NewEventReader(r, lim); ; {
		ev, err := er.Next()
		if err != nil {
			_, again := er.Next()
			require.Equal(t, err, again, "the end stays")
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return all, err
		}
		all = append(all, ev)
	}
}

func TestEventReader(t *testing.T) {
	type want struct {
		name, id, data string
		hasData        bool
		retry          uint64
		unfinished     bool
	}
	tests := []struct {
		name, in string
		want     []want
	}{
		{"one", "event: message\nid: 1\ndata: {}\n\n", []want{{name: "message", id: "1", data: "{}", hasData: true}}},
		{"CRLF", "data: a\r\n\r\ndata: b\r\n\r\n", []want{{data: "a", hasData: true}, {data: "b", hasData: true}, {}}},
		{"CR", "data: a\r\rdata: b\r\r", []want{{data: "a", hasData: true}, {data: "b", hasData: true}}},
		{"mixed", "data: a\r\n\ndata: b\n\r\n", []want{{data: "a", hasData: true}, {data: "b", hasData: true}, {}}},
		{"many lines", "data: a\ndata:\ndata\ndata:  b\n\n", []want{{data: "a\n\n\n b", hasData: true}}},
		{"one space goes", "data:a\ndata: b\ndata:  c\n\n", []want{{data: "a\nb\n c", hasData: true}}},
		{"byte order mark", "\xef\xbb\xbfdata: a\n\n", []want{{data: "a", hasData: true}}},
		{"second byte order mark", "\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", []want{{}}},
		{"later byte order mark", "data: a\n\xef\xbb\xbfdata: b\n\n", []want{{data: "a", hasData: true}}},
		{"comments", ": hello\n:data: x\ndata: a\n\n: ping\n\n", []want{{data: "a", hasData: true}, {}}},
		{"unknown fields", "datas: x\nDATA: y\n data: z\ndata: a\n\n", []want{{data: "a", hasData: true}}},
		{"colons in data", "data: a: b\n\n", []want{{data: "a: b", hasData: true}}},
		{"empty data", "data\n\n", []want{{hasData: true}}},
		{"id with U+0000", "id: a\x00\ndata: a\n\n", []want{{data: "a", hasData: true}}},
		{"retry", "retry: 250\n\nretry: 1s\n\nretry: -1\n\n", []want{{retry: 250}, {}, {}}},
		{"last name counts", "event: a\nevent: b\ndata: x\n\n", []want{{name: "b", data: "x", hasData: true}}},
		{"unfinished", "data: a\n\ndata: b\n", []want{{data: "a", hasData: true}, {data: "b", hasData: true, unfinished: true}}},
		{"broken off in a line", "data: a\ndata: b", []want{{data: "a\nb", hasData: true, unfinished: true}}},
		{"nothing", "", nil},
		{"blank lines", "\n\n", []want{{}, {}}},
	}
	for _, tt := range tests {
		for mode, reader := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "bytewise": iotest.OneByteReader, "with EOF": iotest.DataErrReader,
		} {
			t.Run(tt.name+" "+mode, func(t *testing.T) {
				got, err := events(t, reader(strings.NewReader(tt.in)), toolcall.Limits{})
				require.NoError(t, err)
				var raw strings.Builder
				var read []want
				for _, e := range got {
					raw.Write(e.Raw)
					require.Equal(t, e.ID != "", e.HasID)
					read = append(read, want{e.Name, e.ID, string(e.Data), e.HasData, e.Retry, e.Unfinished})
				}
				require.Equal(t, tt.want, read)
				require.Equal(t, tt.in, raw.String(), "nothing of the stream is lost")
			})
		}
	}
}

// TestEventReaderDoesNotWait shows that an event is there as soon as its blank line is, also where a CR ends it and a LF
// might follow.
func TestEventReaderDoesNotWait(t *testing.T) {
	for _, end := range []string{"\n\n", "\r\r", "\r\n\r\n", "\r\n\r"} {
		r, w := io.Pipe()
		er := toolcall.NewEventReader(r, toolcall.Limits{})
		written := make(chan error, 1)
		go func() {
			_, err := w.Write([]byte("data: a" + end))
			written <- err
		}()
		ev, err := er.Next()
		require.NoError(t, err)
		require.Equal(t, "a", string(ev.Data))
		require.NoError(t, <-written)
		require.NoError(t, w.Close())
	}
}

func TestEventReaderLimit(t *testing.T) {
	fits := "data: " + strings.Repeat("a", 92) + "\n\n" // 100 bytes
	got, err := events(t, strings.NewReader(fits+fits), toolcall.Limits{BodyBytes: 100})
	require.NoError(t, err)
	require.Len(t, got, 2)

	for _, in := range []string{fits + "data: " + strings.Repeat("a", 93) + "\n\n", fits + strings.Repeat(":\n", 51), fits + strings.Repeat("x", 9000)} {
		got, err = events(t, strings.NewReader(in), toolcall.Limits{BodyBytes: 100})
		require.ErrorIs(t, err, toolcall.ErrEventTooLarge)
		require.Len(t, got, 1)
	}
}

func TestEventReaderPassesErrorsOn(t *testing.T) {
	broken := errors.New("connection reset")
	got, err := events(t, io.MultiReader(strings.NewReader("data: a\n\ndata: b\n"), iotest.ErrReader(broken)), toolcall.Limits{})
	require.ErrorIs(t, err, broken)
	require.Len(t, got, 1)
}

func TestAppendEvent(t *testing.T) {
	ev := &toolcall.Event{Name: "message", ID: "", HasID: true, Retry: 5, HasRetry: true, Data: []byte("a\n\nb"), HasData: true}
	b, err := toolcall.AppendEvent([]byte("x"), ev)
	require.NoError(t, err)
	require.Equal(t, "xevent: message\nid: \nretry: 5\ndata: a\ndata: \ndata: b\n\n", string(b))

	b, err = toolcall.AppendEvent(nil, &toolcall.Event{Raw: []byte(": ping\n\n")})
	require.NoError(t, err)
	require.Empty(t, b)

	for _, ev := range []*toolcall.Event{
		{Name: "a\ndata: x"},
		{Name: "a\rb"},
		{ID: "a\nb", HasID: true},
		{ID: "a\x00", HasID: true},
		{Data: []byte("a\rdata: b"), HasData: true},
	} {
		b, err = toolcall.AppendEvent([]byte("x"), ev)
		require.Error(t, err)
		require.Equal(t, "x", string(b))
	}
}
