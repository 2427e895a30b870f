// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package history

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const (
	separator  = "||"
	typePrefix = "dapr.internal."
	typeSuffix = ".workflow"

	rowMetadata     = "metadata"
	rowCustomStatus = "customStatus"
	rowPropagated   = "propagated-history"
	rowInbox        = "inbox"
	rowHistory      = "history"
	rowSignature    = "signature"
	rowCertificate  = "sigcert"
	rowExternal     = "ext-sigcert"
)

// Key names a row of a workflow instance in an actor state store.
type Key struct {
	App, Namespace, Instance string
	// Row is the part after the instance, such as "metadata" or "history-000004".
	Row string
}

// String gives the key as Dapr writes it: <app>||dapr.internal.<namespace>.<app>.workflow||<instance>||<row>.
func (k Key) String() string {
	return k.App + separator + typePrefix + k.Namespace + "." + k.App + typeSuffix + separator + k.Instance + separator + k.Row
}

// ParseKey reads a key. ok is false for what is not a row of a workflow instance, such as a row of another actor.
func ParseKey(key string) (k Key, ok bool) {
	app, rest, ok := strings.Cut(key, separator)
	if !ok {
		return Key{}, false
	}
	actor, rest, ok := strings.Cut(rest, separator)
	if !ok {
		return Key{}, false
	}
	at := strings.LastIndex(rest, separator)
	if at < 0 {
		return Key{}, false
	}
	k = Key{App: app, Instance: rest[:at], Row: rest[at+len(separator):]}
	k.Namespace, ok = strings.CutSuffix(strings.TrimPrefix(actor, typePrefix), "."+app+typeSuffix)
	if !ok || k.App == "" || k.Namespace == "" || k.Instance == "" || k.Row == "" || k.String() != key {
		return Key{}, false
	}
	return k, true
}

// numbered gives the name of row number i, as Dapr pads it.
func numbered(prefix string, i int) string { return fmt.Sprintf("%s-%06d", prefix, i) }

// HistoryRow gives the name of the row that holds event number i, from 0.
func HistoryRow(i int) string { return numbered(rowHistory, i) }

// MetadataRow is the name of the row that holds the counts of the others.
const MetadataRow = rowMetadata

// splitRow gives the prefix and the number of a numbered row; ok is false for other names, and for numbers that Dapr
// would write in another way.
func splitRow(row string) (prefix string, i int, ok bool) {
	at := strings.LastIndexByte(row, '-')
	if at < 0 {
		return "", 0, false
	}
	i, err := strconv.Atoi(row[at+1:])
	if err != nil || i < 0 || i >= MaxRows || numbered(row[:at], i) != row {
		return "", 0, false
	}
	return row[:at], i, true
}

// Rows are the rows of one instance as they were read. Its JSON form is what custody-components prints and what an
// exported chain holds.
type Rows struct {
	App       string            `json:"app"`
	Namespace string            `json:"namespace"`
	Instance  string            `json:"instance"`
	Rows      map[string][]byte `json:"rows"`
}

// Limits on what is read. What goes beyond is refused.
const (
	MaxRows     = 400_000
	MaxRowBytes = 16 << 20
	MaxBytes    = 1 << 30
)

// ErrRows: the rows are not those of one instance, or go beyond the limits.
var ErrRows = errors.New("rows are not acceptable")

func (r Rows) check() error {
	switch {
	case r.App == "" || r.Namespace == "" || r.Instance == "":
		return fmt.Errorf("history: %w: app, namespace and instance must be named", ErrRows)
	case len(r.Rows) > MaxRows:
		return fmt.Errorf("history: %w: there are more than %d", ErrRows, MaxRows)
	}
	total := 0
	for name, value := range r.Rows {
		if len(value) > MaxRowBytes {
			return fmt.Errorf("history: %w: %.80q has more than %d bytes", ErrRows, name, MaxRowBytes)
		}
		if total += len(value) + len(name); total > MaxBytes {
			return fmt.Errorf("history: %w: they have more than %d bytes together", ErrRows, MaxBytes)
		}
	}
	return nil
}
