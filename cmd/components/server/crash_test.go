// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package server_test

import (
	"testing"

	proto "github.com/dapr/dapr/pkg/proto/components/v1"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Requests that daprd never sends, and that components-go-sdk takes apart without a look, fail for who sends them alone.
func TestOddRequestsEndNothing(t *testing.T) {
	r := newRig(t)
	r.start()
	conn := r.dial("custody")
	client := proto.NewStateStoreClient(conn)
	_, err := client.Init(as(t, "bob", "store"), r.sqlite("b"))
	require.NoError(t, err)

	mallory := as(t, "mallory", "store")
	_, err = client.Init(mallory, r.sqlite("m"))
	require.NoError(t, err)
	transact := func(operation *proto.TransactionalStateOperation) error {
		_, err := proto.NewTransactionalStateStoreClient(conn).Transact(mallory, &proto.TransactionalStateRequest{Operations: []*proto.TransactionalStateOperation{operation}})
		return err
	}
	query := func(query *proto.Query) error {
		_, err := proto.NewQueriableStateStoreClient(conn).Query(mallory, &proto.QueryRequest{Query: query})
		return err
	}
	for name, send := range map[string]func() error{
		"no metadata":  func() error { _, err := client.Init(mallory, &proto.InitRequest{}); return err },
		"no operation": func() error { return transact(&proto.TransactionalStateOperation{}) },
		"no query":     func() error { return query(nil) },
		"no page":      func() error { return query(&proto.Query{}) },
	} {
		err := send()
		require.Error(t, err, name)
		require.NotEqual(t, codes.Unavailable, status.Code(err), "%s: the server is gone", name)
		require.NotContains(t, err.Error(), "nil pointer", name)
		_, err = client.Set(as(t, "bob", "store"), &proto.SetRequest{Key: "key", Value: []byte("1")})
		require.NoError(t, err, name)
	}
}
