// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sqlguard

import (
	"strings"
	"sync"
)

// cache remembers statements by the exact bytes of their text, in two generations: when the younger is full it becomes
// the older, and the older is forgotten. What is asked for again moves to the younger. A nil cache remembers nothing.
type cache struct {
	limit int // bytes of text in a generation

	mu      sync.RWMutex
	younger map[string]*Statement
	older   map[string]*Statement
	bytes   int
}

func newCache(limit int) *cache {
	return &cache{limit: limit / 2, younger: map[string]*Statement{}}
}

func (c *cache) get(text string) *Statement {
	if c == nil {
		return nil
	}
	c.mu.RLock()
	found, young := c.younger[text]
	if !young {
		found = c.older[text]
	}
	c.mu.RUnlock()
	if found != nil && !young {
		c.put(text, found)
	}
	return found
}

func (c *cache) put(text string, statement *Statement) {
	if c == nil || len(text) > c.limit {
		return
	}
	// The text may be a part of a request that is not to be kept alive.
	text = strings.Clone(text)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.younger[text]; known {
		return
	}
	if c.bytes+len(text) > c.limit {
		c.older, c.younger, c.bytes = c.younger, map[string]*Statement{}, 0
	}
	c.younger[text] = statement
	c.bytes += len(text)
}
