// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// board is what was said so far.
type board struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *board) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(text)
}

func (b *board) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// A wait that takes long says what for, while it lasts; a short one says nothing.
func TestAwaitTellsWhatForWhenItTakesLong(t *testing.T) {
	t.Parallel()
	s := newSpawner()
	defer s.close()
	p, _ := shell(t, s, "exec sleep 600", nil)
	said := &board{}
	d := &Domain{ctx: t.Context(), opts: Options{Progress: said, ReadyTimeout: time.Minute}}

	require.NoError(t, d.await(p, "answer", func(context.Context) error { return nil }))
	require.Empty(t, said.String())
	require.NoError(t, d.await(p, "listen on port 8000", func(context.Context) error {
		if said.String() == "" {
			return errors.New("not yet")
		}
		return nil
	}))
	require.Equal(t, "script has yet to listen on port 8000; it has 1m0s\n", said.String())
}
