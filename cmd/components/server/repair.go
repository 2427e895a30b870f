// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package server

import (
	"context"
	"fmt"
	"maps"

	"github.com/dapr/components-contrib/state"
	proto "github.com/dapr/dapr/pkg/proto/components/v1"
	"google.golang.org/grpc"
)

// contentTypeKey is where a request's metadata may say what the content type says.
const contentTypeKey = "contentType"

// sent is what a value was sent with, in the order of a request.
type sent struct {
	contentType string // "" for none
	inMetadata  string
	has         bool // inMetadata
}

type sentKey struct{}

// repair keeps values from components-go-sdk (state/v1 toSetRequest), which decodes those that say they are JSON and
// so loses digits of large numbers, and the whole value where it is no JSON. It is told of no content type, and restored
// puts it back.
func repair(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	var values []sent
	switch r := req.(type) {
	case *proto.SetRequest:
		values = []sent{take(r)}
	case *proto.BulkSetRequest:
		for _, item := range r.GetItems() {
			values = append(values, take(item))
		}
	case *proto.TransactionalStateRequest:
		for _, operation := range r.GetOperations() {
			values = append(values, take(operation.GetSet()))
		}
	default:
		return next(ctx, req)
	}
	return next(context.WithValue(ctx, sentKey{}, values), req)
}

func take(r *proto.SetRequest) sent {
	if r == nil {
		return sent{}
	}
	s := sent{contentType: r.GetContentType()}
	r.ContentType = ""
	if s.inMetadata, s.has = r.GetMetadata()[contentTypeKey]; s.has {
		delete(r.Metadata, contentTypeKey)
	}
	return s
}

// restored gives the value of a request what it was sent with. An empty value is one, not none: a store may tell the
// two apart.
func restored(ctx context.Context, req *state.SetRequest, place int) error {
	values, _ := ctx.Value(sentKey{}).([]sent)
	if place >= len(values) {
		return fmt.Errorf("value %d of the request is not known", place)
	}
	if value, ok := req.Value.([]byte); ok && value == nil {
		req.Value = []byte{}
	}
	s := values[place]
	if s.has {
		req.Metadata = maps.Clone(req.Metadata)
		if req.Metadata == nil {
			req.Metadata = map[string]string{}
		}
		req.Metadata[contentTypeKey] = s.inMetadata
		req.ContentType = &s.inMetadata
	}
	if s.contentType != "" && !s.has {
		req.ContentType = &s.contentType
	}
	return nil
}
