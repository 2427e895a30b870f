// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/redact"
	"github.com/dapr-custody/custody/internal/toolcall"
)

// withheldError says why an answer of the server must not pass.
type withheldError struct {
	reason string // for the record
	policy bool   // a rule asks for it, and the caller is told so
}

func (e *withheldError) Error() string { return e.reason }

// obliged reports whether the answer has to be looked into before it passes.
func (a *answer) obliged() bool { return a.redacting() || a.most() > 0 }

// redacting reports whether something may have to be taken out of the answer.
func (a *answer) redacting() bool { return a.redaction() != nil }

// withoutData leaves of the server's header what says nothing of the data: the
// type of the body, without parameters, and the session, where that is the one of
// the request or the one that it opens.
func (a *answer) withoutData(out http.Header) {
	opens := a.message != nil && a.message.Method() == "initialize"
	for name, values := range a.header {
		if name != sessionHeader || !opens && !slices.Equal(values, a.r.Header[sessionHeader]) {
			out.Del(name)
		}
	}
	if a.media != "" {
		out.Set("Content-Type", a.media)
	}
	out.Set("Cache-Control", "no-store")
}

// redaction is what has to be taken out of the answer, nil for nothing. The answer
// of a task is redacted as the rule that allowed the call asks, too.
func (a *answer) redaction() *redact.Plan {
	if !a.planned {
		a.planned = true
		for _, o := range [2]*policy.Obligations{a.permit.Obligations(), a.task.obligations} {
			if o != nil {
				a.plan = redact.Merge(a.plan, o.Redact)
			}
		}
	}
	return a.plan
}

// most is the size of the largest answer that a rule lets pass, 0 for no bound. The
// answer of a task is also bounded by the rule that allowed the call.
func (a *answer) most() int {
	most := 0
	for _, o := range [2]*policy.Obligations{a.permit.Obligations(), a.task.obligations} {
		if o != nil && o.MaxResultBytes > 0 && (most == 0 || o.MaxResultBytes < most) {
			most = o.MaxResultBytes
		}
	}
	return most
}

// oblige does to a message of the server what the allow obliges to. What passes is
// in our encoding, since the server's could have any number of spaces in it.
func (a *answer) oblige(result *reading, read *toolcall.Answer) (*toolcall.Answer, error) {
	if err := a.bare(read); err != nil {
		return nil, err
	}
	result.body = read.Body()
	if read.Part() != nil && a.redacting() {
		part, counts, err := a.redaction().Apply(read.Part(), a.guard.meta.MaxAnswerBytes)
		if err != nil {
			return nil, err
		}
		if len(counts) > 0 {
			result.body = read.WithPart(part)
			if read, err = toolcall.ReadAnswer(result.body, toolcall.Limits{BodyBytes: a.guard.meta.MaxAnswerBytes}); err != nil {
				return nil, err
			}
			a.count(counts)
		}
		result.outcome.Redacted = maps.Clone(a.redacted)
	}
	if read.Kind == toolcall.KindResponse {
		a.results += len(read.Part())
	} else {
		a.results += len(read.Body())
	}
	return read, a.bounded(a.results)
}

// bare reports why a message must not pass where something has to be taken out of
// it, or counted: the server could say beside the part that is looked at what is to
// be redacted, or more than may pass.
func (a *answer) bare(read *toolcall.Answer) error {
	if read.Beside {
		return errors.New("the message has members beside those of JSON-RPC, which no obligation is about")
	}
	if !a.redacting() || read.Kind == toolcall.KindResponse {
		return nil // a response has the ID of the request
	}
	method, err := jsontext.AppendQuote(nil, read.Method)
	if err != nil {
		return err
	}
	for _, text := range [2][]byte{method, read.ID} {
		if text == nil {
			continue
		}
		if _, counts, err := a.redaction().Apply(text, a.guard.meta.MaxAnswerBytes); err != nil {
			return err
		} else if len(counts) > 0 {
			return errors.New("the method or ID of a message holds what would have to be redacted")
		}
	}
	return nil
}

// bareEvent takes off an event what the server could say beside its data, where
// something has to be taken out of that, or counted: all that MCP needs is the data
// of an event of the usual name. An ID and a time are for going on with a stream by
// GET, which the guard refuses.
func (a *answer) bareEvent(event *toolcall.Event) error {
	if !a.obliged() {
		return nil
	}
	if event.Name != "" && event.Name != "message" {
		return errors.New("an event has a name, which no obligation is about")
	}
	event.HasID, event.ID, event.HasRetry, event.Retry = false, "", false, 0
	return nil
}

func (a *answer) count(more map[string]int) {
	if a.redacted == nil {
		a.redacted = map[string]int{}
	}
	for kind, n := range more {
		a.redacted[kind] += n
	}
}

// bounded refuses to let more pass than a rule lets.
func (a *answer) bounded(size int) error {
	if most := a.most(); most > 0 && size > most {
		return &withheldError{reason: fmt.Sprintf("the result has %d bytes or more, the rule lets %d pass", size, most), policy: true}
	}
	return nil
}
