// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
)

const maxBody = 1 << 20

// mux answers GET /healthz beside what an app adds.
func mux() *http.ServeMux {
	m := http.NewServeMux()
	m.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	return m
}

// answer sends what f gives as JSON.
func answer(log *slog.Logger, f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		v, err := f(r)
		if err != nil {
			log.Warn("refused", "request", r.Method+" "+r.URL.Path, "error", err)
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v); err != nil {
			log.Warn("the answer was not sent", "error", err)
		}
	}
}

// decode reads one JSON value. A member that v does not have is an error: who
// approves an amount should not have misspelt it.
func decode(r io.Reader, v any) error {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more than one JSON value")
	}
	return nil
}
