// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// What a chain carries with it into the next generation, and back from a child: the newest links, as many as these
// limits have. The heads are always carried. A guard that has never been shown the links before sees the chain as not
// complete.
const (
	MaxCarriedLinks = 1000
	MaxCarriedBytes = 1 << 20
)

// carryMember is the member that tells a wrapper from any other input.
const carryMember = "custody.dev/chain"

// carry is what of a chain travels between instances and generations.
type carry struct {
	Chain chainName `json:"chain"`
	// Generation is that of the instance that is given the chain.
	Generation uint32 `json:"generation,omitempty"`
	// Child is set for an instance that did not begin the chain, and Parent is then the one that called it.
	Child  bool     `json:"child,omitempty"`
	Parent string   `json:"parent,omitempty"`
	Heads  []string `json:"heads"`
	Links  packed   `json:"links,omitempty"`
	// Inherited says how many of the links the parent has itself.
	Inherited int `json:"inherited,omitempty"`
}

// wrapper is an input or output that a chain travels in.
type wrapper struct {
	Carry *carry          `json:"custody.dev/chain"`
	Value json.RawMessage `json:"value,omitempty"`
}

func (c *carry) wrap(value json.RawMessage) wrapper { return wrapper{Carry: c, Value: value} }

// unwrap gives the chain in a value, if there is one, and what is wrapped.
func unwrap(raw json.RawMessage) (*carry, json.RawMessage, error) {
	if !bytes.HasPrefix(bytes.TrimSpace(raw), []byte(`{"`+carryMember+`":`)) {
		return nil, raw, nil
	}
	var w wrapper
	if err := json.Unmarshal(raw, &w); err != nil {
		return nil, nil, fmt.Errorf("custody: the input bears a chain that cannot be read: %w", err)
	}
	if w.Carry == nil {
		return nil, raw, nil
	}
	w.Carry.bound()
	return w.Carry, w.Value, nil
}

// bound drops links that are more than an instance carries: another app may have written them.
func (c *carry) bound() { c.Links = slices.Clone(newest(c.Links)) }

// newest gives as many of the newest links as are carried.
func newest(links []Link) []Link {
	size, first := 0, len(links)
	for first > 0 && len(links)-first < MaxCarriedLinks {
		if size += links[first-1].size(); size > MaxCarriedBytes {
			break
		}
		first--
	}
	return links[first:len(links):len(links)]
}

// carry is what goes on in another generation of this instance.
func (c *Context) carry(generation uint32) *carry {
	links := newest(c.links)
	return &carry{
		Chain: c.chain, Generation: generation, Child: c.child, Heads: c.Heads(), Links: links,
		Inherited: max(0, c.inherited-(len(c.links)-len(links))),
	}
}

// resume takes over what was carried with that input. A child takes the links of its parent from the history that Dapr
// passed on to it.
func (c *Context) resume(in *carry, input json.RawMessage) error {
	if in.Chain.Instance == "" || in.Chain.Started.IsZero() || (in.Child && in.Chain.App == "") {
		return fmt.Errorf("custody: the input bears a chain without a name")
	}
	c.chain, c.generation, c.child, c.heads = in.Chain, in.Generation, in.Child, in.Heads
	c.links, c.inherited = in.Links, in.Inherited
	switch {
	case !in.Child && in.Chain.Instance != c.ID():
		return fmt.Errorf("custody: the input bears the chain of instance %q, and this is %q", in.Chain.Instance, c.ID())
	case !in.Child && in.Generation == 0:
		return errors.New("custody: the input bears the chain of an instance that begins its own")
	case in.Child:
		if err := c.vouched(in); err != nil {
			return err
		}
	}
	if in.Child && in.Generation == 0 {
		c.links = append(propagated(c.GetPropagatedHistory()), in.Links...)
		c.inherited = len(c.links)
	}
	c.worker.past.add(c.chain, c.links)
	if in.Generation > 0 {
		return c.renew(input)
	}
	return nil
}

// vouched holds what a child is given against the history that Dapr passes on to it: that of its parent and, where it
// continues as new, that of the generation before.
func (c *Context) vouched(in *carry) error {
	from := in.Parent
	if in.Generation > 0 {
		from = c.ID()
	}
	if c.worker.unpropagated || comesFrom(c.GetPropagatedHistory(), from) {
		return nil
	}
	return fmt.Errorf("custody: the input says that this goes on from instance %q, whose history Dapr has not passed on", from)
}
