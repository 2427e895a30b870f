// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dossier

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strings"

	"github.com/dapr/durabletask-go/api/protos"

	"github.com/dapr-custody/custody/internal/history"
	"github.com/dapr-custody/custody/internal/linkpack"
	"github.com/dapr-custody/custody/internal/receipt"
)

// What workflows/custody writes into a history (docs/chain.md, Where links are kept).
const (
	activityCall   = "custody.call"
	activityState  = "custody.state"
	activityVerify = "custody.verify"

	// endTimer begins the name of the timer that bears the end of a chain, and endTask is the number of that link.
	endTimer = "custody.end "
	endTask  = math.MaxUint32

	carryMember   = "custody.dev/chain"
	approvalEvent = "custody.approval."
	askStep       = "custody.ask."
	failureMark   = " [" + carryMember + " "
)

// outcome is the result of an activity of the library.
type outcome struct {
	Version int    `json:"custody"`
	State   string `json:"state"`
	Links   kept   `json:"links"`
}

// verification is the input of the activity that verifies an approval.
type verification struct {
	Ask struct {
		Workflow struct {
			Task uint32 `json:"task"`
			Step string `json:"step"`
		} `json:"workflow"`
	} `json:"ask"`
	// By are the SPIFFE IDs that may approve; without any, all may but the one that asks.
	By       []string        `json:"by"`
	Envelope json.RawMessage `json:"envelope"`
}

// kept are links as they are kept: whole in an array, or packed in a text.
type kept struct {
	whole links
	text  string
}

func (k *kept) UnmarshalJSON(raw []byte) error {
	if raw[0] == '"' {
		return json.Unmarshal(raw, &k.text)
	}
	return json.Unmarshal(raw, &k.whole)
}

// maxUnpacked is how many bytes all packed links of a dossier may take together. One text takes up to 16 MiB, of some
// thousand times fewer.
const maxUnpacked = 512 << 20

// reader reads links as they are kept, as long as they take no more than is left. What comes after is not read.
type reader struct {
	left int
	over bool
}

func newReader() *reader { return &reader{left: maxUnpacked} }

// read gives the links, with what is remembered of those before, and remembers them. It gives none where they cannot be
// read.
func (r *reader) read(k *kept, memory *linkpack.Memory) links {
	if k.text == "" {
		return k.whole
	}
	if r.over {
		return nil
	}
	text, err := memory.Read(k.text)
	if err != nil {
		return nil
	}
	if r.left -= text.Size(); r.left < 0 {
		r.over = true
		return nil
	}
	memory.Learn(text)
	all := make(links, len(text.Links))
	for i, e := range text.Links {
		all[i] = link{Digest: e.Digest(), packed: e}
	}
	return all
}

type links []link

type link struct {
	Digest string `json:"digest"`
	// Envelope is the JSON form; empty for a packed link.
	Envelope json.RawMessage `json:"envelope"`
	packed   *receipt.Envelope
}

// order is the input of an activity of the library.
type order struct {
	Workflow struct {
		Instance   string `json:"instance"`
		Generation uint32 `json:"generation"`
		Step       string `json:"step"`
	} `json:"workflow"`
	Prev []receipt.Digest `json:"prev"`
	Kind string           `json:"kind"`
	// As is the number of the step where it is not the activity's own.
	As uint32 `json:"as"`
	// Look says that nothing was to be done but to find out what came of a call.
	Look bool `json:"look"`
}

// carried is what of a chain goes into and comes out of instances.
type carried struct {
	Carry *struct {
		Chain      json.RawMessage `json:"chain"`
		Generation uint32          `json:"generation"`
		Links      kept            `json:"links"`
	} `json:"custody.dev/chain"`
	Value json.RawMessage `json:"value"`
}

func (l link) envelope() *receipt.Envelope {
	if l.packed != nil {
		return l.packed
	}
	e, err := receipt.DecodeEnvelope(l.Envelope)
	if err != nil {
		return nil
	}
	return e
}

