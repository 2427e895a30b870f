// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/dapr-custody/custody/internal/identity"
)

// Facts are what conditions may ask about a request beside its caller and action.
// What is not known stays zero; the fields say what a condition then gets.
type Facts struct {
	// Context ends evaluation early, as an error, when nobody waits any more. It
	// may be nil.
	Context context.Context
	// Arguments is the JSON object of a tool call's arguments, `args`. Empty means
	// that there are none, which is an empty map. What is no JSON object with
	// distinct names is an error wherever a condition uses it.
	Arguments []byte
	// ArgumentsDigest is that of Arguments, `action.digest`; zero for none.
	ArgumentsDigest Digest
	// Now is the time of the decision, `now`; zero is an error where it is used.
	Now time.Time
	// Proof is how the caller was proven, `caller.proof`; empty is an error where it is used.
	Proof string
	// IP is the address at the other end of the connection, `request.ip`; the zero
	// Addr is an error where it is used.
	IP netip.Addr
	// TraceID is what the caller says its trace is, `request.traceID`, "" for none.
	TraceID string
	// Passed tells how many calls of a tool were passed on before this one for steps
	// of the same chain, `chain.passed`, by who decides and whatever this call
	// continues. Nil, as outside a workflow, is an error where it is used, and so is
	// the error that it gives.
	Passed func(tool string) (int, error)
	// Session is the session of the protocol, `session.id`, "" for none.
	Session string
	// Past is what happened before in the workflow, `chain`. Nil is a request
	// outside any: nothing is had, and the chain is not complete.
	Past Past
	// SQL is the statement that the request is, `params` and `sql`. Nil is a request that
	// is none: using them is an error.
	SQL *Statement
	// Actor is on whose behalf the request is made, `actor` and `actors`. Nil is a
	// request without a token: both are empty.
	Actor *Actor
}

// What goes wrong with a condition by itself. The texts go into reasons.
var (
	errArguments = errors.New("the arguments are not a JSON object")
	errInexact   = errors.New("a number is too large or too long to be compared exactly")
	errNoNow     = errors.New("the time is not known")
	errNoProof   = errors.New("the caller's proof is not known")
	errNoIP      = errors.New("the caller's address is not known")
	errNoPassed  = errors.New("how many calls were passed on before is not known")
	errOddURI    = errors.New("the URI of the resource is not in plain form")
	errTemplate  = errors.New("a URI template stands for many resources")
	errParams    = errors.New("the parameters are not a JSON array")
	errManyKeys  = errors.New("the request is about many keys")
	// errNoStatement is for a request that is no SQL.
	errNoStatement = errors.New("the statement is not known")
	ownErrors      = []error{
		errArguments, errInexact, errNoNow, errNoProof, errNoIP, errNoPassed, errOddURI, errTemplate,
		errParams, errManyKeys, errNoStatement,
	}
)

// variables gives the names of one request their values. The arguments are read
// when the first condition asks for them.
type variables struct {
	request *Request
	facts   Facts
	past    *history
	// read is own, or what the parts of one request share.
	read *readFacts
	own  readFacts
}

// readFacts are the arguments and parameters of a request, once they are read, and what
// its conditions have cost.
type readFacts struct {
	args, params any
	spent        uint64
}

var _ cel.Activation = (*variables)(nil)

func newVariables(r *Request) *variables {
	v := &variables{request: r, read: r.read}
	if v.read == nil {
		v.read = &v.own
	}
	if r.Facts != nil {
		v.facts = *r.Facts
	}
	return v
}

// Parent is there for cel.Activation.
func (v *variables) Parent() cel.Activation { return nil }

// ResolveName gives a name its value, or the error that using it is.
func (v *variables) ResolveName(name string) (any, bool) {
	switch name {
	case "args":
		return v.arguments(), true
	case "now":
		if v.facts.Now.IsZero() {
			return types.WrapErr(errNoNow), true
		}
		return types.Timestamp{Time: v.facts.Now.UTC()}, true
	case "request.ip":
		if !v.facts.IP.IsValid() {
			return types.WrapErr(errNoIP), true
		}
		return types.String(v.facts.IP.Unmap().WithZone("").String()), true
	case "request.traceID":
		return types.String(v.facts.TraceID), true
	case "session.id":
		return types.String(v.facts.Session), true
	}
	if value, ok := v.ofPast(name); ok {
		return value, true
	}
	if value, ok := v.ofAction(name); ok {
		return value, true
	}
	if value, ok := v.ofCaller(name); ok {
		return value, true
	}
	return v.ofData(name)
}

