// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpcaller

import "net/http"

// response puts the question into the answer of a step.
type response struct {
	http.ResponseWriter

	question string
	begun    bool
}

// WriteHeader settles which question the worker gets: ours, and where the server
// says that the step was done before (409), the one of that time.
func (w *response) WriteHeader(status int) {
	if !w.begun && status >= http.StatusOK {
		w.begun = true
		header := w.Header()
		if status != http.StatusConflict || len(header.Values(HeaderQuestion)) != 1 {
			header.Set(HeaderQuestion, w.question)
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(p []byte) (int, error) {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}

// Flush is what Dapr asks for to pass on an answer as it comes.
func (w *response) Flush() {
	if flusher, ok := w.ResponseWriter.(http.Flusher); ok {
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
