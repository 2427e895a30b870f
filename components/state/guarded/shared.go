// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package guarded

import (
	"io"
	"sync"
)

// shared is what is open once, for several who use it. The zero shared holds nothing.
type shared[T io.Closer] struct {
	mu   sync.Mutex
	held map[string]*held[T]
}

type held[T io.Closer] struct {
	value T
	users int
}

// take gives what is open under the key, or opens it. Who takes must call release, which closes it after the last user
// and does nothing when it is called again.
func (s *shared[T]) take(key string, open func() (T, error)) (value T, release func() error, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.held[key]
	if h == nil {
		h = &held[T]{}
		if h.value, err = open(); err != nil {
			return value, nil, err
		}
		if s.held == nil {
			s.held = map[string]*held[T]{}
		}
		s.held[key] = h
	}
	h.users++
	return h.value, sync.OnceValue(func() error { return s.release(key, h) }), nil
}

func (s *shared[T]) release(key string, h *held[T]) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.users--; h.users > 0 {
		return nil
	}
	delete(s.held, key)
	return h.value.Close()
}
