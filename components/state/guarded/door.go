// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package guarded

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/dapr/components-contrib/state"
	"github.com/dapr/components-contrib/state/utils"

	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/identity"
	"github.com/dapr-custody/custody/internal/journal"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/txn"
)

// tokenKey is where the metadata of a request holds a transaction token, in any case.
const tokenKey = "txn-token"

// maxKey is the longest key, in bytes, that is not refused: records have to have room for it.
const maxKey = 4096

// everyKey is the name of an action that names no key.
const everyKey = "*"

// Access has each request decided by policy and recorded. All fields are required.
type Access struct {
	// Gate decides and records.
	Gate *gate.Gate
	// Caller is who makes the request behind the context; the zero Caller is refused.
	Caller func(context.Context) identity.Caller
	// Tokens verify the transaction tokens that callers pass on with requests.
	Tokens *txn.Verifier
	// Metadata gives what is true of a component of the caller, of whose metadata the sidecar says what is given: a
	// sidecar may name any store that this process gets at. An error refuses it.
	Metadata func(caller identity.Caller, component string, said map[string]string) (map[string]string, error)
	// Journal takes anchors, in place of a journal that metadata names.
	Journal *journal.Writer

	// plain says that the app is told errors as the store gives them, so that they may not hold a reason.
	plain bool
}

func (a *Access) check() error {
	if a.Gate == nil || a.Caller == nil || a.Tokens == nil || a.Metadata == nil || a.Journal == nil {
		return errors.New("access: every part is required")
	}
	return nil
}

// request is what a caller wants done, in parts of which all have to be allowed.
type request struct {
	store  *Store
	caller identity.Caller
	app    string // with which the caller's keys begin
	parts  []policy.Action
	tokens []string // as they were sent, an empty one too; the parts of a batch may all carry the same
	odd    string   // why the request is refused whatever policy says
	digest hash.Hash
}

// answer is what came of a request: how large it is, what the receipt vouches for, and the keys that it tells.
type answer struct {
	size   int
	digest hash.Hash
	keys   []string
	kind   string    // as which each key has to be allowed
	errors []*string // what the store says of rows that it could not read
}

// ErrWithheld means that what came of a request may not be told, though it may have been done. The error that wraps it
// names the record.
var ErrWithheld = errors.New("the result is withheld")

func (s *Store) request(ctx context.Context) *request {
	r := &request{store: s, digest: sha256.New()}
	if s.access != nil {
		r.caller = s.access.Caller(ctx)
		r.app = r.caller.AppID()
	}
	return r
}

// name is a key as its app knows it: daprd puts the app's ID before it (Dapr pkg/components/state/state_config.go).
// What stands before the keys of others stays.
func (r *request) name(key string) string {
	if own, is := strings.CutPrefix(key, r.app+separator); is && r.app != "" {
		return own
	}
	return key
}

// add makes something done to a key a part of the request, and gives the metadata that the backend is to see. The value
// counts where it is written.
func (r *request) add(kind, key string, value any, metadata map[string]string) map[string]string {
	if r.store.access == nil {
		return metadata
	}
	name := r.name(key)
	if len(key) > maxKey {
		r.odd = fmt.Sprintf("a key has more than %d bytes", maxKey)
		name = strings.ToValidUTF8(name[:min(len(name), maxKey)], "")
	}
	r.parts = append(r.parts, policy.Action{Kind: kind, Server: r.store.name, Name: name})
	if key == "" {
		r.odd = "a key is empty"
	}
	if !utf8.ValidString(key) {
		r.odd = "a key is not in UTF-8"
	}
	if kind != policy.KindStateGet && kind != policy.KindStateKeys && r.vouchesForOther(key) {
		r.odd = "the history of a workflow is written and deleted by its own app alone"
	}
	for _, text := range []string{kind, key} {
		r.write([]byte(text))
	}
	if kind == policy.KindStateSet {
		r.writeValue(value)
	}
	return r.take(metadata)
}

// writeValue adds the digest of a value as stores write it: bytes as they are, and all else, which Dapr's HTTP API gives, as JSON.
func (r *request) writeValue(value any) {
	written, err := utils.Marshal(value, json.Marshal)
	if err != nil {
		r.odd = "a value is none that could be written"
	}
	sum := sha256.Sum256(written)
	r.write(sum[:])
}

// write adds to the digest in a way that no two requests share.
func (r *request) write(part []byte) {
	r.digest.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
	r.digest.Write(part)
}

// ranging is a pattern of SQL's LIKE as policy writes ranges of keys. Where it cannot say the same it says more.
func ranging(like string) string {
	var keys strings.Builder
	escaped := false
	for _, char := range like {
		switch {
		case !escaped && char == '\\':
			escaped = true
			continue
		case !escaped && (char == '%' || char == '_'):
			char = '*'
		}
		escaped = false
		keys.WriteRune(char)
	}
	return keys.String()
}

// take keeps the transaction token of a request or a part of it, and gives the metadata without it, which is the backend's.
// What was given stays as it is: who asks may ask once more with it, as Dapr does after an error where Resiliency says so.
func (r *request) take(metadata map[string]string) map[string]string {
	rest, named := metadata, 0
	for key, value := range metadata {
		if !strings.EqualFold(key, tokenKey) {
			continue
		}
		if named++; len(r.tokens) < 2 && (named > 1 || !slices.Contains(r.tokens, value)) {
			r.tokens = append(r.tokens, value)
		}
		if named == 1 {
			rest = maps.Clone(metadata)
		}
		delete(rest, key)
	}
	return rest
}

