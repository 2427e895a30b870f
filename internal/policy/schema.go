// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
)

// maxSchemaDepth is how deep a schema is looked into. What lies below is taken for
// anything.
const maxSchemaDepth = 32

// What JSON Schema calls the kinds of values. A number that is an integer by its
// value may be written with a fraction, so the two are one.
var schemaKinds = map[string]kinds{
	"null": kindNull, "boolean": kindBool, "integer": kindNumber, "number": kindNumber, "string": kindText,
	"array": kindList, "object": kindObject,
}

var (
	// opening keywords may bring in members that properties does not name.
	opening = []string{"allOf", "anyOf", "oneOf", "if", "patternProperties", "dependentSchemas", "dependencies"}
	// elsewhere keywords say that the schema stands in another place.
	elsewhere = []string{"$ref", "$dynamicRef", "$recursiveRef"}
	// own keywords say what a value is like, beside alternatives.
	own = []string{"type", "enum", "const", "properties", "additionalProperties", "items", "prefixItems"}
)

// readSchema returns the shape of a tool's arguments. A part that is not understood,
// as behind $ref, is taken for anything. JSON Schema lets further members in where
// it says nothing of them; here an object has the members that it names, unless
// additionalProperties says otherwise.
func readSchema(data []byte) (*shape, error) {
	if len(data) > MaxSchemaBytes {
		return nil, fmt.Errorf("it has more than %d bytes", MaxSchemaBytes)
	}
	var root any
	if err := json.Unmarshal(data, &root); err != nil {
		return nil, errors.New("it is not strict JSON")
	}
	object, ok := root.(map[string]any)
	if !ok {
		return nil, errors.New("it is not a JSON object")
	}
	s := shapeOfSchema(object, 1)
	if !s.may(kindObject) {
		return nil, errors.New("its type is not object")
	}
	return &shape{kinds: kindObject, fields: s.fields, extra: s.extra}, nil
}

func shapeOfSchema(value any, depth int) *shape {
	schema, ok := value.(map[string]any)
	if !ok || depth > maxSchemaDepth || has(schema, elsewhere) {
		return anything()
	}
	if s := alternatives(schema, depth); s != nil {
		return s
	}
	s := &shape{kinds: typeKinds(schema["type"])}
	s.fields, s.extra = schemaMembers(schema, depth)
	if items, ok := schema["items"].(map[string]any); ok && !has(schema, []string{"prefixItems"}) {
		s.element = shapeOfSchema(items, depth+1)
	}
	if values, ok := schema["enum"].([]any); ok {
		s.only(values)
	}
	if value, ok := schema["const"]; ok {
		s.only([]any{value})
	}
	return s
}

func has(schema map[string]any, keywords []string) bool {
	for _, keyword := range keywords {
		if _, ok := schema[keyword]; ok {
			return true
		}
	}
	return false
}

// alternatives is the shape of a schema that is nothing but anyOf or oneOf, as
// generators write what may be null; nil for another.
func alternatives(schema map[string]any, depth int) *shape {
	if has(schema, own) || has(schema, []string{"allOf", "if", "patternProperties", "dependentSchemas", "dependencies"}) {
		return nil
	}
	list, ok := schema["anyOf"].([]any)
	if _, both := schema["oneOf"]; ok == both {
		return nil
	}
	if !ok {
		list, _ = schema["oneOf"].([]any)
	}
	s := &shape{}
	for _, each := range list {
		s = either(s, shapeOfSchema(each, depth+1))
	}
	if s.kinds == 0 {
		return nil
	}
	return s
}

func typeKinds(value any) kinds {
	var found kinds
	switch value := value.(type) {
	case string:
		found = schemaKinds[value]
	case []any:
		for _, each := range value {
			name, _ := each.(string)
			if schemaKinds[name] == 0 {
				return kindAny
			}
			found |= schemaKinds[name]
		}
	}
	if found == 0 {
		return kindAny
	}
	return found
}

func schemaMembers(schema map[string]any, depth int) (fields map[string]*shape, extra *shape) {
	properties, named := schema["properties"].(map[string]any)
	further, said := schema["additionalProperties"]
	if !named && (!said || further == true) {
		return nil, nil
	}
	fields = make(map[string]*shape, len(properties))
	for name, property := range properties {
		fields[name] = shapeOfSchema(property, depth+1)
	}
	unevaluated, left := schema["unevaluatedProperties"]
	switch {
	case has(schema, opening), left && unevaluated != false:
		extra = anything()
	case said && further != false:
		extra = shapeOfSchema(further, depth+1)
	}
	return fields, extra
}

// only narrows the shape to what the listed values are.
func (s *shape) only(values []any) {
	var listed kinds
	texts := []string{}
	for _, value := range values {
		switch value := value.(type) {
		case nil:
			listed |= kindNull
		case bool:
			listed |= kindBool
		case float64:
			listed |= kindNumber
		case string:
			listed |= kindText
			texts = append(texts, value)
		case []any:
			listed |= kindList
		case map[string]any:
			listed |= kindObject
		}
	}
	// A schema that contradicts itself says nothing.
	if s.kinds&listed == 0 {
		s.kinds = kindAny
		return
	}
	s.kinds &= listed
	if listed&kindText != 0 {
		s.texts = texts
	}
}
