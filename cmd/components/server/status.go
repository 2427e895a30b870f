// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package server

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/dapr/components-contrib/state"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"

	"github.com/dapr-custody/custody/internal/gate"
)

// inStatus gives errors the form by which daprd knows them (Dapr pkg/components/state/pluggable.go). What policy refuses
// is said in one sentence with the reference; why is in the record.
func inStatus(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	resp, err := next(ctx, req)
	if err != nil {
		return nil, statusOf(err)
	}
	return resp, nil
}

func statusOf(err error) error {
	var (
		denied *gate.DeniedError
		closed *gate.ClosedError
		etag   *state.ETagError
		rows   *state.BulkDeleteRowMismatchError
	)
	switch {
	case errors.As(err, &denied):
		return status.Errorf(codes.PermissionDenied, "policy denied this (reference %s)", denied.Reference)
	case errors.As(err, &closed):
		return status.Errorf(codes.Unavailable, "this could not be decided and recorded (reference %s)", closed.Reference)
	case errors.As(err, &etag):
		code := codes.FailedPrecondition
		if etag.Kind() == state.ETagInvalid {
			code = codes.InvalidArgument
		}
		return detailed(code, err, &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
			{Field: "etag", Description: etag.Error()},
		}})
	case errors.As(err, &rows):
		return mismatch(rows)
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, err.Error())
	}
	if s, ok := status.FromError(err); ok {
		return s.Err()
	}
	return status.Error(codes.Unknown, err.Error())
}

// mismatch tells how many rows were deleted, which the error gives as text alone.
func mismatch(err *state.BulkDeleteRowMismatchError) error {
	var affected, expected uint64
	if _, failed := fmt.Sscanf(err.Error(), "delete affected only %d rows, expected %d", &affected, &expected); failed != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return detailed(codes.Internal, err, &errdetails.ErrorInfo{Metadata: map[string]string{
		"expected": strconv.FormatUint(expected, 10), "affected": strconv.FormatUint(affected, 10),
	}})
}

func detailed(code codes.Code, err error, detail protoadapt.MessageV1) error {
	s, failed := status.New(code, err.Error()).WithDetails(detail)
	if failed != nil {
		return status.Error(code, err.Error())
	}
	return s.Err()
}
