// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// maxParams is the largest text of parameters, in bytes.
const maxParams = 1 << 20

// params are the parameters of a request. Without types they are what Dapr's binding makes of them; one with a type goes to
// the server as text of that type, exactly as it was written.
type params struct {
	text  []byte // the JSON array; empty for none
	args  []any
	raw   []json.RawMessage // where there are types
	types []string          // one for each parameter or none at all; "" for a parameter without
}

// paramTypes are the types that a parameter can be given, by pg_type's names. Each can be an array: "int4[]".
var paramTypes = []string{
	"bool", "int2", "int4", "int8", "float4", "float8", "numeric", "text", "varchar", "bpchar", "bytea", "uuid", "date", "time",
	"timestamp", "timestamptz", "interval", "json", "jsonb", "inet", "cidr", "macaddr",
}

// parseParams reads the metadata "params" and "paramTypes".
func parseParams(text, types string) (params, error) {
	var p params
	if len(text) > maxParams || len(types) > maxParams {
		return p, fmt.Errorf("invalid metadata property %s: more than %d bytes", keyParams, maxParams)
	}
	if text != "" {
		if err := json.Unmarshal([]byte(text), &p.args); err != nil {
			return p, fmt.Errorf("invalid metadata property %s: failed to unserialize into an array: %w", keyParams, err)
		}
	}
	if len(p.args) > 0 {
		p.text = []byte(text)
	}
	if types != "" {
		if err := p.parseTypes(types); err != nil {
			return p, err
		}
	}
	return p, p.exact()
}

func (p *params) parseTypes(text string) error {
	var names []*string
	if err := json.Unmarshal([]byte(text), &names); err != nil {
		return fmt.Errorf("invalid metadata property %s: it must be a JSON array of names of types, or null for a parameter without", keyTypes)
	}
	if len(names) != len(p.args) {
		return fmt.Errorf("invalid metadata property %s: %d types for %d parameters", keyTypes, len(names), len(p.args))
	}
	p.types = make([]string, len(names))
	for i, name := range names {
		if name == nil {
			continue
		}
		element, array := strings.CutSuffix(*name, "[]")
		if !slices.Contains(paramTypes, element) {
			return fmt.Errorf("invalid metadata property %s: %.40q is not one of %s", keyTypes, *name, strings.Join(paramTypes, ", "))
		}
		if p.types[i] = element; array {
			p.types[i] = "_" + element
		}
	}
	if len(p.args) == 0 {
		return nil
	}
	return json.Unmarshal(p.text, &p.raw)
}

// exact refuses numbers that would reach the database as others than they were written, and were judged: without a type
// they go through a float64, as in Dapr's binding.
func (p *params) exact() error {
	d := jsontext.NewDecoder(bytes.NewReader(p.text), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	at := -1
	for {
		kind, depth := d.PeekKind(), d.StackDepth()
		if depth == 1 && kind != ']' {
			at++
		}
		token, err := d.ReadToken()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("invalid metadata property %s: it is not strict JSON", keyParams)
		}
		if token.Kind() == '0' && (p.types == nil || p.types[at] == "") && !survives(token.String()) {
			return fmt.Errorf("invalid metadata property %s: parameter %d holds a number that a float64 does not hold; name its type in %s", keyParams, at+1, keyTypes)
		}
	}
}

// survives reports whether a number is the same when it has been a float64.
func survives(number string) bool {
	const always = 15 // so many digits do
	if len(number) <= always && !strings.ContainsAny(number, "eE") {
		return true
	}
	value, err := strconv.ParseFloat(number, 64)
	if err != nil || len(number) > 400 {
		return false
	}
	if _, exponent, found := strings.Cut(strings.ToLower(number), "e"); found && len(exponent) > 4 {
		return false
	}
	before, ok := new(big.Rat).SetString(number)
	after, okAfter := new(big.Rat).SetString(strconv.FormatFloat(value, 'g', -1, 64))
	return ok && okAfter && before.Cmp(after) == 0
}

// oids are the types by number, as the server wants them. Nil without types.
func (p *params) oids(known *pgtype.Map) ([]uint32, error) {
	if p.types == nil {
		return nil, nil
	}
	oids := make([]uint32, len(p.types))
	for i, name := range p.types {
		if name == "" {
			continue
		}
		found, ok := known.TypeForName(name)
		if !ok {
			return nil, &unfitParamsError{fmt.Sprintf("type %s of parameter %d is not known", name, i+1)}
		}
		oids[i] = found.OID
	}
	return oids, nil
}

// build gives the parameters the form in which the server takes them.
func (p *params) build(known *pgtype.Map, d *pgconn.StatementDescription) (*pgx.ExtendedQueryBuilder, error) {
	if len(d.ParamOIDs) != len(p.args) {
		return nil, &unfitParamsError{fmt.Sprintf("expected %d arguments, got %d", len(d.ParamOIDs), len(p.args))}
	}
	args := p.args
	if p.types != nil {
		args = slices.Clone(args)
		for i, name := range p.types {
			if name != "" {
				args[i] = nil
			}
		}
	}
	built := &pgx.ExtendedQueryBuilder{}
	if err := built.Build(known, d, args); err != nil {
		// The error quotes the value.
		return nil, &unfitParamsError{"a parameter does not fit the type that the statement gives it"}
	}
	for i, name := range p.types {
		if name == "" {
			continue
		}
		text, err := written(p.raw[i], name, maxDimensions)
		if err != nil {
			return nil, &unfitParamsError{fmt.Sprintf("parameter %d: %v", i+1, err)}
		}
		built.ParamValues[i], built.ParamFormats[i] = text, pgx.TextFormatCode
	}
	return built, nil
}

// maxDimensions are those of an array in PostgreSQL (MAXDIM). Each is one more pass over the text.
const maxDimensions = 6

// written is a JSON value as text of a type, nil for null. An array may have so many dimensions.
func written(raw json.RawMessage, name string, dimensions int) ([]byte, error) {
	raw = bytes.TrimSpace(raw)
	element, array := strings.CutPrefix(name, "_")
	switch {
	case string(raw) == "null":
		return nil, nil
	case array && raw[0] == '[' && dimensions == 0:
		return nil, fmt.Errorf("an array has at most %d dimensions", maxDimensions)
	case array && raw[0] == '[':
		return writtenArray(raw, element, dimensions-1)
	case name == "json" || name == "jsonb":
		return raw, nil
	case raw[0] == '"':
		var text string
		err := json.Unmarshal(raw, &text)
		return []byte(text), err
	case raw[0] == '[' || raw[0] == '{':
		return nil, fmt.Errorf("an array or object is no %s", name)
	}
	return raw, nil // a number or boolean stands as it is written
}

// writtenArray is an array as PostgreSQL writes it: {"1","2",NULL}.
func writtenArray(raw json.RawMessage, element string, dimensions int) ([]byte, error) {
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		return nil, err
	}
	text := []byte{'{'}
	for i, item := range items {
		if i > 0 {
			text = append(text, ',')
		}
		name := element
		nested := element != "json" && element != "jsonb" && bytes.HasPrefix(bytes.TrimSpace(item), []byte{'['})
		if nested {
			name = "_" + element
		}
		value, err := written(item, name, dimensions)
		switch {
		case err != nil:
			return nil, err
		case value == nil:
			text = append(text, "NULL"...)
		case nested:
			text = append(text, value...)
		default:
			text = append(appendEscaped(append(text, '"'), value), '"')
		}
	}
	return append(text, '}'), nil
}

func appendEscaped(dst, value []byte) []byte {
	for _, b := range value {
		if b == '"' || b == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, b)
	}
	return dst
}
