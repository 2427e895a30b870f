// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package toolcall

import (
	"bytes"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// checkHeaders demands that the headers say what the body says.
func (p *parser) checkHeaders(h *Headers) error {
	if err := p.checkVersion(h); err != nil {
		return err
	}
	if err := p.checkMethod(h); err != nil {
		return err
	}
	if err := p.checkNameHeader(h); err != nil {
		return err
	}
	if err := p.checkSession(h); err != nil {
		return err
	}
	return p.checkParamHeaders(h)
}

func (p *parser) checkVersion(h *Headers) error {
	header, err := single("MCP-Protocol-Version", h.ProtocolVersion)
	if err != nil {
		return err
	}
	if len(h.ProtocolVersion) > 0 && revisionOf(header) == 0 {
		return unsupported(header)
	}
	p.header = header
	switch {
	case p.metaAsked.present() && header == "":
		return invalid(CodeHeaderMismatch, "header MCP-Protocol-Version is missing and _meta asks for %s",
			clip(p.metaAsked.text))
	case p.metaAsked.present() && p.metaAsked.text != header:
		return invalid(CodeHeaderMismatch, "header MCP-Protocol-Version %s is not what _meta asks for, %s", header,
			clip(p.metaAsked.text))
	case header == Version20260728 && p.kind == KindResponse:
		return invalid(CodeInvalidRequest, "a client of %s sends no responses", header)
	case header == Version20260728 && p.kind == KindRequest && !p.metaAsked.present():
		return invalid(CodeInvalidParams, "params._meta.%s is missing", metaVersion)
	}
	switch {
	case p.kind != KindResponse && p.method == methodInitialize:
		p.version = p.asked.text
	case header == "":
		p.version = Version20250326
	default:
		p.version = header
	}
	return nil
}

// unsupported lists what is understood, so that a client can choose again.
func unsupported(version string) error {
	version = version[:min(len(version), 64)]
	data := []byte(`{"supported":["` + Version20260728 + `","` + Version20251125 + `","` + Version20250618 + `","` +
		Version20250326 + `"],"requested":`)
	data, err := jsontext.AppendQuote(data, version)
	if err != nil {
		return err
	}
	return &fault{
		status: 400, code: CodeUnsupportedVersion, data: append(data, '}'),
		reason: "header MCP-Protocol-Version " + clip(version) + " is not a revision that is understood",
	}
}

func (p *parser) checkMethod(h *Headers) error {
	header, err := single("Mcp-Method", h.Method)
	switch {
	case err != nil:
		return err
	case len(h.Method) == 0 && p.header == Version20260728 && p.kind == KindRequest:
		return invalid(CodeHeaderMismatch, "header Mcp-Method is missing")
	case len(h.Method) > 0 && header != p.method:
		return invalid(CodeHeaderMismatch, "header Mcp-Method %s is not the method of the body, %s", clip(header),
			clip(p.method))
	}
	return nil
}

func (p *parser) checkNameHeader(h *Headers) error {
	header, err := single("Mcp-Name", h.Name)
	if err != nil {
		return err
	}
	if len(h.Name) == 0 {
		if p.header == Version20260728 && p.kind == KindRequest && nameHeaderRequired(p.method) {
			return invalid(CodeHeaderMismatch, "header Mcp-Name is missing")
		}
		return nil
	}
	if header, err = decodeValue("Mcp-Name", header); err != nil {
		return err
	}
	var f *field
	switch lookup(p.method).names {
	case "name":
		f = &p.nameField
	case "uri":
		f = &p.uri
	case "taskId":
		f = &p.taskID
	}
	if f == nil || f.kind != '"' {
		return invalid(CodeHeaderMismatch, "header Mcp-Name %s names nothing in the body", clip(header))
	}
	if header != f.text {
		return invalid(CodeHeaderMismatch, "header Mcp-Name %s is not the name in the body, %s", clip(header),
			clip(f.text))
	}
	return nil
}

func nameHeaderRequired(method string) bool {
	return method == methodToolsCall || method == methodResourcesRead || method == methodPromptsGet
}

func (p *parser) checkSession(h *Headers) error {
	session, err := single("Mcp-Session-Id", h.SessionID)
	if err != nil {
		return err
	}
	switch {
	case len(h.SessionID) > 0 && session == "":
		return invalid(CodeInvalidRequest, "header Mcp-Session-Id is empty")
	case len(session) > p.lim.NameBytes:
		return invalid(CodeInvalidRequest, "header Mcp-Session-Id has more than %d bytes", p.lim.NameBytes)
	case strings.ContainsAny(session, " \t"):
		return invalid(CodeInvalidRequest, "header Mcp-Session-Id holds a space")
	}
	p.session = session
	return nil
}

// checkParamHeaders refuses a header that mirrors no argument, whatever the schema of the tool may say. The arguments
// are walked once, however many headers there are.
func (p *parser) checkParamHeaders(h *Headers) error {
	if len(h.Params) == 0 {
		return nil
	}
	values := make(map[string]string, len(h.Params)) // by header
	found := make(mirror, len(h.Params))
	names := slices.Sorted(maps.Keys(h.Params))
	for _, name := range names {
		value, err := single(clip(name), h.Params[name])
		if err != nil {
			return err
		}
		if value, err = decodeValue(clip(name), value); err != nil {
			return err
		}
		values[name] = value
		found[argument{text: value}] = false
		if n, ok := integer(value); ok {
			found[argument{number: n, isNumber: true}] = false
		}
	}
	if p.arguments.present() {
		if err := found.object(jsontext.NewDecoder(bytes.NewBuffer(p.arguments.raw))); err != nil {
			return err
		}
	}
	for _, name := range names {
		n, isNumber := integer(values[name])
		asNumber := isNumber && found[argument{number: n, isNumber: true}]
		if !asNumber && !found[argument{text: values[name]}] {
			return invalid(CodeHeaderMismatch, "header %s has a value that no argument has", clip(name))
		}
	}
	return nil
}

// argument is a value that a header can mirror: a string or the text of a boolean, or an integer.
type argument struct {
	text     string
	number   int64
	isNumber bool
}

// mirror says of each value that a header has whether an argument has it.
type mirror map[argument]bool

// object reads an object and marks what its members, and those of objects within it, hold. Values within arrays cannot
// be mirrored.
func (m mirror) object(dec *jsontext.Decoder) error {
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != '}' {
		if _, err := dec.ReadToken(); err != nil {
			return err
		}
		var err error
		if dec.PeekKind() == '{' {
			err = m.object(dec)
		} else {
			err = m.value(dec)
		}
		if err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

func (m mirror) value(dec *jsontext.Decoder) error {
	raw, err := dec.ReadValue()
	if err != nil {
		return err
	}
	var a argument
	switch raw.Kind() {
	case '"':
		plain, err := jsontext.AppendUnquote(nil, raw)
		if err != nil {
			return err
		}
		a.text = string(plain)
	case 't', 'f':
		a.text = string(raw)
	case '0':
		if a.number, a.isNumber = integer(string(raw)); !a.isNumber {
			return nil
		}
	default:
		return nil
	}
	if _, wanted := m[a]; wanted {
		m[a] = true
	}
	return nil
}

// integer reads what may be compared as a number: 42.0 is 42, and what a float64 cannot hold exactly is not an integer
// here (MCP 2026-07-28, Schema Extension and Server Validation).
func integer(text string) (int64, bool) {
	const safe = 1<<53 - 1
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f < -safe || f > safe || f != math.Trunc(f) {
		return 0, false
	}
	return int64(f), true
}