func (v *variables) arguments() any {
	if v.read.args == nil {
		v.read.args = readArguments(v.facts.Arguments)
	}
	return v.read.args
}

func (v *variables) ofAction(name string) (any, bool) {
	action := &v.request.Action
	switch name {
	case "action.kind":
		return types.String(action.Kind), true
	case "action.server":
		return types.String(action.Server), true
	case nameDigest:
		return v.digest(), true
	case FactTool:
		return nameOf(action, groupTools), true
	case FactPrompt:
		return nameOf(action, groupPrompts), true
	case FactResource:
		return nameOf(action, groupResources), true
	}
	return nil, false
}

// nameOf returns what the action names if it is of the group, the empty text if it
// is of another one. A server may take a URI that is not in plain form for another,
// and a template makes many: comparing their text would say nothing of what is
// reached, so they are errors.
func nameOf(action *Action, g group) ref.Val {
	q, ok := action.question()
	switch {
	case !ok || q.group != g:
		return types.String("")
	case q.form == asOddURI:
		return types.WrapErr(errOddURI)
	case q.form == asTemplate:
		return types.WrapErr(errTemplate)
	}
	return types.String(q.name)
}

func (v *variables) ofCaller(name string) (any, bool) {
	id := v.request.Caller
	switch name {
	case "caller.spiffeID":
		return types.String(id.String()), true
	case "caller.trustDomain":
		return types.String(id.TrustDomain().Name()), true
	case "caller.namespace":
		namespace, _, _ := identity.App(id)
		return types.String(namespace), true
	case "caller.appID":
		_, app, _ := identity.App(id)
		return types.String(app), true
	case "caller.proof":
		if v.facts.Proof == "" {
			return types.WrapErr(errNoProof), true
		}
		return types.String(v.facts.Proof), true
	}
	return nil, false
}

// valueList and valueMap are a list and an object of the arguments, with the
// weight of all that is in them.
type valueList struct {
	traits.Lister
	weight uint64
}

type valueMap struct {
	traits.Mapper
	weight uint64
}

// readArguments returns the arguments as CEL values, or the error that stands for
// them. One number that cannot be compared exactly makes them an error as a whole,
// for there is no value for it that every comparison would take right.
func readArguments(text []byte) any {
	if len(text) == 0 {
		return types.NewStringInterfaceMap(types.DefaultTypeAdapter, nil)
	}
	return readJSON(text, '{', errArguments)
}

// readJSON reads a text that is one object or list. wrong is what it is otherwise.
func readJSON(text []byte, kind jsontext.Kind, wrong error) any {
	d := jsontext.NewDecoder(bytes.NewReader(text))
	if d.PeekKind() != kind {
		return types.WrapErr(wrong)
	}
	v, err := readValue(d)
	if errors.Is(err, errInexact) {
		return types.WrapErr(errInexact)
	}
	// Nothing may follow.
	if err != nil || d.PeekKind() != 0 || d.InputOffset() != int64(len(bytes.TrimRight(text, " \t\r\n"))) {
		return types.WrapErr(wrong)
	}
	return v
}

func readValue(d *jsontext.Decoder) (ref.Val, error) {
	switch d.PeekKind() {
	case '{':
		return readObject(d)
	case '[':
		return readArray(d)
	}
	token, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case '"':
		return types.String(token.String()), nil
	case '0':
		return readNumber(token.String())
	case 't', 'f':
		return types.Bool(token.Bool()), nil
	default:
		return types.NullValue, nil
	}
}

func readObject(d *jsontext.Decoder) (ref.Val, error) {
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	members, sum := map[string]any{}, uint64(1)
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		key := name.String()
		value, err := readValue(d)
		if err != nil {
			return nil, err
		}
		members[key] = value
		sum += weight(types.String(key)) + weight(value)
	}
	_, err := d.ReadToken()
	return valueMap{Mapper: types.NewStringInterfaceMap(types.DefaultTypeAdapter, members), weight: sum}, err
}

func readArray(d *jsontext.Decoder) (ref.Val, error) {
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	values, sum := []ref.Val{}, uint64(1)
	for d.PeekKind() != ']' {
		value, err := readValue(d)
		if err != nil {
			return nil, err
		}
		values = append(values, value)
		sum += weight(value)
	}
	_, err := d.ReadToken()
	return valueList{Lister: types.NewRefValList(types.DefaultTypeAdapter, values), weight: sum}, err
}
