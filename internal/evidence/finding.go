// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package evidence

import (
	"fmt"
	"strings"
)

// Finding is one thing that is wrong, and where.
type Finding struct {
	// Source is the folder of the journal, or the name of the file.
	Source string `json:"source"`
	// Segment, Offset and Seq name the record in a journal. Segment is empty for a file.
	Segment string `json:"segment,omitempty"`
	Offset  int64  `json:"offset"`
	Seq     uint64 `json:"seq,omitempty"`
	// Line is the line of a file, from 1; 0 for a journal, and where the whole file is one envelope.
	Line int `json:"line,omitempty"`
	// ID is that of the receipt or intent, as far as it is known.
	ID     string `json:"id,omitempty"`
	Reason string `json:"reason"`
}

// String gives the finding as one line.
func (f Finding) String() string {
	var b strings.Builder
	b.WriteString(f.Source)
	if f.Line > 0 {
		fmt.Fprintf(&b, ", line %d", f.Line)
	}
	if f.Segment != "" {
		fmt.Fprintf(&b, ", segment %s, offset %d, record %d", f.Segment, f.Offset, f.Seq)
	}
	if f.ID != "" {
		fmt.Fprintf(&b, " (%s)", f.ID)
	}
	return b.String() + ": " + f.Reason
}
