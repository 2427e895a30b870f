// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policyedit

import (
	"errors"
	"fmt"
	"strings"
)

// ErrChangedMeanwhile says that somebody else, an editor perhaps, changed the file
// between reading and writing. Nothing was written.
var ErrChangedMeanwhile = errors.New("the file was changed by another program at the same time, and nothing was written: try again")

// NotFoundError says that the folder holds no rule or policy of that name.
type NotFoundError struct {
	What string // "rule" or "policy"
	Name string
	Dir  string
}

// Error says what was not found, where, and how to see what there is.
func (e *NotFoundError) Error() string {
	return fmt.Sprintf("policyedit: no %s %q in %s: see custody policy list", e.What, e.Name, e.Dir)
}

// AmbiguousError says that several policies have a rule of that name.
type AmbiguousError struct {
	Name string
	// Candidates are POLICY/RULE names.
	Candidates []string
}

// Error lists the full names to choose from.
func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("policyedit: several policies have a rule %q: name one of %s", e.Name, strings.Join(e.Candidates, ", "))
}
