// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/dapr-custody/custody/internal/testkit"
)

// raw sends and takes messages that are encoded already.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) ([]byte, error) { return v.([]byte), nil }

func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}

// member is a member of a protobuf message that is bytes, text or a message.
func member(number protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), value)
}

// verbs of dapr.proto.common.v1.HTTPExtension.
const (
	verbGET  = 1
	verbPOST = 3
)

// invokeRequest is a dapr.proto.common.v1.InvokeRequest.
func invokeRequest(method string, verb uint64, body string) []byte {
	extension := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), verb)
	message := member(1, []byte(method))
	message = append(message, member(2, member(2, []byte(body)))...)
	message = append(message, member(3, []byte("application/json"))...)
	return append(message, member(4, extension)...)
}

// toService is a dapr.proto.runtime.v1.InvokeServiceRequest.
func toService(app string, message []byte) []byte {
	return append(member(1, []byte(app)), member(3, message)...)
}

// between is a dapr.proto.internals.v1.InternalInvokeRequest, as sidecars send it
// to one another, with headers of the sender's choice.
func between(message, actor []byte, headers ...string) []byte {
	request := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1)
	for i := 0; i < len(headers); i += 2 {
		entry := append(member(1, []byte(headers[i])), member(2, member(1, []byte(headers[i+1])))...)
		request = append(request, member(2, entry)...)
	}
	request = append(request, member(3, message)...)
	if actor != nil {
		request = append(request, member(4, actor)...)
	}
	return request
}

