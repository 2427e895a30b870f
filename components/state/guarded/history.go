// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package guarded

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/dapr/components-contrib/state"

	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/receipt"
)

// The keys of a workflow's rows (Dapr pkg/actors/state/state.go and pkg/runtime/wfengine/state/state.go):
// <app>||dapr.internal.<namespace>.<app>.workflow||<instance>||signature-000007.
const (
	separator       = "||"
	typePrefix      = "dapr.internal."
	typeSuffix      = ".workflow"
	signaturePrefix = "signature-"
	signatureDigits = 6
)

// signatureRow takes the key of a history's signature apart. index counts from zero.
func signatureRow(key string) (app, instance string, index uint32, ok bool) {
	row := strings.LastIndex(key, separator+signaturePrefix)
	if row < 0 {
		return "", "", 0, false
	}
	digits := key[row+len(separator+signaturePrefix):]
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || len(digits) < signatureDigits {
		return "", "", 0, false
	}
	app, rest, ok := strings.Cut(key[:row], separator)
	if !ok {
		return "", "", 0, false
	}
	actorType, instance, ok := strings.Cut(rest, separator)
	workflow := strings.HasPrefix(actorType, typePrefix) && strings.HasSuffix(actorType, "."+app+typeSuffix)
	if !ok || !workflow || app == "" || instance == "" {
		return "", "", 0, false
	}
	return app, instance, uint32(n), true
}

// vouchesForOther says whether an anchor of a row would vouch for the history of another app than the caller.
func (r *request) vouchesForOther(key string) bool {
	own := r.app + separator + typePrefix + r.caller.Namespace() + "." + r.app + typeSuffix + separator
	if strings.HasPrefix(key, own) {
		return false
	}
	_, _, _, is := signatureRow(key)
	return is
}

// written gives the anchor of a row that is written, nil for a row that is no signature.
func (s *Store) written(r *state.SetRequest) (*gate.Anchor, error) {
	app, instance, index, ok := signatureRow(r.Key)
	if !ok {
		return nil, nil
	}
	value, ok := r.Value.([]byte)
	if !ok || len(value) == 0 {
		return nil, fmt.Errorf("%s: the signature %q is not given as bytes", s.name, r.Key)
	}
	return s.anchor(gate.KindHistory, app, instance, index, receipt.Sum(value)), nil
}

// removed gives the anchor of a row that is deleted, nil for a row that is no signature. What it held is not known here;
// the digest is over the key.
func (s *Store) removed(r *state.DeleteRequest) *gate.Anchor {
	app, instance, index, ok := signatureRow(r.Key)
	if !ok {
		return nil
	}
	return s.anchor(gate.KindHistoryRemoved, app, instance, index, receipt.Sum([]byte(r.Key)))
}

func (s *Store) anchor(kind, app, instance string, index uint32, record receipt.Digest) *gate.Anchor {
	return &gate.Anchor{
		Action:   receipt.Action{Kind: kind, Server: s.name, Name: instance},
		Record:   record,
		Workflow: receipt.Workflow{Instance: instance, App: app, Task: index + 1},
	}
}
