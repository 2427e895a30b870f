// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpcaller

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/receipt"
)

// Limits of what an app says of a step.
const (
	// MaxStep is the longest value of Custody-Step, in bytes. Dapr reads some 10 KiB of headers in all, unless
	// --read-buffer-size says more.
	MaxStep = 8 << 10
	// MaxText is the longest name or ID, in bytes.
	MaxText = 512
)

// Step is what Custody-Step says.
type Step struct {
	// Workflow is the step. The apps in it may be zero.
	Workflow receipt.Workflow
	// Prev are the heads that the step continues.
	Prev []receipt.Digest
	// Server is the name under which the guard of the server knows it; empty means the app ID that is called.
	Server string

	to spiffeid.ID // the app that is called, which the request says
}

type stepJSON struct {
	Workflow *receipt.Workflow `json:"workflow"`
	Prev     []receipt.Digest  `json:"prev"`
	Server   string            `json:"server"`
}

// ParseStep reads the one value of Custody-Step: base64url without padding of strict JSON. It checks the form only.
func ParseStep(values []string) (*Step, error) {
	if len(values) != 1 {
		return nil, fmt.Errorf("header %s is given %d times: give it once", HeaderStep, len(values))
	}
	text := values[0]
	if len(text) > MaxStep {
		return nil, fmt.Errorf("header %s has %d bytes, more than %d", HeaderStep, len(text), MaxStep)
	}
	decoded, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || base64.RawURLEncoding.EncodedLen(len(decoded)) != len(text) {
		return nil, fmt.Errorf("header %s is not base64url without padding", HeaderStep)
	}
	var in stepJSON
	if err := json.Unmarshal(decoded, &in, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("header %s: %w", HeaderStep, err)
	}
	if err := checkTexts(in.Workflow, in.Server); err != nil {
		return nil, fmt.Errorf("header %s: %w", HeaderStep, err)
	}
	return &Step{Workflow: *in.Workflow, Prev: in.Prev, Server: in.Server}, nil
}

// checkTexts bounds what goes into a link, and keeps out what a log would show otherwise than it is.
func checkTexts(w *receipt.Workflow, server string) error {
	if w == nil {
		return errors.New("workflow is missing")
	}
	texts := map[string]string{
		"workflow.instance": w.Instance, "workflow.app": w.App, "workflow.name": w.Name, "workflow.step": w.Step, "server": server,
	}
	if w.Chain != nil {
		texts["workflow.chain.instance"] = w.Chain.Instance
		texts["workflow.chain.app"] = w.Chain.App.String()
	}
	for member, text := range texts {
		switch {
		case len(text) > MaxText:
			return fmt.Errorf("%s has %d bytes, more than %d", member, len(text), MaxText)
		case strings.ContainsFunc(text, control):
			return fmt.Errorf("%s holds a control character", member)
		}
	}
	return nil
}

func control(r rune) bool { return r < ' ' || (r >= 0x7f && r < 0xa0) }
