// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// tokenLifetime is how long a token is good; it is replaced at half of it.
const tokenLifetime = time.Hour

// issuer signs the tokens with which the processes of a run prove to Sentry
// that a SPIFFE ID is theirs. It keeps its key, the key set for Sentry and the
// tokens in three folders that only the user can enter.
//
// All processes of a run belong to one user, so the user's other programs could
// read the tokens. Against those a token proves nothing.
type issuer struct {
	signer   jose.Signer
	audience string
	dir      string // of the token files
	now      func() time.Time

	mu     sync.Mutex
	tokens map[string]spiffeid.ID // file name -> subject
}

// newIssuer makes a key in dir/issuer and publishes it in dir/jwks/jwks.json.
func newIssuer(dir string, audience spiffeid.ID, now func() time.Time) (*issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("issuer key: %w", err)
	}
	public := jose.JSONWebKey{Key: key.Public(), Algorithm: string(jose.ES256), Use: "sig"}
	thumbprint, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("issuer key: %w", err)
	}
	public.KeyID = fmt.Sprintf("%x", thumbprint[:16])
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: public.KeyID}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("issuer key: %w", err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{public}})
	if err != nil {
		return nil, fmt.Errorf("issuer key set: %w", err)
	}
	i := &issuer{
		signer: signer, audience: audience.String(), dir: filepath.Join(dir, "tokens"),
		now: now, tokens: map[string]spiffeid.ID{},
	}
	for _, folder := range []string{"issuer", "jwks", "tokens"} {
		if err = os.MkdirAll(filepath.Join(dir, folder), 0o700); err != nil {
			return nil, fmt.Errorf("issuer: %w", err)
		}
	}
	// The key set has a folder of its own because Sentry watches the folder.
	return i, errors.Join(
		writeFile(filepath.Join(dir, "issuer", "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		writeFile(filepath.Join(dir, "jwks", "jwks.json"), set))
}

// issue writes a token for id and gives the path of its file, which is kept
// fresh as long as keepFresh runs. name MUST be unique in the run.
func (i *issuer) issue(name string, id spiffeid.ID) (string, error) {
	if err := i.write(name, id); err != nil {
		return "", err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.tokens[name] = id
	return i.path(name), nil
}

func (i *issuer) path(name string) string { return filepath.Join(i.dir, name+".jwt") }

func (i *issuer) write(name string, id spiffeid.ID) error {
	token, err := i.token(id)
	if err != nil {
		return err
	}
	return writeFile(i.path(name), []byte(token))
}

// token is what Sentry's jwks validator wants: sub is the SPIFFE ID that is
// asked for, aud that of Sentry.
func (i *issuer) token(id spiffeid.ID) (string, error) {
	now := i.now()
	token, err := jwt.Signed(i.signer).Claims(jwt.Claims{
		Subject:   id.String(),
		Audience:  jwt.Audience{i.audience},
		IssuedAt:  jwt.NewNumericDate(now),
		NotBefore: jwt.NewNumericDate(now),
		Expiry:    jwt.NewNumericDate(now.Add(tokenLifetime)),
	}).Serialize()
	if err != nil {
		return "", fmt.Errorf("sign token of %s: %w", id, err)
	}
	return token, nil
}

// refresh writes every token anew.
func (i *issuer) refresh() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	var errs []error
	for name, id := range i.tokens {
		errs = append(errs, i.write(name, id))
	}
	return errors.Join(errs...)
}

// keepFresh replaces the tokens at half their life until the context ends. A
// failure is told and tried again a minute later: the old tokens are still
// good for half an hour then.
func (i *issuer) keepFresh(ctx context.Context, told func(error)) {
	wait := tokenLifetime / 2
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		wait = tokenLifetime / 2
		if err := i.refresh(); err != nil {
			told(err)
			wait = time.Minute
		}
	}
}
