// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"encoding/base64"
	"fmt"
	"math/big"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dapr/durabletask-go/api/protos"
	"github.com/dapr/durabletask-go/backend/historysigning"
	"github.com/dapr/kit/crypto/spiffe/signer"
	"github.com/google/uuid"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	_ "modernc.org/sqlite" // the stores of the workflows, to tamper with
)

// stored are the rows of one instance, by their names.
type stored map[string][]byte

func (r stored) clone() stored {
	c := stored{}
	for name, value := range r {
		c[name] = bytes.Clone(value)
	}
	return c
}

func (r stored) count(prefix string) int {
	n := 0
	for name := range r {
		if strings.HasPrefix(name, prefix+"-") {
			n++
		}
	}
	return n
}

func numbered(prefix string, i int) string { return fmt.Sprintf("%s-%06d", prefix, i) }

// last is the name of the last row with that prefix.
func (r stored) last(prefix string) string { return numbered(prefix, r.count(prefix)-1) }

func (r stored) read(t *testing.T, name string, m proto.Message) {
	t.Helper()
	require.NoError(t, proto.Unmarshal(r[name], m))
}

func (r stored) write(t *testing.T, name string, m proto.Message) {
	t.Helper()
	var err error
	r[name], err = proto.Marshal(m)
	require.NoError(t, err)
}

// recount makes the counts in the metadata fit the rows.
func (r stored) recount(t *testing.T) {
	t.Helper()
	md := &protos.BackendWorkflowStateMetadata{}
	r.read(t, "metadata", md)
	md.HistoryLength, md.SignatureLength = uint64(r.count("history")), uint64(r.count("signature"))
	md.SigningCertificateLength, md.ExternalSigningCertificateLength = uint64(r.count("sigcert")), uint64(r.count("ext-sigcert"))
	r.write(t, "metadata", md)
}

// flip changes a bit of the result of the first activity.
func (r stored) flip(t *testing.T) {
	t.Helper()
	for i := range r.count("history") {
		e := &protos.HistoryEvent{}
		name := numbered("history", i)
		if r.read(t, name, e); e.GetTaskCompleted() != nil {
			at := bytes.LastIndex(r[name], []byte("clean"))
			require.Positive(t, at)
			r[name][at] ^= 1
			return
		}
	}
	require.Fail(t, "no activity has a result")
}

// truncate cuts off what the last signature is over, and the signature.
func (r stored) truncate(t *testing.T) {
	t.Helper()
	s := &protos.HistorySignature{}
	r.read(t, r.last("signature"), s)
	delete(r, r.last("signature"))
	for range s.GetEventCount() {
		delete(r, r.last("history"))
	}
	r.recount(t)
}

// mark appends the mark with which Dapr says that it has found tampering.
func (r stored) mark(t *testing.T) {
	t.Helper()
	r.write(t, numbered("history", r.count("history")), &protos.HistoryEvent{
		EventId: -1, Timestamp: timestamppb.Now(),
		EventType: &protos.HistoryEvent_ExecutionCompleted{ExecutionCompleted: &protos.ExecutionCompletedEvent{
			WorkflowStatus: protos.OrchestrationStatus_ORCHESTRATION_STATUS_FAILED,
			FailureDetails: &protos.TaskFailureDetails{ErrorType: "DAPR_WORKFLOW_HISTORY_TAMPERED"},
		}},
	})
	r.recount(t)
}

// unsign removes everything that was signed with.
func (r stored) unsign(t *testing.T) {
	t.Helper()
	for name := range r {
		if strings.HasPrefix(name, "signature-") || strings.HasPrefix(name, "sigcert-") || strings.HasPrefix(name, "ext-sigcert-") {
			delete(r, name)
		}
	}
	r.recount(t)
}

// forge changes what came with the first event, and signs the history anew with a key that was good until then.
func (r stored) forge(t *testing.T, stolen func(until time.Time) *x509svid.SVID) {
	t.Helper()
	var events [][]byte
	var at time.Time
	for i := range r.count("history") {
		e := &protos.HistoryEvent{}
		r.read(t, numbered("history", i), e)
		if raised := e.GetEventRaised(); raised != nil {
			raised.Input = wrapperspb.String(`"forged"`)
			raw, err := historysigning.MarshalEvent(e)
			require.NoError(t, err)
			r[numbered("history", i)] = raw
		}
		events, at = append(events, r[numbered("history", i)]), e.GetTimestamp().AsTime()
	}
	for i := range r.count("signature") {
		delete(r, numbered("signature", i))
	}
	for i := range r.count("sigcert") {
		delete(r, numbered("sigcert", i))
	}
	signed, err := historysigning.Sign(signer.New(stolen(at), nil), historysigning.SignOptions{RawEvents: events})
	require.NoError(t, err)
	r["signature-000000"] = signed.RawSignature
	r.write(t, "sigcert-000000", signed.NewCert)
	r.recount(t)
}

// oldKey is a key of the app that Sentry certified until that time, to the second above it.
func (w *workflows) oldKey(app string, until time.Time) *x509svid.SVID {
	w.t.Helper()
	folder := filepath.Join(w.domain.Info().Dir, "sentry")
	issuer, err := tls.LoadX509KeyPair(filepath.Join(folder, "issuer.crt"), filepath.Join(folder, "issuer.key"))
	require.NoError(w.t, err)
	id, err := url.Parse("spiffe://custody.local/ns/default/" + app)
	require.NoError(w.t, err)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(w.t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(7), NotBefore: issuer.Leaf.NotBefore, NotAfter: until.Add(time.Second), URIs: []*url.URL{id},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, issuer.Leaf, public, issuer.PrivateKey)
	require.NoError(w.t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(w.t, err)
	return &x509svid.SVID{
		ID: spiffeid.RequireFromString(id.String()), Certificates: []*x509.Certificate{leaf, issuer.Leaf}, PrivateKey: private,
	}
}

func rowPrefix(app, instance string) string {
	return fmt.Sprintf("%s||dapr.internal.default.%[1]s.workflow||%s||", app, instance)
}

func openStore(t *testing.T, file string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(5000)")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// rowsOf are those of an instance, read behind the back of daprd.
func rowsOf(t *testing.T, db *sql.DB, prefix string) stored {
	t.Helper()
	found, err := db.Query("SELECT key, value FROM state WHERE substr(key, 1, length(?)) = ?", prefix, prefix)
	require.NoError(t, err)
	rows := stored{}
	for found.Next() {
		var key, text string
		require.NoError(t, found.Scan(&key, &text))
		value, err := base64.StdEncoding.DecodeString(text)
		require.NoError(t, err)
		rows[strings.TrimPrefix(key, prefix)] = value
	}
	require.NoError(t, found.Err())
	require.NoError(t, found.Close())
	return rows
}

// replaceRows writes other rows in their place.
func replaceRows(t *testing.T, db *sql.DB, prefix string, rows stored) {
	t.Helper()
	tx, err := db.Begin()
	require.NoError(t, err)
	_, err = tx.Exec("DELETE FROM state WHERE substr(key, 1, length(?)) = ?", prefix, prefix)
	require.NoError(t, err)
	for row, value := range rows {
		_, err = tx.Exec("INSERT INTO state (key, value, is_binary, etag) VALUES (?, ?, 1, ?)", prefix+row,
			base64.StdEncoding.EncodeToString(value), uuid.NewString())
		require.NoError(t, err)
	}
	require.NoError(t, tx.Commit())
}
