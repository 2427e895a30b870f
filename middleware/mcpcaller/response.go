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

	caller *Caller
	out    *outgoing
	short  bool // the question went without certificates
	// again says that the guard can do nothing with that. Nothing of its answer passes, and the call has to be sent anew.
	again bool
	has   string // what the guard says to have
	begun bool
}

// WriteHeader settles which question the worker gets: ours, and where the server
// says that the step was done before (409), the one of that time, if this app signed it.
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
		header.Set(HeaderQuestion, w.question(status, header.Values(HeaderQuestion)))
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) question(status int, theirs []string) string {
	if status == http.StatusConflict && len(theirs) == 1 {
		before, err := w.caller.signedBefore(theirs[0], w.out)
		if err == nil {
			return before
		}
		w.caller.host.Log("mcpcaller: a step was done before, says %s, for a question that is not this app's: %v", w.out.to, err)
	}
	return receipt.EncodeHeader(w.out.question, w.out.held)
}

// signedBefore gives the question of before as the worker takes it. The worker keeps the certificates that come with it for
// all that its sidecar signs, so they are those that the signature is good by, and no others that the server put there. In
// the short form there are none.
func (c *Caller) signedBefore(text string, out *outgoing) (string, error) {
	question, err := receipt.DecodeHeader(text)
	if err != nil {
		return "", err
	}
	if question.PayloadDigest() == out.question.PayloadDigest() {
		return receipt.EncodeHeader(out.question, out.held), nil
	}
	if len(question.Signatures) == 1 && len(question.Signatures[0].Certificate) == 0 {
		return text, nil
	}
	if _, err := c.verifier.Verify(question, receipt.VerifyOptions{Door: c.host.ID}); err != nil {
		return "", err
	}
	full, err := question.WithoutCertificates().WithCertificates(c.verifier.Certificates)
	if err != nil {
		return "", err
	}
	return receipt.EncodeHeader(full, out.held), nil
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