// decide has the request decided, does it, and has what came of it recorded. Without policy it only does it.
func (r *request) decide(call func() (*answer, error)) error {
	access := r.store.access
	if access == nil {
		_, err := call()
		return err
	}
	permit, err := access.Gate.Check(r.ask(access))
	if err != nil {
		return err
	}
	if why := unkept(permit.Obligations()); why != "" {
		return withhold(permit, why, receipt.Outcome{})
	}
	a, failure := call()
	outcome := receipt.Outcome{Status: receipt.StatusOK}
	switch {
	case failure != nil:
		outcome.Status = receipt.StatusFailed
	case a != nil:
		if a.digest != nil {
			a.digest.Sum(outcome.ResponseDigest[:0])
		}
		if why := a.unfit(permit); why != "" {
			return withhold(permit, why, outcome)
		}
		if r.reword(a.errors, permit.Reference()) {
			outcome.Status = receipt.StatusFailed
		}
	}
	if _, err := permit.Settle(outcome); err != nil {
		return errors.Join(err, r.told(failure, permit.Reference()))
	}
	return r.told(failure, permit.Reference())
}

// told is what the caller is told of a failure. What daprd has to know passes: etags, rows that were not there, and that
// nobody waits. The words of a store may name its address, its user or what others keep in it, and are for the log.
func (r *request) told(failure error, reference string) error {
	var (
		etag   *state.ETagError
		rows   *state.BulkDeleteRowMismatchError
		closed *gate.ClosedError
	)
	text := fmt.Sprintf("the store answered with an error (reference %s)", reference)
	switch {
	case failure == nil, errors.As(failure, &closed), errors.Is(failure, state.ErrKeysLikeEmptyPattern):
		return failure
	case errors.Is(failure, context.Canceled):
		return context.Canceled
	case errors.Is(failure, context.DeadlineExceeded):
		return context.DeadlineExceeded
	case errors.As(failure, &etag), errors.As(failure, &rows):
		r.store.log.Debugf("%s: request %s: %v", r.store.name, reference, failure)
		return worded(failure, text)
	}
	r.store.log.Errorf("%s: the backend failed in request %s: %v", r.store.name, reference, failure)
	return errors.New(text)
}

// worded is a failure of which some rows have etags that do not match, or were not there: with the same keys and kinds, and
// the text for all else.
func worded(failure error, text string) error {
	var (
		row  state.BulkStoreError
		etag *state.ETagError
		rows *state.BulkDeleteRowMismatchError
	)
	if several, is := failure.(interface{ Unwrap() []error }); is {
		var all []error
		for _, one := range several.Unwrap() {
			all = append(all, worded(one, text))
		}
		return errors.Join(all...)
	}
	switch {
	case errors.As(failure, &row):
		return state.NewBulkStoreError(row.Key(), worded(row.Unwrap(), text))
	case errors.As(failure, &etag):
		return state.NewETagError(etag.Kind(), nil)
	case errors.As(failure, &rows):
		return rows
	}
	return errors.New(text)
}

// reword puts what the caller is told of a failure in place of what the store says of rows, and reports whether it says
// something. Of many rows the first stands for all in the log.
func (r *request) reword(said []*string, reference string) bool {
	if len(said) == 0 {
		return false
	}
	text := r.told(errors.New(*said[0]), reference).Error()
	for _, row := range said {
		*row = text
	}
	return true
}

func (r *request) ask(access *Access) gate.Ask {
	ask := gate.Ask{Caller: r.caller, Action: policy.Headline(r.parts), Parts: r.parts, Refusal: r.odd}
	r.digest.Sum(ask.Request[:0])
	token, err := access.Tokens.VerifyHeld(r.tokens, r.caller.ID(), r.store.options.Now())
	if err != nil && ask.Refusal == "" {
		ask.Refusal = err.Error()
	}
	ask.Token = token
	return ask
}

// withhold records that a result does not pass, and is what the caller is told.
func withhold(permit *gate.Permit, why string, outcome receipt.Outcome) error {
	outcome.Status, outcome.Reason = receipt.StatusWithheld, why
	_, err := permit.Settle(outcome)
	return errors.Join(err, fmt.Errorf("%w (reference %s)", ErrWithheld, permit.Reference()))
}

// unkept says which obligation this door cannot keep, "" if there is none.
func unkept(o *policy.Obligations) string {
	if o != nil && (o.Redact != nil || o.MaxRows != 0) {
		return "the rule obliges to what is not done to state"
	}
	return ""
}

// unfit says why the answer may not pass, "" if it may.
func (a *answer) unfit(permit *gate.Permit) string {
	if o := permit.Obligations(); o != nil && o.MaxResultBytes > 0 && a.size > o.MaxResultBytes {
		return fmt.Sprintf("the result has %d bytes, the rule allows %d", a.size, o.MaxResultBytes)
	}
	for _, key := range a.keys {
		if !permit.Allows(a.kind, key) {
			return "the result holds a key that the caller may not see"
		}
	}
	return ""
}

// tell adds a key and its value to what is answered.
func (a *answer) tell(key string, value []byte) {
	if a.digest == nil {
		a.digest = sha256.New()
	}
	for _, part := range [][]byte{[]byte(key), value} {
		a.digest.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		a.digest.Write(part)
		a.size += len(part)
	}
}

// row is tell for a row of several, which the store may not have been able to read.
func (a *answer) row(key string, value []byte, failure *string) {
	a.tell(key, value)
	if *failure != "" {
		a.errors = append(a.errors, failure)
	}
}
