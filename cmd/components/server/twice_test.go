// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package server_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/dapr/components-contrib/state"
	proto "github.com/dapr/dapr/pkg/proto/components/v1"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// late is a store whose first Inits meet tables that somebody else is making.
type late struct {
	state.Store

	code  string
	fails *int
}

func (l *late) Init(ctx context.Context, meta state.Metadata) error {
	if *l.fails > 0 {
		*l.fails--
		return fmt.Errorf("failed to create metadata table: %w", &pgconn.PgError{Code: l.code})
	}
	return l.Store.Init(ctx, meta)
}

func TestTablesThatTwoMakeAtOnce(t *testing.T) {
	for _, test := range []struct {
		name, code string
		fails      int
		want       codes.Code
	}{
		{"the type of the table", "42710", 1, codes.OK},
		{"the table", "42P07", 2, codes.OK},
		{"its name", "23505", 2, codes.OK},
		{"again and again", "42710", 3, codes.FailedPrecondition},
		{"another error", "42501", 1, codes.FailedPrecondition},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			inner, fails := r.options.State, test.fails
			r.options.State = func() state.Store { return &late{Store: inner(), code: test.code, fails: &fails} }
			r.start()
			_, err := proto.NewStateStoreClient(r.dial("custody")).Init(as(t, "alice", "store"), r.sqlite("a"))
			require.Equal(t, test.want, status.Code(err), "%v", err)
			require.Zero(t, fails)
		})
	}
}
