// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package redact

import (
	"slices"
	"strings"
)

// binary takes out what cannot be looked into: a content item of type image or audio becomes one of type text, and the
// blob of a resource becomes text. It reports whether nothing of the object is left to look at. Names and types count
// in any case, because some readers take them so.
func (a *applier) binary(n *node) bool {
	if a.plan.pass || len(a.plan.detectors) == 0 {
		return false
	}
	if isMedia(n) {
		text := node{kind: '"', text: "text", name: "type"}
		stub := node{kind: '"', text: forBinary, name: "text"}
		*n = node{kind: '{', kids: []node{text, stub}, name: n.name, rawName: n.rawName}
		a.count(countBinary)
		return true
	}
	for i := range n.kids {
		if n.kids[i].kind != '"' || !strings.EqualFold(n.kids[i].name, "blob") {
			continue
		}
		a.count(countBinary)
		if slices.ContainsFunc(n.kids, func(kid node) bool { return kid.name == "text" }) {
			n.kids = slices.Delete(n.kids, i, i+1)
			return a.binary(n)
		}
		n.kids[i].rename("text")
		n.kids[i].set(forBinary)
		return a.binary(n)
	}
	return false
}

// isMedia says whether an object is a content item of type image or audio.
func isMedia(n *node) bool {
	is, has := false, false
	for i := range n.kids {
		kid := &n.kids[i]
		switch {
		case strings.EqualFold(kid.name, "type"):
			is = is || strings.EqualFold(kid.text, "image") || strings.EqualFold(kid.text, "audio")
		case strings.EqualFold(kid.name, "data"):
			has = has || kid.kind == '"'
		}
	}
	return is && has
}
