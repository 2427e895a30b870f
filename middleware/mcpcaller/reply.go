// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpcaller

import (
	"errors"
	"net/http"

	"github.com/go-json-experiment/json"

	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/toolcall"
)

// What an app is told, in the form of Dapr's own errors.
const (
	codeRefused  = "CUSTODY_REFUSED"       // the app has to change something
	codeConflict = "CUSTODY_OTHER_CONTENT" // the step has another link
	codeClosed   = "CUSTODY_CANNOT_RECORD" // nothing can be signed or recorded now
	sayClosed    = "the sidecar cannot sign or record now, and nothing was sent; see its log for the reference "
)

type reply struct {
	status    int
	ErrorCode string `json:"errorCode"`
	Message   string `json:"message"`
}

// refused tells the app what to change.
func refused(status int, err error) reply {
	return reply{status: status, ErrorCode: codeRefused, Message: err.Error()}
}

// replyTo turns what came of a saying into what the app is told.
func (c *Caller) replyTo(err error) reply {
	var closed *gate.ClosedError
	var other *gate.OtherContentError
	var saying *gate.SayingError
	var message *toolcall.Refusal
	var token *tokenError
	switch {
	case errors.As(err, &token):
		return refused(http.StatusForbidden, err)
	case errors.As(err, &other):
		return reply{status: http.StatusConflict, ErrorCode: codeConflict, Message: err.Error()}
	case errors.As(err, &saying):
		return refused(http.StatusBadRequest, err)
	case errors.As(err, &message):
		return refused(message.HTTPStatus, err)
	case errors.As(err, &closed):
		c.host.Log("mcpcaller: %v", err)
		return reply{status: http.StatusServiceUnavailable, ErrorCode: codeClosed, Message: sayClosed + closed.Reference}
	}
	c.host.Log("mcpcaller: %v", err)
	return reply{status: http.StatusServiceUnavailable, ErrorCode: codeClosed, Message: sayClosed + "none"}
}

func (c *Caller) send(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		c.host.Log("mcpcaller: %v", err)
		status, text = http.StatusInternalServerError, nil
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if _, err := w.Write(text); err != nil {
		c.host.Log("mcpcaller: answering the app: %v", err)
	}
}

func (c *Caller) sendReply(w http.ResponseWriter, r reply) { c.send(w, r.status, r) }
