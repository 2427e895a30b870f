// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody

import (
	"encoding/json"
	"strings"

	"github.com/dapr/durabletask-go/workflow"

	"github.com/dapr-custody/custody/internal/linkpack"
)

// comesFrom reports whether the history has a part of that instance.
func comesFrom(history *workflow.PropagatedHistory, instance string) bool {
	return history != nil && instance != "" && len(history.GetEventsByInstanceID(instance)) > 0
}

// propagated gives the links in a history that was passed on, oldest first: in results of activities, in what children
// gave back, and in what a generation was given by the one before. Who passes it on may be any app, so what is read of it is
// bounded by what a worker keeps of links; what comes after that is as if it were not known.
func propagated(history *workflow.PropagatedHistory) []Link {
	if history == nil {
		return nil
	}
	l := lineage{known: map[string]bool{}, memory: &linkpack.Memory{}}
	for _, e := range history.Events() {
		if l.size > maxPast {
			break
		}
		switch {
		case e.GetTaskCompleted() != nil:
			l.add(linksOfResult(e.GetTaskCompleted().GetResult().GetValue(), l.memory))
		case e.GetChildWorkflowInstanceCompleted() != nil:
			l.add(linksOfWrapper(e.GetChildWorkflowInstanceCompleted().GetResult().GetValue()))
		case e.GetChildWorkflowInstanceFailed() != nil:
			if _, carried := splitFailure(e.GetChildWorkflowInstanceFailed().GetFailureDetails().GetErrorMessage()); carried != nil {
				l.add(carried.Links)
			}
		case e.GetExecutionStarted() != nil:
			l.add(linksOfWrapper(e.GetExecutionStarted().GetInput().GetValue()))
		}
	}
	return l.links
}

// lineage is what was read of a history that was passed on.
type lineage struct {
	links  []Link
	known  map[string]bool
	memory *linkpack.Memory
	size   int // of all that was read
}

func (l *lineage) add(found []Link) {
	for _, link := range found {
		l.size += link.size()
		if !l.known[link.Digest] {
			l.known[link.Digest] = true
			l.links = append(l.links, link)
		}
	}
}

// linksOfResult reads the links of a result, and remembers them for those that come after.
func linksOfResult(text string, memory *linkpack.Memory) []Link {
	if !strings.HasPrefix(text, `{"custody":`) {
		return nil
	}
	var o outcome
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return nil // It is the result of somebody else's activity.
	}
	links, packed, err := readLinks(o.Kept, memory)
	if err != nil {
		return nil
	}
	if packed != nil {
		memory.Learn(packed)
	}
	return links
}

func linksOfWrapper(text string) []Link {
	carried, _, err := unwrap(json.RawMessage(text))
	if err != nil || carried == nil {
		return nil // It is somebody else's value.
	}
	return carried.Links
}
