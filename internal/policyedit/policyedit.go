// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package policyedit adds rules to the policy files of a folder and takes them
// out. What it guarantees:
//
//   - A change is whole or not made: the new file is written beside the old one,
//     under a name that guards pass over, and takes its place in one step.
//   - Nothing is written that policy.Parse and policy.Compile would not take
//     together with the other files of the folder. A file with a mistake is
//     reported and stays as it is.
//   - Two changes at a time do not lose one another: the folder is locked (flock)
//     while one is made. An edit by another program that falls between reading and
//     writing is noticed and not overwritten.
//   - Outside the rule that is changed a file stays as it is, byte for byte. If
//     the rules stand in brackets, the file is encoded anew: comments and order
//     stay, spacing may not.
//
// A comment directly above a rule belongs to the rule and goes with it. The
// package does not wait for guards, and knows nothing of them.
package policyedit

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/policy"
)

// Change says what Add or Revoke did.
type Change struct {
	// Written is false if there was nothing to do.
	Written bool
	// Policy and Rule name the rule that was added or removed, or that is there already.
	Policy string
	Rule   string
	// File is the path of its file.
	File string
	// PolicyRemoved and FileRemoved say what went with the last rule.
	PolicyRemoved bool
	FileRemoved   bool
	// At is the moment just before the change was put in place; if nothing was
	// written, that of the last change that the file system knows of.
	At time.Time
	// Before and After are the documents of the whole folder.
	Before []policy.Document
	After  []policy.Document
	// Warnings are those of the file that was written.
	Warnings []policy.Warning
}

// Add puts a rule at the end of the first policy of a file, which is made if it is
// not there. file is a name within dir. If a rule in any file of the folder says
// the same already, nothing is written. A rule without a name gets one that tells
// what it does and that no other rule of the folder has.
func Add(dir string, opts policy.CompileOptions, file string, rule Rule) (*Change, error) {
	f, err := open(dir, opts)
	if err != nil {
		return nil, err
	}
	defer f.close()
	if known, where := f.same(rule); known != nil {
		return &Change{
			Policy: policyName(where.document), Rule: ruleName(known), File: where.file.path,
			At: f.changed(), Before: f.documents(), After: f.documents(),
		}, nil
	}
	if rule.Name == "" {
		rule.Name = unique(rule.describe(), f.hasRule)
	}
	old, err := f.file(file)
	if err != nil {
		return nil, err
	}
	node := rule.node()
	change := &Change{Rule: rule.Name}
	var text []byte
	if old == nil {
		change.Policy = unique(plainName(strings.TrimSuffix(strings.TrimSuffix(file, ".yaml"), ".yml")), f.hasPolicy)
		text, err = newFile(change.Policy, node)
		text = append([]byte(f.heading()), text...)
	} else {
		change.Policy = policyName(old.roots[0])
		text, err = appendRule(old, node)
	}
	if err != nil {
		return nil, err
	}
	return change, f.replace(change, old, file, text)
}

// Revoke removes a rule, named RULE or POLICY/RULE. A policy that is left without
// rules is removed, and a file that is left without policies too. The error is a
// *NotFoundError or an *AmbiguousError if the name does not lead to one rule.
func Revoke(dir string, opts policy.CompileOptions, name string) (*Change, error) {
	f, err := open(dir, opts)
	if err != nil {
		return nil, err
	}
	defer f.close()
	at, err := f.find(name)
	if err != nil {
		return nil, err
	}
	rules := ruleList(at.document)
	change := &Change{Policy: policyName(at.document), Rule: ruleName(rules.Content[at.rule])}
	change.PolicyRemoved = len(rules.Content) == 1
	change.FileRemoved = change.PolicyRemoved && len(at.file.roots) == 1
	if change.FileRemoved {
		return change, f.remove(change, at.file)
	}
	var text []byte
	if change.PolicyRemoved {
		text, err = removeDocument(at.file, at.document)
	} else {
		text, err = removeRule(at.file, at.document, at.rule)
	}
	if err != nil {
		return nil, err
	}
	return change, f.replace(change, at.file, at.file.name, text)
}

// Text returns the text of one policy as it stands in its file, comments and all.
func Text(dir string, opts policy.CompileOptions, name string) ([]byte, error) {
	f, err := open(dir, opts)
	if err != nil {
		return nil, err
	}
	defer f.close()
	for _, file := range f.files {
		for _, root := range file.roots {
			if policyName(root) == name {
				return documentText(file.data, root), nil
			}
		}
	}
	return nil, &NotFoundError{What: "policy", Name: name, Dir: dir}
}

// place is where a rule stands.
type place struct {
	file     *file
	document *yaml.Node
	rule     int
}

// each calls visit for every rule of the folder until it returns false.
func (f *folder) each(visit func(place, *yaml.Node) bool) {
	for _, file := range f.files {
		for _, root := range file.roots {
			for i, rule := range ruleList(root).Content {
				if !visit(place{file, root, i}, rule) {
					return
				}
			}
		}
	}
}

func (f *folder) find(name string) (place, error) {
	inPolicy, rule, full := strings.Cut(name, "/")
	if !full {
		rule = name
	}
	var found []place
	var names []string
	f.each(func(at place, node *yaml.Node) bool {
		if ruleName(node) == rule && (!full || policyName(at.document) == inPolicy) {
			found = append(found, at)
			names = append(names, policyName(at.document)+"/"+rule)
		}
		return true
	})
	switch len(found) {
	case 0:
		return place{}, &NotFoundError{What: "rule", Name: name, Dir: f.dir}
	case 1:
		return found[0], nil
	}
	return place{}, &AmbiguousError{Name: name, Candidates: names}
}

// same finds a rule that says what rule says, whatever its name.
func (f *folder) same(rule Rule) (found *yaml.Node, where place) {
	f.each(func(at place, node *yaml.Node) bool {
		if rule.saidBy(node) {
			found, where = node, at
		}
		return found == nil
	})
	return found, where
}

func (f *folder) hasRule(name string) bool {
	has := false
	f.each(func(_ place, node *yaml.Node) bool {
		has = ruleName(node) == name
		return !has
	})
	return has
}

func (f *folder) hasPolicy(name string) bool {
	return slices.ContainsFunc(f.documents(), func(d policy.Document) bool { return d.Name() == name })
}

// unique adds a number to a name that is taken.
func unique(name string, taken func(string) bool) string {
	candidate := name
	for n := 2; taken(candidate); n++ {
		candidate = name + "-" + strconv.Itoa(n)
	}
	return candidate
}

// plainName makes a legal policy name of a file name.
func plainName(name string) string {
	const ends = "abcdefghijklmnopqrstuvwxyz0123456789"
	name = strings.Map(func(r rune) rune {
		if strings.ContainsRune(ends+"-.", r) {
			return r
		}
		return '-'
	}, strings.ToLower(name))
	if name = strings.Trim(name, "-."); name == "" {
		return "rules"
	}
	return name
}

// member returns the value of a key of a mapping, nil if it has none.
func member(n *yaml.Node, key string) *yaml.Node {
	if n == nil {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// What policy.Parse has accepted has these members.
func policyName(root *yaml.Node) string     { return member(member(root, "metadata"), "name").Value }
func ruleList(root *yaml.Node) *yaml.Node   { return member(member(root, "spec"), "rules") }
func ruleName(rule *yaml.Node) string       { return member(rule, "name").Value }
func prefixed(what string, err error) error { return fmt.Errorf("policyedit: %s: %w", what, err) }
