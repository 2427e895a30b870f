// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

func TestSealGRPC(t *testing.T) {
	serve := func() string {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		server := grpc.NewServer()
		grpc_health_v1.RegisterHealthServer(server, health.NewServer())
		go func() {
			if err := server.Serve(listener); err != nil {
				t.Error(err)
			}
		}()
		t.Cleanup(server.Stop)
		return listener.Addr().String()
	}
	app, other := serve(), serve()
	s := newSeal(sealOptions{App: app})
	s.sealGRPC()
	check := func(target string) error {
		client, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return err
		}
		defer client.Close()
		_, err = grpc_health_v1.NewHealthClient(client).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
		return err
	}
	require.NoError(t, check(app), "no guard is required")
	s.require(true)
	t.Cleanup(func() { s.require(false) })
	require.ErrorContains(t, check(app), errGRPCToApp.Error())
	require.ErrorContains(t, check("passthrough:///"+app), errGRPCToApp.Error())
	require.ErrorContains(t, check("dns:///"+app), errGRPCToApp.Error())
	require.NoError(t, check(other))
	require.NoError(t, check("passthrough:///"+other))
}
