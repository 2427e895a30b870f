// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/toolcall"
)

// What a server tells a client beside its answer, and the method by which a client
// asks for it.
const (
	methodListen     = "subscriptions/listen"
	noticeResource   = "notifications/resources/updated"
	noticeTask       = "notifications/tasks"
	noticeTaskStatus = "notifications/tasks/status"
)

// filtered reports whether the answer is a list that shows only what the caller
// may use.
func (a *answer) filtered() bool { return a.message != nil && toolcall.Listing(a.message.Method()) }

// shows reports whether the caller may see an item of the list.
func (a *answer) shows(name string) bool {
	switch a.message.Method() {
	case "tools/list":
		return a.permit.Shows(policy.KindToolCall, name)
	case "prompts/list":
		return a.permit.Shows(policy.KindPromptGet, name)
	case "resources/list":
		return a.permit.Shows(policy.KindResourceRead, name)
	case "resources/templates/list":
		return a.permit.ShowsTemplate(name)
	case "tasks/list":
		_, err := a.guard.memory.tasks.check(name, a.caller.ID())
		return err == nil
	}
	return false
}

// strict reports whether an answer that cannot be read must not pass: what is in
// it has to be filtered or obliged, or could ask something of the client.
func (a *answer) strict() bool {
	return a.message != nil && (a.filtered() || a.obliged() || a.mayAsk() || a.spoken())
}

// mayAsk reports whether a result can ask the client for something, as it can
// since 2026-07-28.
func (a *answer) mayAsk() bool {
	return a.message.Kind() == toolcall.KindRequest && a.message.ProtocolVersion() == toolcall.Version20260728
}

// spoken reports whether clients take the answer to a message for messages of the
// server, or may: they take each that they find, requests too, and under whatever
// type has the words in it.
func (a *answer) spoken() bool {
	if a.message == nil || a.status >= 300 {
		return false
	}
	said := strings.ToLower(strings.Join(a.header.Values("Content-Type"), ","))
	return a.media == "" || strings.Contains(said, "json") || strings.Contains(said, "event-stream")
}

// misplaced reports why the answer to a message is not what the guard would read
// in it: it comes encoded, or stands elsewhere, where there is no guard.
func (a *answer) misplaced() error {
	encoding := a.header.Get("Content-Encoding")
	switch {
	case a.message == nil:
		return nil
	case a.status >= 300 && a.status < 400 && a.header.Get("Location") != "":
		return errors.New("the server redirects the client, which would go on without the guard")
	case encoding != "" && a.status < 300:
		return fmt.Errorf("the answer came encoded as %.80q", encoding)
	}
	return nil
}

// admit decides what an answer asks of the client, and gives a task that it makes
// to the caller.
func (a *answer) admit(read *toolcall.Answer) error {
	if read.Kind != toolcall.KindResponse {
		return nil
	}
	if err := a.mayBeAsked(read.Asks...); err != nil {
		return err
	}
	switch {
	case read.Task == "" || toolcall.DefaultOf(a.message.Method()) == toolcall.Owner:
		return nil
	case len(read.Task) > maxID:
		return fmt.Errorf("the server gave the ID of a task more than %d bytes", maxID)
	}
	made := task{action: a.permit.Action(), obligations: a.permit.Obligations()}
	return a.guard.memory.tasks.open(read.Task, a.caller.ID(), made)
}

// mayBeAsked reports why a server may not ask the client for one of the methods.
func (a *answer) mayBeAsked(methods ...string) error {
	for _, method := range methods {
		if !a.permit.Allows(policy.KindMCPPrefix+method, "") {
			return fmt.Errorf("the server asks the client for %.80q, which no rule allows", method)
		}
	}
	return nil
}

// asked remembers a request of the server that passes to the client, so that the client may answer it.
func (a *answer) asked(id []byte) error {
	caller := a.caller.ID()
	return a.guard.memory.asked.open(askedID(caller, a.message.Session(), id), caller, struct{}{})
}

// answers reports why a message in one piece is no answer to the request.
func (a *answer) answers(read *toolcall.Answer) error {
	switch {
	case read.Kind != toolcall.KindResponse:
		return errors.New("the server answers with what is no response")
	case read.RPCError && (read.ID == nil || bytes.Equal(read.ID, []byte("null"))):
		return nil
	case !bytes.Equal(read.ID, a.id()):
		return errOtherRequest
	}
	return nil
}

var errOtherRequest = errors.New("a response answers another request")

// noticed reports whether a notification may reach the caller: one about a
// resource if it may read that now, one about a task if it is its own. What a rule
// obliges to for the answer of a task cannot be done to a notification.
func (a *answer) noticed(read *toolcall.Answer) bool {
	switch read.Method {
	case noticeResource:
		return a.permit.AllowsNow(policy.KindResourceRead, read.URI)
	case noticeTask, noticeTaskStatus:
		own, err := a.guard.memory.tasks.check(read.TaskID, a.caller.ID())
		return err == nil && own.obligations == nil && a.mayBeAsked(read.Asks...) == nil
	}
	return true
}
