// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpcaller

import (
	"net/http"

	"github.com/dapr-custody/custody/internal/receipt"
)

// response puts the question into the answer of a step.
type response struct {
	http.ResponseWriter

	out   *outgoing
	short bool // the question went without certificates
	// again says that the guard can do nothing with that. Nothing of its answer passes, and the call has to be sent anew.
	again bool
	has   string // what the guard says to have
	begun bool
}

// WriteHeader settles which question the worker gets: ours, and where the server
// says that the step was done before (409), the one of that time.
func (w *response) WriteHeader(status int) {
	if w.again {
		return
	}
	if !w.begun && status >= http.StatusOK {
		w.begun = true
		header := w.Header()
		w.has = header.Get(HeaderHas)
		if w.again = w.short && w.lacks(status); w.again {
			return
		}
		header.Del(HeaderHas)
		if status != http.StatusConflict || len(header.Values(HeaderQuestion)) != 1 {
			header.Set(HeaderQuestion, receipt.EncodeHeader(w.out.question, w.out.held))
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

// lacks reports whether the call was refused for what the question left out, and so was neither decided nor passed on: by
// a guard that says so or, which takes a short question for none, by one of before.
func (w *response) lacks(status int) bool {
	switch status {
	case http.StatusPreconditionRequired:
		return w.has == HasNothing
	case http.StatusForbidden:
		return w.has == "" && len(w.Header().Values(headerAnswer)) == 0
	}
	return false
}

func (w *response) Write(p []byte) (int, error) {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	if w.again {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

// Flush is what Dapr asks for to pass on an answer as it comes.
func (w *response) Flush() {
	if flusher, ok := w.ResponseWriter.(http.Flusher); ok && !w.again {
		flusher.Flush()
	}
}

// Unwrap serves http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// end is for an answer of which nothing was written.
func (w *response) end() {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
}
