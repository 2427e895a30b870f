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
// gave back, and in what a generation was given by the one before.
func propagated(history *workflow.PropagatedHistory) []Link {
	if history == nil {
		return nil
	}
	var links []Link
	known, memory := map[string]bool{}, &linkpack.Memory{}
	add := func(found []Link) {
		for _, link := range found {
			if !known[link.Digest] {
				known[link.Digest] = true
				links = append(links, link)
			}
		}
	}
	for _, e := range history.Events() {
		switch {
		case e.GetTaskCompleted() != nil:
			add(linksOfResult(e.GetTaskCompleted().GetResult().GetValue(), memory))
		case e.GetChildWorkflowInstanceCompleted() != nil:
			add(linksOfWrapper(e.GetChildWorkflowInstanceCompleted().GetResult().GetValue()))
		case e.GetChildWorkflowInstanceFailed() != nil:
			if _, carried := splitFailure(e.GetChildWorkflowInstanceFailed().GetFailureDetails().GetErrorMessage()); carried != nil {
				add(carried.Links)
			}
		case e.GetExecutionStarted() != nil:
			add(linksOfWrapper(e.GetExecutionStarted().GetInput().GetValue()))
		}
	}
	return links
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
