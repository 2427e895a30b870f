// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpcaller

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/receipt"
)

// What the sidecar serves its own app.
const (
	PathAttest  = "/custody/v1/attest"
	PathApprove = "/custody/v1/approve"
	PathVerify  = "/custody/v1/verify"
)

// ownPath reports whether the request is for this door itself. One that names
// another app is for that.
func (c *Caller) ownPath(r *http.Request) bool {
	switch r.URL.Path {
	case PathAttest, PathApprove, PathVerify:
		return len(r.Header.Values(headerAppID)) == 0
	}
	return false
}

func (c *Caller) serve(w http.ResponseWriter, r *http.Request) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		c.sendReply(w, refused(http.StatusMethodNotAllowed, errors.New("use POST")))
		return
	case err != nil || media != "application/json":
		// A page in a browser cannot send this type to another site without being asked first.
		c.sendReply(w, refused(http.StatusUnsupportedMediaType, errors.New("send application/json")))
		return
	}
	body, err := c.readBody(w, r)
	if err != nil {
		c.sendReply(w, unread(err))
		return
	}
	switch r.URL.Path {
	case PathAttest:
		c.say(w, body, ParseStatement)
	case PathApprove:
		c.say(w, body, ParseApproval)
	case PathVerify:
		c.verify(w, body)
	}
}

type statementJSON struct {
	Workflow  *receipt.Workflow `json:"workflow"`
	Prev      []receipt.Digest  `json:"prev"`
	Kind      string            `json:"kind"`
	Statement jsontext.Value    `json:"statement"`
}

// ParseStatement reads the body of PathAttest: strict JSON. It checks the form only.
func ParseStatement(body []byte) (*gate.Saying, error) {
	in, err := parseStatement(body)
	if err != nil {
		return nil, err
	}
	kinds := []string{chain.KindAttest, chain.KindJoin, chain.KindContinue, chain.KindBegin, chain.KindEnd}
	if !slices.Contains(kinds, in.Kind) {
		return nil, fmt.Errorf("kind %.80q is none of %s", in.Kind, strings.Join(kinds, ", "))
	}
	return in.saying(receipt.StatusStated, in.Kind)
}

// ParseApproval reads the body of PathApprove: strict JSON. It checks the form only.
func ParseApproval(body []byte) (*gate.Saying, error) {
	in, err := parseStatement(body)
	if err != nil {
		return nil, err
	}
	if in.Kind != "" && in.Kind != chain.KindApproval {
		return nil, fmt.Errorf("kind %.80q is not %s: leave it out", in.Kind, chain.KindApproval)
	}
	return in.saying(receipt.StatusApproved, chain.KindApproval)
}

func parseStatement(body []byte) (*statementJSON, error) {
	var in statementJSON
	if err := json.Unmarshal(body, &in, json.RejectUnknownMembers(true)); err != nil {
		return nil, err
	}
	if in.Statement == nil {
		return nil, errors.New("statement is missing: give any JSON value")
	}
	return &in, checkTexts(in.Workflow, "")
}

func (in *statementJSON) saying(status, kind string) (*gate.Saying, error) {
	canonical := in.Statement.Clone()
	if err := canonical.Canonicalize(); err != nil {
		return nil, fmt.Errorf("statement has no RFC 8785 form: %w", err)
	}
	return &gate.Saying{
		Status: status, Action: receipt.Action{Kind: kind, Name: in.Workflow.Step},
		Request: receipt.Sum(canonical), Workflow: *in.Workflow, Prev: in.Prev,
	}, nil
}

type linkJSON struct {
	Digest   receipt.Digest `json:"digest"`
	Envelope jsontext.Value `json:"envelope"`
}

// say signs what the body states.
func (c *Caller) say(w http.ResponseWriter, body []byte, parse func([]byte) (*gate.Saying, error)) {
	saying, err := parse(body)
	if err != nil {
		c.sendReply(w, refused(http.StatusBadRequest, err))
		return
	}
	link, err := c.scribe.Write(*saying)
	if err != nil {
		c.sendReply(w, c.replyTo(err))
		return
	}
	c.send(w, http.StatusOK, linkJSON{Digest: link.Digest, Envelope: link.Envelope.AppendJSON(nil)})
}
