// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Limits of ParsePast.
const (
	// MaxPastBytes is the largest text.
	MaxPastBytes = 8 << 20
	// MaxPastSteps is the number of steps.
	MaxPastSteps = 10_000
)

// NewPast returns a Past of the steps, oldest first, which it keeps.
func NewPast(instance string, complete bool, steps []PastStep) Past {
	p := &pastSteps{instance: instance, complete: complete, steps: steps, names: make(map[string][]int, len(steps))}
	for i := range steps {
		p.names[steps[i].Name] = append(p.names[steps[i].Name], i)
	}
	return p
}

type pastSteps struct {
	instance string
	complete bool
	steps    []PastStep
	names    map[string][]int
}

func (p *pastSteps) Instance() string        { return p.instance }
func (p *pastSteps) Len() int                { return len(p.steps) }
func (p *pastSteps) Complete() bool          { return p.complete }
func (p *pastSteps) Step(i int) PastStep     { return p.steps[i] }
func (p *pastSteps) Named(name string) []int { return p.names[name] }

// pastFile is a Past as JSON, with the names of conditions.
type pastFile struct {
	Instance string         `json:"instance"`
	Complete bool           `json:"complete"`
	Steps    []pastFileStep `json:"steps"`
	// Passed are the calls that were passed on before, by tool.
	Passed map[string]int `json:"passed"`
}

type pastFileStep struct {
	Name     string      `json:"name"`
	Kind     string      `json:"kind"`
	By       spiffeid.ID `json:"by"`
	Server   string      `json:"server"`
	Door     spiffeid.ID `json:"door"`
	Tool     string      `json:"tool"`
	Status   string      `json:"status"`
	At       time.Time   `json:"at"`
	Instance string      `json:"instance"`
	Digest   Digest      `json:"digest"`
}

// What a step of each kind can have for a status; the first is the one that a step
// without has.
var statuses = map[string][]string{
	StepTool:      {statusUnknown, statusOK, "toolError", "rpcError", "httpError", "incomplete", "withheld", "denied"},
	StepStatement: {"stated"},
	StepApproval:  {"approved"},
}

// ParsePast reads a Past for trying policies: an object with instance, complete and
// steps, oldest first, each of which has the members that a step has in conditions.
// Nothing in it is verified. Required are instance, and of a step name, kind, by
// and at, and for a tool call server and tool. A step without a status is a
// tool call that was not answered, and one without an instance is of the Past's. A
// Past that does not say that it is complete is not. Another member, a member twice,
// a status that a step of this kind cannot have, more than MaxPastBytes or
// MaxPastSteps is an error. The optional member passed gives by tool how many calls
// were passed on before, for Facts.Passed.
func ParsePast(data []byte) (past Past, passed map[string]int, err error) {
	if len(data) > MaxPastBytes {
		return nil, nil, fmt.Errorf("policy: chain: it has %d bytes, the limit is %d", len(data), MaxPastBytes)
	}
	var file pastFile
	if err := json.Unmarshal(data, &file, json.RejectUnknownMembers(true)); err != nil {
		return nil, nil, fmt.Errorf("policy: chain: %sit is no object with instance, complete and steps: %w", lineOf(data, err), err)
	}
	switch {
	case file.Instance == "":
		return nil, nil, errors.New("policy: chain: instance is empty: give the ID of the workflow instance")
	case len(file.Steps) > MaxPastSteps:
		return nil, nil, fmt.Errorf("policy: chain: it has %d steps, the limit is %d", len(file.Steps), MaxPastSteps)
	}
	steps := make([]PastStep, len(file.Steps))
	for i := range file.Steps {
		s := &file.Steps[i]
		if err := s.check(); err != nil {
			return nil, nil, fmt.Errorf("policy: chain: steps[%d].%w", i, err)
		}
		if s.Instance == "" {
			s.Instance = file.Instance
		}
		steps[i] = PastStep(*s)
	}
	return NewPast(file.Instance, file.Complete, steps), file.Passed, nil
}

// check refuses what no step can be. Its errors begin with the member.
func (s *pastFileStep) check() error {
	known := statuses[s.Kind]
	isTool := s.Kind == StepTool
	switch {
	case s.Name == "":
		return errors.New("name is empty: name the step")
	case known == nil:
		return fmt.Errorf("kind: %.40q is no kind: write %s, %s or %s", s.Kind, StepTool, StepStatement, StepApproval)
	case s.By.IsZero():
		return errors.New("by is empty: give the SPIFFE ID of the workload that did it")
	case s.At.IsZero():
		return errors.New("at is empty: give a time such as 2026-11-23T09:30:00Z")
	case isTool && (s.Server == "" || s.Tool == ""):
		return errors.New("server and tool: a tool call has both")
	case !isTool && (s.Server != "" || s.Tool != "" || !s.Door.IsZero()):
		return fmt.Errorf("server, tool and door: only a step of kind %s has them", StepTool)
	}
	if s.Status == "" {
		s.Status = known[0]
	}
	if !slices.Contains(known, s.Status) {
		return fmt.Errorf("status: %.40q is none of a step of kind %s: write %s", s.Status, s.Kind, strings.Join(known, ", "))
	}
	return nil
}

// lineOf says where in the text an error of JSON is.
func lineOf(data []byte, err error) string {
	offset := int64(-1)
	var syntactic *jsontext.SyntacticError
	var semantic *json.SemanticError
	switch {
	case errors.As(err, &syntactic):
		offset = syntactic.ByteOffset
	case errors.As(err, &semantic):
		offset = semantic.ByteOffset
	}
	if offset < 0 || offset > int64(len(data)) {
		return ""
	}
	return fmt.Sprintf("line %d: ", 1+bytes.Count(data[:offset], []byte("\n")))
}
