// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package server_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/dapr/components-contrib/state"
	proto "github.com/dapr/dapr/pkg/proto/components/v1"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// broken is a store whose Init says what only the operator is to know.
type broken struct {
	state.Store

	why *error
}

func (b *broken) Init(ctx context.Context, meta state.Metadata) error {
	if *b.why != nil {
		return *b.why
	}
	return b.Store.Init(ctx, meta)
}

var referenceForm = regexp.MustCompile(`\(reference ([0-9a-f-]{36})\)`)

// Whatever is wrong with a store, its caller is told the same: neither what the operator wrote nor which guess at it was
// wrong. The log says it, under the reference.
func TestWhyAStoreIsNotReadyIsForTheLog(t *testing.T) {
	r := newRig(t)
	var why error
	var logged []string
	inner := r.options.State
	r.options.State = func() state.Store { return &broken{Store: inner(), why: &why} }
	r.options.Log = func(format string, args ...any) { logged = append(logged, fmt.Sprintf(format, args...)) }
	r.start()
	client := proto.NewStateStoreClient(r.dial("custody"))
	told := func(code codes.Code, err error) string {
		t.Helper()
		require.Equal(t, code, status.Code(err), "%v", err)
		text := status.Convert(err).Message()
		reference := referenceForm.FindStringSubmatch(text)
		require.NotNil(t, reference, text)
		require.Contains(t, logged[len(logged)-1], reference[1])
		if why != nil {
			require.Contains(t, logged[len(logged)-1], why.Error())
		}
		return strings.Replace(text, reference[1], "R", 1)
	}
	const want = "the component could not be made ready: the log of the component server says why (reference R)"
	for _, each := range []error{
		errors.New(`metadata "connectionString" is not what the component server's file says of this store`),
		errors.New("backend postgresql: cannot connect to host=10.0.0.7 user=carts password=hunter2"),
		status.Error(codes.NotFound, "host=10.0.0.7"),
		fmt.Errorf("backend: %w", context.DeadlineExceeded),
	} {
		why = each
		_, err := client.Init(as(t, "alice", "store"), r.sqlite("a"))
		require.Equal(t, want, told(codes.FailedPrecondition, err))
	}

	// So it is when the server brings a component back by itself.
	why = nil
	_, err := client.Init(as(t, "alice", "store"), r.sqlite("a"))
	require.NoError(t, err)
	r.stop()
	r.start()
	why = errors.New("cannot connect to host=10.0.0.7")
	_, err = client.Get(as(t, "alice", "store"), &proto.GetRequest{Key: "key"}, grpc.WaitForReady(true))
	require.Equal(t, want, told(codes.Unavailable, err))

	// And where the folder of the server does not take what the caller said.
	why = nil
	require.NoError(t, os.RemoveAll(r.options.Instances))
	_, err = client.Init(as(t, "bob", "store"), r.sqlite("b"))
	require.Equal(t, want, told(codes.Unavailable, err))
	require.Contains(t, logged[len(logged)-1], r.options.Instances)
}
