// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"hash"
	"io"

	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/toolcall"
)

// events passes on an answer that comes as server-sent events: each event is
// read, decided on, written anew and sent at once. The header goes out with the
// first event. Where that first one is the answer itself, which is the rule,
// the receipt's digest goes with it; else it follows as a comment, which every
// client passes over.
type events struct {
	*answer

	pipe *io.PipeWriter
	done chan struct{}

	sum       hash.Hash
	committed bool
	settled   bool
	failed    error // why the events end before their time
	gone      bool  // the caller takes no more
}

func startEvents(a *answer) *events {
	reader, writer := io.Pipe()
	e := &events{answer: a, pipe: writer, done: make(chan struct{}), sum: sha256.New()}
	go e.run(reader)
	return e
}

func (e *events) write(p []byte) (int, error) { return e.pipe.Write(p) }

// finish waits until the last event has passed, and settles what was not.
func (e *events) finish() {
	if err := e.pipe.Close(); err != nil {
		e.guard.host.Log("mcpguard: ending a stream of events: %v", err)
	}
	<-e.done
	if e.settled {
		return
	}
	if !e.committed {
		if e.failed == nil {
			e.failed = errNoAnswer
		}
		e.withhold(e.failed)
		return
	}
	outcome := receipt.Outcome{Status: receipt.StatusIncomplete, HTTPStatus: e.status, ResponseDigest: e.digest()}
	withheld := e.failed != nil && !e.gone
	if withheld {
		outcome.Status, outcome.Reason = receipt.StatusWithheld, e.failed.Error()
	}
	if _, err := e.settle(outcome); err != nil {
		e.guard.host.Log("mcpguard: a stream of events that has passed already could not be settled: %v", err)
	} else if withheld {
		e.tell(e.failed)
	}
}

func (e *events) digest() receipt.Digest { return receipt.Digest(e.sum.Sum(nil)) }

// run passes events on until the stream ends or one may not pass. What is
// written to the pipe after that fails, which ends the server's answer.
func (e *events) run(reader *io.PipeReader) {
	defer close(e.done)
	stream := toolcall.NewEventReader(reader, toolcall.Limits{BodyBytes: e.guard.meta.MaxAnswerBytes})
	for {
		event, err := stream.Next()
		if err == nil {
			err = e.event(event)
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			e.guard.host.Log("mcpguard: the events under reference %s end here: %v", e.permit.Reference(), err)
			e.failed = err
			reader.CloseWithError(err)
			// A server that waits for the client writes nothing more, and would not see the closed pipe.
			e.stop()
			return
		}
	}
}

// event decides on one event and passes it on.
func (e *events) event(event *toolcall.Event) error {
	if !event.HasData || len(event.Data) == 0 {
		// Comments keep a connection alive; they hold no message.
		if !e.committed {
			return nil
		}
		return e.send([]byte(":\n\n"))
	}
	if e.settled {
		return errors.New("an event comes after the answer, whose record it would not be in")
	}
	if e.message.Method() == methodListen && !e.permit.Stands() {
		return errors.New("the rules do not allow to listen any more")
	}
	read, err := e.read(event.Data)
	if err != nil {
		return err
	}
	if read.answer == nil {
		return errors.New("an event is not a JSON-RPC message")
	}
	if err := e.bareEvent(event); err != nil {
		return err
	}
	event.Data = read.body
	switch read.kind {
	case toolcall.KindResponse:
		return e.last(event, read)
	case toolcall.KindNotification:
		if !e.noticed(read.answer) {
			return nil
		}
	case toolcall.KindRequest:
		if err := e.mayBeAsked(read.answer.Method); err != nil {
			return err
		}
		if err := e.asked(read.answer.ID); err != nil {
			return err
		}
	}
	if !e.committed {
		e.committed = true
		e.commit("")
	}
	return e.sendEvent(event)
}

// last passes on the answer to the request.
func (e *events) last(event *toolcall.Event, read reading) error {
	if !bytes.Equal(read.answer.ID, e.message.ID()) {
		return errOtherRequest
	}
	wire, err := toolcall.AppendEvent(nil, event)
	if err != nil {
		return err
	}
	e.sum.Write(wire)
	outcome := read.outcome
	outcome.ResponseDigest = e.digest()
	digest, err := e.settle(outcome)
	e.settled = true
	if err != nil {
		if !e.committed {
			e.closed(err)
		}
		return err
	}
	if !e.committed {
		e.committed = true
		e.commit(digest)
		return e.send(wire)
	}
	return e.send(append(e.comments(digest), wire...))
}

// comments say what the header would have said, had it not gone out before.
func (e *events) comments(digest string) []byte {
	said := ": " + HeaderReceipt + " " + digest + "\n"
	if answer := e.permit.Answer(); answer != nil {
		said += commentAnswer + receipt.EncodeHeader(answer, e.holds) + "\n"
	}
	return []byte(said + "\n")
}

func (e *events) sendEvent(event *toolcall.Event) error {
	wire, err := toolcall.AppendEvent(nil, event)
	if err != nil {
		return err
	}
	e.sum.Write(wire)
	return e.send(wire)
}

func (e *events) send(wire []byte) error {
	_, err := e.w.Write(wire)
	e.gone = e.gone || err != nil
	return err
}

// tell ends a stream of events that has begun with an error in the place of the answer.
func (e *events) tell(why error) {
	answer := e.withheldReply(why)
	body, err := toolcall.ErrorBody(answer.id, answer.code, answer.say, nil)
	if err == nil {
		err = e.sendEvent(&toolcall.Event{HasData: true, Data: body})
	}
	if err != nil {
		e.guard.host.Log("mcpguard: telling of an answer that is withheld: %v", err)
	}
}
