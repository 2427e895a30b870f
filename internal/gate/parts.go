// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package gate

import (
	"slices"

	"github.com/dapr-custody/custody/internal/receipt"
)

// maxTouchedBytes bounds the names of what was touched in one receipt: a caller chooses how long its keys are.
const maxTouchedBytes = 64 << 10

// elsewhere says why the parts are not those of the action, "" if they are.
func (a *Ask) elsewhere() string {
	for i := range a.Parts {
		if a.Parts[i].Server != a.Action.Server {
			return "a part of the request is for another server"
		}
	}
	return ""
}

// touched is what the receipt says was touched, each thing once, and how many more there were.
func (a *Ask) touched() (kept []receipt.Touched, more int) {
	bytes := 0
	add := func(t receipt.Touched) {
		switch {
		case slices.Contains(kept, t):
		case len(kept) == receipt.MaxTouched || len(kept) > 0 && bytes+len(t.Name) > maxTouchedBytes:
			more++
		default:
			kept, bytes = append(kept, t), bytes+len(t.Name)
		}
	}
	for _, t := range a.Touched {
		add(t)
	}
	if len(a.Touched) == 0 {
		for _, part := range a.Parts {
			add(receipt.Touched{Kind: part.Kind, Name: part.Name})
		}
	}
	return kept, more
}
