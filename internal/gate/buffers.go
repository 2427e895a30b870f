// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package gate

import (
	"sync"

	"github.com/dapr-custody/custody/internal/receipt"
)

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

// receipts keeps receipts for the next one: they are large, and the stack should
// not have to grow for the signature.
type receipts struct{ pool sync.Pool }

func (r *receipts) get() *receipt.Receipt {
	if kept, ok := r.pool.Get().(*receipt.Receipt); ok {
		return kept
	}
	return new(receipt.Receipt)
}

func (r *receipts) put(used *receipt.Receipt) {
	*used = receipt.Receipt{}
	r.pool.Put(used)
}
