// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"bytes"
	"errors"
	"fmt"
	"maps"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/dapr-custody/custody/internal/manifest"
)

// KindCatalogue is what a file with a Catalogue says of itself.
const KindCatalogue = "ToolCatalogue"

// Limits of a Catalogue.
const (
	// MaxCatalogueBytes is the largest file that ParseCatalogue and ParseToolList read.
	MaxCatalogueBytes = 32 << 20
	// MaxServerTools is the largest number of tools of one server.
	MaxServerTools = 2000
	// MaxServerBytes is the largest size of all schemas of one server together.
	MaxServerBytes = 8 << 20
	// MaxSchemaBytes is the largest input schema.
	MaxSchemaBytes = 128 << 10
)

// Catalogue holds what MCP servers publish of their tools, by the name of the
// server in policies. It is the servers' word: it serves to find mistakes in
// conditions, and no decision depends on it.
type Catalogue map[string]ServerTools

// ServerTools are the tools of one server by name, each with its input schema as
// JSON: null for one that cannot be used.
type ServerTools map[string]jsontext.Value

// noSchema stands for a schema that is missing or too large.
var noSchema = jsontext.Value("null")

// catalogueFile is a Catalogue as it is written.
type catalogueFile struct {
	APIVersion string                     `json:"apiVersion"`
	Kind       string                     `json:"kind"`
	Servers    map[string]catalogueServer `json:"servers"`
}

type catalogueServer struct {
	Tools map[string]catalogueTool `json:"tools"`
}

type catalogueTool struct {
	InputSchema jsontext.Value `json:"inputSchema"`
}

// toolList is the result of tools/list, or the whole answer with it.
type toolList struct {
	Result *toolList    `json:"result"`
	Tools  []listedTool `json:"tools"`
}

type listedTool struct {
	Name        string         `json:"name"`
	InputSchema jsontext.Value `json:"inputSchema"`
}

// ParseCatalogue reads what Encode wrote. A schema within may be of any form: what
// is wrong with it is said by Check.
func ParseCatalogue(data []byte) (Catalogue, error) {
	var file catalogueFile
	if err := readCatalogue(data, &file, json.RejectUnknownMembers(true)); err != nil {
		return nil, err
	}
	if file.APIVersion != APIVersion || file.Kind != KindCatalogue {
		return nil, fmt.Errorf("policy: tool catalogue: it is %.80q of %.80q: want %s of %s",
			file.Kind, file.APIVersion, KindCatalogue, APIVersion)
	}
	c := Catalogue{}
	for server, tools := range file.Servers {
		if server == every || checkServer(server) != nil {
			return nil, fmt.Errorf("policy: tool catalogue: %.80q is no name of a server", server)
		}
		c[server] = ServerTools{}
		for name, tool := range tools.Tools {
			if _, err := c[server].Learn(name, tool.InputSchema); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

// IsCatalogue reports whether data says that it is a Catalogue.
func IsCatalogue(data []byte) bool {
	var head struct {
		Kind string `json:"kind"`
	}
	return len(data) <= MaxCatalogueBytes && json.Unmarshal(data, &head) == nil && head.Kind == KindCatalogue
}

// ParseToolList reads the result of tools/list, or the JSON-RPC answer that holds
// it. Members that it does not know are passed over.
func ParseToolList(data []byte) (ServerTools, error) {
	var list toolList
	if err := readCatalogue(data, &list); err != nil {
		return nil, err
	}
	if list.Result != nil {
		list = *list.Result
	}
	if list.Tools == nil {
		return nil, errors.New("policy: tool catalogue: there is no array tools: want the result of tools/list")
	}
	tools := ServerTools{}
	for _, tool := range list.Tools {
		if _, err := tools.Learn(tool.Name, tool.InputSchema); err != nil {
			return nil, err
		}
	}
	return tools, nil
}

func readCatalogue(data []byte, into any, opts ...json.Options) error {
	if len(data) > MaxCatalogueBytes {
		return fmt.Errorf("policy: tool catalogue: it has %d bytes, the limit is %d", len(data), MaxCatalogueBytes)
	}
	if err := json.Unmarshal(data, into, opts...); err != nil {
		return fmt.Errorf("policy: tool catalogue: %w", err)
	}
	return nil
}

// Encode writes the catalogue as a file, the same for the same content.
func (c Catalogue) Encode() ([]byte, error) {
	file := catalogueFile{APIVersion: APIVersion, Kind: KindCatalogue, Servers: map[string]catalogueServer{}}
	for server, tools := range c {
		into := catalogueServer{Tools: map[string]catalogueTool{}}
		for name, schema := range tools {
			into.Tools[name] = catalogueTool{InputSchema: schema}
		}
		file.Servers[server] = into
	}
	data, err := json.Marshal(file, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("policy: tool catalogue: %w", err)
	}
	return append(data, '\n'), nil
}

// Add takes the tools of other in; of a tool that both have, the schema of other.
func (c Catalogue) Add(other Catalogue) {
	for server, tools := range other {
		if c[server] == nil {
			c[server] = ServerTools{}
		}
		maps.Copy(c[server], tools)
	}
}

// Knows reports whether schema is what is known of the tool already.
func (t ServerTools) Knows(tool string, schema []byte) bool {
	known, ok := t[tool]
	return ok && bytes.Equal(known, fit(schema))
}

// Learn keeps the newest schema of a tool and reports whether that changed
// anything. It copies what it keeps. A schema that is missing or larger than
// MaxSchemaBytes is kept as null. An error means that the tool is not taken: its
// name can be no tool of a rule, or there are too many tools.
func (t ServerTools) Learn(tool string, schema []byte) (changed bool, err error) {
	if t.Knows(tool, schema) {
		return false, nil
	}
	if tool == "" {
		return false, errors.New("policy: tool catalogue: a tool has no name")
	}
	if err := checkText(tool); err != nil {
		return false, fmt.Errorf("policy: tool catalogue: the name of a tool %w", err)
	}
	schema = fit(schema)
	total := len(schema) - len(t[tool])
	for _, known := range t {
		total += len(known)
	}
	if _, known := t[tool]; total > MaxServerBytes || !known && len(t) >= MaxServerTools {
		return false, fmt.Errorf("policy: tool catalogue: tool %s is left out: a server may have %d tools, with schemas of %d bytes together",
			manifest.Shorten(tool), MaxServerTools, MaxServerBytes)
	}
	t[tool] = bytes.Clone(schema)
	return true, nil
}

func fit(schema []byte) []byte {
	if len(schema) == 0 || len(schema) > MaxSchemaBytes {
		return noSchema
	}
	return schema
}
