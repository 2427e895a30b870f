// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
)

// callLocal is the method by which one daprd calls the app of another
// (dapr/proto/internals/v1/service_invocation.proto).
const callLocal = "/dapr.proto.internals.v1.ServiceInvocation/CallLocal"

// internalPort calls the server through the port that only other sidecars are
// meant to reach. A nil config means without TLS.
func (p *play) internalPort(config *tls.Config) func(context.Context) (bool, string, error) {
	return func(ctx context.Context) (bool, string, error) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		address := fmt.Sprintf("127.0.0.1:%d", p.stage.App(serverApp).DaprInternalGRPCPort)
		// A port on which nobody listens would also refuse.
		probe, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return false, "", err
		}
		if err := probe.Close(); err != nil {
			return false, "", err
		}
		transport, why := insecure.NewCredentials(), error(nil)
		if config != nil {
			config.InsecureSkipVerify = true // an attacker does not care who the server is
			config.NextProtos = []string{"h2"}
			transport = credentials.NewTLS(config)
			if why = alert(ctx, address, config); why == nil {
				return false, "the TLS handshake succeeded", nil
			}
		}
		err = invoke(ctx, address, transport)
		switch {
		case err == nil:
			return false, "the call succeeded", nil
		case errors.Is(err, context.DeadlineExceeded):
			return false, err.Error(), nil
		}
		return true, cmp.Or(why, err).Error(), nil
	}
}

func invoke(ctx context.Context, address string, transport credentials.TransportCredentials) error {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(transport))
	if err != nil {
		return err
	}
	var reply []byte
	err = conn.Invoke(ctx, callLocal, invokeRequest("mcp", cancelCall), &reply, grpc.ForceCodec(verbatim{}))
	return errors.Join(err, conn.Close())
}

// alert returns what the server says against the client's certificate. With
// TLS 1.3 that comes after the handshake, so it takes a read to see it; a
// server that is content sends its HTTP/2 settings instead.
func alert(ctx context.Context, address string, config *tls.Config) error {
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetReadDeadline(deadline); err != nil {
			return errors.Join(err, conn.Close())
		}
	}
	_, said := conn.Read(make([]byte, 1))
	if err := conn.Close(); said == nil {
		return err
	}
	return said
}

// forgedCertificate: anyone can write a SPIFFE ID into a certificate.
func (p *play) forgedCertificate(ctx context.Context) (bool, string, error) {
	id, err := url.Parse(p.stage.App("fulfilment-agent").SPIFFEID)
	if err != nil {
		return false, "", err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return false, "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().Add(time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs:         []*url.URL{id},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return false, "", err
	}
	own := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return p.internalPort(&tls.Config{
		// Certificates would hold it back, as the server does not ask for this issuer.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil },
	})(ctx)
}

// invokeRequest encodes an InternalInvokeRequest for POST with that body.
func invokeRequest(method, body string) []byte {
	header := func(name, value string) []byte {
		list := field(nil, 1, []byte(value))
		return field(field(nil, 1, []byte(name)), 2, list)
	}
	extension := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 3) // verb: POST
	message := field(nil, 1, []byte(method))
	message = field(message, 2, field(nil, 2, []byte(body))) // data: google.protobuf.Any
	message = field(message, 3, []byte("application/json"))
	message = field(message, 4, extension)

	request := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1) // ver: V1
	request = field(request, 2, header("Accept", "application/json, text/event-stream"))
	request = field(request, 2, header("MCP-Protocol-Version", "2025-06-18"))
	return field(request, 3, message)
}

func field(to []byte, number protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(to, number, protowire.BytesType), value)
}

// verbatim is a gRPC codec for messages that are encoded already.
type verbatim struct{}

func (verbatim) Name() string { return "proto" }

func (verbatim) Marshal(message any) ([]byte, error) {
	encoded, ok := message.([]byte)
	if !ok {
		return nil, fmt.Errorf("cannot send a %T", message)
	}
	return encoded, nil
}

func (verbatim) Unmarshal(data []byte, into any) error {
	to, ok := into.(*[]byte)
	if !ok {
		return fmt.Errorf("cannot receive into a %T", into)
	}
	*to = append([]byte(nil), data...)
	return nil
}