// of says whether it is of that chain.
func (c *carried) of(id *receipt.Chain) bool {
	var chain receipt.Chain
	return json.Unmarshal(c.Carry.Chain, &chain) == nil && chain.Equal(id)
}

func carriedIn(text string) *carried {
	if !strings.Contains(text, carryMember) {
		return nil
	}
	c := &carried{}
	if json.Unmarshal([]byte(text), c) != nil || c.Carry == nil {
		return nil
	}
	return c
}

// carriedInFailure is for a child that failed: the chain stands at the end of its text.
func carriedInFailure(f *protos.TaskFailureDetails) *carried {
	text := f.GetErrorMessage()
	at := strings.LastIndex(text, failureMark)
	if at < 0 {
		return nil
	}
	encoded, _, _ := strings.Cut(text[at+len(failureMark):], "]")
	raw, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return nil
	}
	return carriedIn(`{"` + carryMember + `":` + string(raw) + `}`)
}

// carriedBy gives the chain that an event brings from elsewhere: from an earlier generation, a parent or a child.
func carriedBy(p *protos.HistoryEvent) *carried {
	switch body := p.GetEventType().(type) {
	case *protos.HistoryEvent_ExecutionStarted:
		return carriedIn(body.ExecutionStarted.GetInput().GetValue())
	case *protos.HistoryEvent_ChildWorkflowInstanceCompleted:
		return carriedIn(body.ChildWorkflowInstanceCompleted.GetResult().GetValue())
	case *protos.HistoryEvent_ChildWorkflowInstanceFailed:
		return carriedInFailure(body.ChildWorkflowInstanceFailed.GetFailureDetails())
	}
	return nil
}

// LinksIn gives the links that a history has: of its own steps, and those carried into it. Where they unpack to more than
// 512 MiB the later ones are left out.
func LinksIn(in *history.Instance) []*receipt.Envelope {
	var found []*receipt.Envelope
	memory, reader := &linkpack.Memory{}, newReader()
	add := func(links []link) {
		for _, l := range links {
			if e := l.envelope(); e != nil {
				found = append(found, e)
			}
		}
	}
	for _, e := range in.Events {
		if c := carriedBy(e.Proto); c != nil {
			add(reader.read(&c.Carry.Links, &linkpack.Memory{}))
		}
		if done := e.Proto.GetTaskCompleted(); done != nil {
			if o := outcomeOf(done.GetResult().GetValue()); o != nil {
				add(reader.read(&o.Links, memory))
			}
		}
		add(reader.endIn(e.Proto, memory))
	}
	return found
}

// endIn gives the end of the chain that the creation of a timer bears; nil where it bears none.
func (r *reader) endIn(p *protos.HistoryEvent, memory *linkpack.Memory) links {
	text, ok := strings.CutPrefix(p.GetTimerCreated().GetName(), endTimer)
	if !ok {
		return nil
	}
	return r.read(&kept{text: text}, memory)
}

func outcomeOf(text string) *outcome {
	o := &outcome{}
	if json.Unmarshal([]byte(text), o) != nil || o.Version == 0 {
		return nil
	}
	return o
}

// Child is a child workflow that a chain goes on in.
type Child struct{ App, Namespace, Instance string }

// ChildrenOf gives the children that the chain of an instance was carried into.
func ChildrenOf(in *history.Instance) []Child {
	var children []Child
	for _, e := range in.Events {
		created := e.Proto.GetChildWorkflowInstanceCreated()
		if created == nil || carriedIn(created.GetInput().GetValue()) == nil {
			continue
		}
		child := Child{App: in.App, Namespace: in.Namespace, Instance: created.GetInstanceId()}
		if app := e.Proto.GetRouter().GetTargetAppID(); app != "" {
			child.App = app
		}
		if namespace := e.Proto.GetRouter().GetTargetAppNamespace(); namespace != "" {
			child.Namespace = namespace
		}
		children = append(children, child)
	}
	return children
}
