// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package gate

import "sync"

// buffers keeps the memory in which records are made, for the next one: the
// journal takes a copy.
type buffers struct{ pool sync.Pool }

func (b *buffers) get() *[]byte {
	if buffer, ok := b.pool.Get().(*[]byte); ok {
		return buffer
	}
	buffer := make([]byte, 0, 4096)
	return &buffer
}

func (b *buffers) put(buffer *[]byte) { b.pool.Put(buffer) }
