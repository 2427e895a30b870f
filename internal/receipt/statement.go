// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package receipt

import (
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// MaxPayload is the largest payload that is signed or accepted, in bytes. In base64 and with the most and the largest
// certificates it still fits into MaxEnvelope.
const MaxPayload = 512 << 10

// Always nine digits, so that times also sort as text.
const timeLayout = "2006-01-02T15:04:05.000000000Z07:00"

type statement struct {
	Type          string    `json:"_type"`
	Subject       []subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     *Receipt  `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// decodeStatement is strict in what could be read two ways (duplicate members, invalid UTF-8, other case, trailing data)
// and lets unknown members pass: they are signed like all others, and a later version may add some.
func decodeStatement(payload []byte) (*Receipt, error) {
	if len(payload) > MaxPayload {
		return nil, payloadError("it has more than %d bytes", MaxPayload)
	}
	if r := decodeCanonical(payload); r != nil {
		if err := r.validate(); err != nil {
			return nil, err
		}
		return r, nil
	}
	return decodeAny(payload)
}

func decodeAny(payload []byte) (*Receipt, error) {
	var s statement
	if err := json.Unmarshal(payload, &s); err != nil {
		return nil, payloadError("%w", err)
	}
	switch {
	case s.Type != StatementType:
		return nil, payloadError("_type is %.80q, not %q", s.Type, StatementType)
	case s.PredicateType != PredicateType:
		return nil, payloadError("predicateType is %.80q, not %q", s.PredicateType, PredicateType)
	case s.Predicate == nil:
		return nil, payloadError("predicate is missing")
	case len(s.Subject) != 1:
		return nil, payloadError("it has %d subjects, not one", len(s.Subject))
	}
	r := s.Predicate
	if err := r.validate(); err != nil {
		return nil, err
	}
	switch subj := s.Subject[0]; {
	case subj.Name != r.Action.subject():
		return nil, payloadError("subject %.80q is not the action %.80q", subj.Name, r.Action.subject())
	case len(subj.Digest) != 1 || subj.Digest["sha256"] != r.RequestDigest.Hex():
		return nil, payloadError("digest of the subject is not requestDigest")
	}
	return r, nil
}

// appendStatement is written out because it runs on every call; a test holds it against the plain decoder.
func appendStatement(dst []byte, r *Receipt) []byte {
	dst = append(dst, `{"_type":"`+StatementType+`","subject":[{"name":`...)
	dst = appendSubject(dst, r.Action)
	dst = append(dst, `,"digest":{"sha256":"`...)
	dst = hex.AppendEncode(dst, r.RequestDigest[:])
	dst = append(dst, `"}}],"predicateType":"`+PredicateType+`","predicate":{"id":`...)
	dst = appendString(dst, r.ID)
	dst = append(dst, `,"door":{"spiffeID":`...)
	dst = appendString(dst, r.Door.SPIFFEID.String())
	dst = appendOptional(dst, `,"name":`, r.Door.Name)
	dst = append(dst, '}')
	if r.Caller != (Caller{}) {
		dst = append(dst, `,"caller":{"spiffeID":`...)
		dst = appendString(dst, r.Caller.SPIFFEID.String())
		dst = appendOptional(dst, `,"proof":`, r.Caller.Proof)
		dst = appendDigest(dst, `,"certificateDigest":`, r.Caller.CertificateDigest)
		dst = append(dst, '}')
	}
	dst = appendBehalf(dst, r.Txn, r.Actors)
	dst = appendAction(append(dst, `,"action":`...), r.Action)
	dst = appendOptional(dst, `,"to":`, r.To.String())
	dst = appendDigest(dst, `,"requestDigest":`, r.RequestDigest)
	dst = appendDigest(dst, `,"argumentsDigest":`, r.ArgumentsDigest)
	dst = append(dst, `,"decision":{"effect":`...)
	dst = appendString(dst, r.Decision.Effect)
	dst = appendOptional(dst, `,"policy":`, r.Decision.Policy)
	dst = appendOptional(dst, `,"rule":`, r.Decision.Rule)
	dst = appendOptional(dst, `,"reason":`, r.Decision.Reason)
	dst = appendDigest(dst, `,"setDigest":`, r.Decision.SetDigest)
	dst = append(appendShadow(dst, r.Decision.Shadow), '}')
	dst = appendParts(dst, r)
	dst = appendLinks(dst, r)
	dst = appendTime(append(dst, `,"times":{"decided":`...), r.Times.Decided)
	dst = appendTime(append(dst, `,"settled":`...), r.Times.Settled)
	dst = append(dst, `},"outcome":{"status":`...)
	return append(appendOutcome(dst, &r.Outcome), `}}}`...)
}

func appendShadow(dst []byte, s *Shadow) []byte {
	if s == nil {
		return dst
	}
	dst = appendString(append(dst, `,"shadow":{"effect":`...), s.Effect)
	dst = appendOptional(dst, `,"policy":`, s.Policy)
	dst = appendOptional(dst, `,"rule":`, s.Rule)
	dst = appendOptional(dst, `,"reason":`, s.Reason)
	return append(dst, '}')
}

// appendParts writes touched, touchedMore and statement.
func appendParts(dst []byte, r *Receipt) []byte {
	for i, t := range r.Touched {
		open := `,{"kind":`
		if i == 0 {
			open = `,"touched":[{"kind":`
		}
		dst = appendString(append(dst, open...), t.Kind)
		dst = append(appendOptional(dst, `,"name":`, t.Name), '}')
	}
	if len(r.Touched) > 0 {
		dst = append(dst, ']')
	}
	if r.TouchedMore != 0 {
		dst = strconv.AppendInt(append(dst, `,"touchedMore":`...), int64(r.TouchedMore), 10)
	}
	s := r.Statement
	if s == nil {
		return dst
	}
	open := `,"statement":{"digest":`
	if s.Fingerprint != "" {
		dst = appendString(append(dst, `,"statement":{"fingerprint":`...), s.Fingerprint)
		open = `,"digest":`
	}
	dst = appendDigest(dst, open, s.Digest)
	return append(appendOptional(dst, `,"text":`, s.Text), '}')
}

func appendOutcome(dst []byte, o *Outcome) []byte {
	dst = appendString(dst, o.Status)
	if o.HTTPStatus != 0 {
		dst = strconv.AppendInt(append(dst, `,"httpStatus":`...), int64(o.HTTPStatus), 10)
	}
	dst = appendDigest(dst, `,"responseDigest":`, o.ResponseDigest)
	dst = appendDigest(dst, `,"resultDigest":`, o.ResultDigest)
	dst = appendOptional(dst, `,"reason":`, o.Reason)
	if o.Rows != 0 {
		dst = strconv.AppendInt(append(dst, `,"rows":`...), o.Rows, 10)
	}
	if len(o.Redacted) == 0 {
		return dst
	}
	open := `,"redacted":{`
	for _, kind := range slices.Sorted(maps.Keys(o.Redacted)) {
		dst = appendString(append(dst, open...), kind)
		dst = strconv.AppendInt(append(dst, ':'), int64(o.Redacted[kind]), 10)
		open = `,`
	}
	return append(dst, '}')
}

// appendBehalf writes txn and actors.
func appendBehalf(dst []byte, txn string, actors []spiffeid.ID) []byte {
	if txn == "" {
		return dst
	}
	dst = appendString(append(dst, `,"txn":`...), txn)
	for i, id := range actors {
		open := `,`
		if i == 0 {
			open = `,"actors":[`
		}
		dst = appendString(append(dst, open...), id.String())
	}
	return append(dst, ']')
}

// appendLinks writes what ties a receipt to others: workflow, prev and journal.
func appendLinks(dst []byte, r *Receipt) []byte {
	dst = appendPast(dst, r.Workflow, r.Prev)
	dst = append(dst, `,"journal":{"id":`...)
	dst = appendString(dst, r.Journal.ID)
	dst = strconv.AppendUint(append(dst, `,"seq":`...), r.Journal.Seq, 10)
	dst = appendDigest(dst, `,"chain":`, r.Journal.Chain)
	return append(dst, '}')
}

// appendPast writes workflow and prev.
func appendPast(dst []byte, wf *Workflow, prev []Digest) []byte {
	if wf != nil {
		dst = appendWorkflow(append(dst, `,"workflow":`...), wf)
	}
	for i, d := range prev {
		open := `,`
		if i == 0 {
			open = `,"prev":[`
		}
		dst = appendDigest(dst, open, d)
	}
	if len(prev) > 0 {
		dst = append(dst, ']')
	}
	return dst
}

func appendWorkflow(dst []byte, wf *Workflow) []byte {
	open := `{"instance":`
	if wf.Chain != nil {
		dst = wf.Chain.AppendJSON(append(dst, `{"chain":`...))
		open = `,"instance":`
	}
	dst = appendString(append(dst, open...), wf.Instance)
	dst = appendOptional(dst, `,"app":`, wf.App)
	dst = appendOptional(dst, `,"name":`, wf.Name)
	dst = appendCount(dst, `,"generation":`, wf.Generation)
	dst = appendCount(dst, `,"task":`, wf.Task)
	dst = appendOptional(dst, `,"step":`, wf.Step)
	return append(dst, '}')
}

func appendCount(dst []byte, member string, n uint32) []byte {
	if n == 0 {
		return dst
	}
	return strconv.AppendUint(append(dst, member...), uint64(n), 10)
}

func appendAction(dst []byte, a Action) []byte {
	dst = appendString(append(dst, `{"kind":`...), a.Kind)
	dst = appendOptional(dst, `,"server":`, a.Server)
	dst = appendOptional(dst, `,"name":`, a.Name)
	return append(dst, '}')
}

// appendSubject is appendString of a.subject(), which it puts together only where something is to be escaped.
func appendSubject(dst []byte, a Action) []byte {
	if !plain(a.Kind) || !plain(a.Server) || !plain(a.Name) {
		return appendEscaped(dst, a.subject())
	}
	dst = append(append(append(dst, '"'), a.Kind...), ' ')
	dst = append(append(append(dst, a.Server...), '/'), a.Name...)
	return append(dst, '"')
}

func appendOptional(dst []byte, member, s string) []byte {
	if s == "" {
		return dst
	}
	return appendString(append(dst, member...), s)
}

func appendDigest(dst []byte, member string, d Digest) []byte {
	if d.IsZero() {
		return dst
	}
	dst = append(append(dst, member...), '"')
	return append(d.append(dst), '"')
}

func appendTime(dst []byte, t time.Time) []byte {
	dst = append(dst, '"')
	return append(t.UTC().AppendFormat(dst, timeLayout), '"')
}

// appendString replaces invalid UTF-8 by U+FFFD: a name that is not UTF-8 must not keep a refusal from being recorded.
// What it really was stands in the digest of the request.
func appendString(dst []byte, s string) []byte {
	if !plain(s) {
		return appendEscaped(dst, s)
	}
	dst = append(append(dst, '"'), s...)
	return append(dst, '"')
}

// plain says whether s stands in JSON as it is.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func appendEscaped(dst []byte, s string) []byte {
	quoted, err := jsontext.AppendQuote(dst, strings.ToValidUTF8(s, "\uFFFD"))
	if err != nil {
		panic("receipt: valid UTF-8 could not be quoted: " + err.Error())
	}
	return quoted
}