// The ways of gRPC to the app: service invocation of Dapr's API passes the guard,
// and what proxying reaches is either the guard or closed.
func TestTricksOfGRPC(t *testing.T) {
	m := startMesh(t, meshOptions{mcp: testkit.MCPOptions{JSON: true}})
	echo, reverse := call("echo", "x"), call("reverse", "x")
	const (
		invoke    = "/dapr.proto.runtime.v1.Dapr/InvokeService"
		callLocal = "/dapr.proto.internals.v1.ServiceInvocation/CallLocal"
		callActor = "/dapr.proto.internals.v1.ServiceInvocation/CallActor"
		reminder  = "/dapr.proto.internals.v1.ServiceInvocation/CallActorReminder"
		onInvoke  = "/dapr.proto.runtime.v1.AppCallback/OnInvoke"
		onEvent   = "/dapr.proto.runtime.v1.AppCallback/OnTopicEvent"
	)
	asBob := []string{"Custody-Caller", "spiffe://custody.local/ns/default/bob", "dapr-caller-app-id", "bob", "Dapr-Caller-App-Id", "bob"}
	actor := append(member(1, []byte("x")), member(2, []byte("1"))...)
	toServer := []string{"dapr-app-id", "server"}
	tests := []struct {
		name    string
		sidecar string // whose API
		method  string
		message []byte
		headers []string
		code    codes.Code // OK for what passes, Unknown for any refusal
		reached []string
		records int // what the guard wrote of it
	}{
		{"invoking, allowed", "alice", invoke, toService("server", invokeRequest("mcp", verbPOST, echo)), nil, codes.OK, []string{echo}, 1},
		{"invoking, denied", "alice", invoke, toService("server", invokeRequest("mcp", verbPOST, reverse)), nil, codes.PermissionDenied, nil, 1},
		{"invoking, with bob's name", "alice", invoke, toService("server", invokeRequest("mcp", verbPOST, reverse)), asBob, codes.PermissionDenied, nil, 1},
		{"invoking, allowed, with bob's name", "alice", invoke, toService("server", invokeRequest("mcp", verbPOST, echo)), asBob, codes.OK, []string{echo}, 1},
		{"invoking, with a slash", "alice", invoke, toService("server", invokeRequest("//mcp", verbPOST, reverse)), nil, codes.PermissionDenied, nil, 1},
		{"invoking, by another way", "alice", invoke, toService("server", invokeRequest("x/../mcp", verbPOST, reverse)), nil, codes.PermissionDenied, nil, 1},
		{"invoking, without a verb", "alice", invoke, toService("server", member(1, []byte("mcp"))), nil, codes.Unknown, nil, 0},
		{"invoking, another verb", "alice", invoke, toService("server", invokeRequest("mcp", verbGET, reverse)), nil, codes.Unknown, nil, 0},
		{"invoking, for a stream", "alice", invoke, toService("server", invokeRequest("mcp", verbPOST, echo)), []string{"accept", "text/event-stream"}, codes.Unknown, nil, 1},
		{"invoking, two names", "alice", invoke, toService("server", invokeRequest("mcp", verbPOST, `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","name":"reverse"}}`)), nil, codes.Unknown, nil, 1},
		{"invoking the server by its own sidecar", "server", invoke, toService("server", invokeRequest("mcp", verbPOST, echo)), nil, codes.PermissionDenied, nil, 1},
		{"invoking the server's address by its own sidecar", "server", invoke, toService(fmt.Sprintf("http://127.0.0.1:%d", m.port()), invokeRequest("mcp", verbPOST, echo)), nil, codes.Unknown, nil, 1},
		{"invoking the server's address by another name", "server", invoke, toService(fmt.Sprintf("http://localhost:%d", m.port()), invokeRequest("mcp", verbPOST, echo)), nil, codes.Unknown, nil, 0},

		{"proxying to what sidecars say to one another, allowed", "alice", callLocal, between(invokeRequest("mcp", verbPOST, echo), nil), toServer, codes.OK, []string{echo}, 1},
		{"proxying to it, denied", "alice", callLocal, between(invokeRequest("mcp", verbPOST, reverse), nil, asBob...), toServer, codes.OK, nil, 1},
		{"proxying to it, allowed, with bob's name", "alice", callLocal, between(invokeRequest("mcp", verbPOST, echo), nil, asBob...), toServer, codes.OK, []string{echo}, 1},
		{"proxying to an actor", "alice", callActor, between(invokeRequest("mcp", verbPOST, echo), actor), toServer, codes.Unknown, nil, 0},
		{"proxying to a reminder of an actor", "alice", reminder, append(member(2, []byte("x")), member(3, []byte("1"))...), toServer, codes.Unknown, nil, 0},
		{"proxying to the app", "alice", onInvoke, invokeRequest("mcp", verbPOST, echo), toServer, codes.Unknown, nil, 0},
		{"proxying an event to the app", "alice", onEvent, nil, toServer, codes.Unknown, nil, 0},
		{"proxying to a path of the app", "alice", "/mcp/x", []byte(echo), toServer, codes.Unknown, nil, 0},
		{"proxying to Dapr's API of the server's sidecar", "alice", invoke, toService("server", invokeRequest("mcp", verbPOST, echo)), toServer, codes.OK, []string{echo}, 1},
		{"proxying to the app by its own sidecar", "server", onInvoke, invokeRequest("mcp", verbPOST, echo), toServer, codes.Unknown, nil, 0},
		{"proxying to what sidecars say, by its own", "server", callLocal, between(invokeRequest("mcp", verbPOST, echo), nil), toServer, codes.Unknown, nil, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			client, err := grpc.NewClient(fmt.Sprintf("127.0.0.1:%d", m.app(test.sidecar).DaprGRPCPort), grpc.WithTransportCredentials(insecure.NewCredentials()))
			require.NoError(t, err)
			defer client.Close()
			seen, recorded := len(m.server.Requests()), len(m.journal().Receipts)
			headers := metadata.Pairs("accept", "application/json, text/event-stream")
			for i := 0; i < len(test.headers); i += 2 {
				headers.Set(test.headers[i], test.headers[i+1])
			}
			ctx := metadata.NewOutgoingContext(t.Context(), headers)
			var answer []byte
			err = client.Invoke(ctx, test.method, test.message, &answer, grpc.ForceCodec(raw{}))
			if test.code == codes.Unknown {
				require.Error(t, err)
			} else {
				require.Equal(t, test.code, status.Code(err), err)
			}
			require.Equal(t, test.reached, m.passed(t, seen))
			require.Len(t, m.journal().Receipts, recorded+test.records, err)
		})
	}
}
