// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package toolcall

import "strings"

// Parse reads one message that a client sent by POST and says what it asks for, or refuses it. The body is not kept and
// not changed. Every error is a *[Refusal]. Zero limits are the defaults.
func Parse(h Headers, body []byte, lim Limits) (*Message, error) {
	if err := h.checkMedia(); err != nil {
		return nil, refuse(err, nil)
	}
	p := &parser{scanner: newScanner(body, lim.orRequest())}
	defer p.release()
	err := p.document(body, p.messageMember)
	if err == nil {
		err = p.checkShape()
	}
	if err == nil && p.kind != KindResponse {
		err = p.checkParams()
	}
	if err == nil {
		err = p.checkHeaders(&h)
	}
	if err != nil {
		return nil, refuse(err, p.id)
	}
	return &Message{
		kind: p.kind, method: p.method, name: p.name, version: p.version, session: p.session,
		body: p.out, id: p.id, arguments: p.arguments.raw,
	}, nil
}

// parser keeps of a message what decides over it.
type parser struct {
	*scanner
	id                            []byte
	jsonrpc, params, result, fail field
	methodField                   field
	nameField, uri, taskID        field
	arguments, asked, metaAsked   field
	ref, refType, refName, refURI field

	kind                           Kind
	method, name, version, session string
	header                         string // MCP-Protocol-Version, "" if absent
}

func (p *parser) messageMember(name []byte) error {
	switch string(name) {
	case "jsonrpc":
		return p.keepText(&p.jsonrpc, p.lim.NameBytes)
	case "id":
		return p.readID()
	case "method":
		return p.keepMethod(&p.methodField)
	case "params":
		return p.keep(&p.params, p.paramsMember)
	case "result":
		return p.keep(&p.result, nil)
	case "error":
		return p.keep(&p.fail, nil)
	}
	if err := checkMember(name, messageMembers); err != nil {
		return err
	}
	return p.value()
}

// readID remembers the id only if it is one, since a refusal bears it.
func (p *parser) readID() error {
	var f field
	err := p.keepID(&f)
	if err == nil {
		p.id = f.raw
	}
	return err
}

func (p *parser) paramsMember(name []byte) error {
	switch string(name) {
	case "name":
		return p.keepText(&p.nameField, p.lim.NameBytes)
	case "uri":
		return p.keepText(&p.uri, p.lim.NameBytes)
	case "arguments":
		return p.keep(&p.arguments, nil)
	case "_meta":
		var meta field
		if err := p.keep(&meta, p.metaMember); err != nil {
			return err
		}
		if meta.kind != '{' {
			return invalid(CodeInvalidParams, "params._meta is not an object")
		}
		return nil
	case "taskId":
		return p.keepText(&p.taskID, p.lim.NameBytes)
	case "ref":
		return p.keep(&p.ref, p.refMember)
	case "protocolVersion":
		return p.keepText(&p.asked, p.lim.NameBytes)
	}
	if err := checkMember(name, paramsMembers); err != nil {
		return err
	}
	return p.value()
}

// refMember reads what completion/complete refers to.
func (p *parser) refMember(name []byte) error {
	switch string(name) {
	case "type":
		return p.keepText(&p.refType, p.lim.NameBytes)
	case "name":
		return p.keepText(&p.refName, p.lim.NameBytes)
	case "uri":
		return p.keepText(&p.refURI, p.lim.NameBytes)
	}
	if err := checkMember(name, refMembers); err != nil {
		return err
	}
	return p.value()
}

func (p *parser) metaMember(name []byte) error {
	if string(name) == metaVersion {
		return p.keepText(&p.metaAsked, p.lim.NameBytes)
	}
	if err := checkMember(name, metaMembers); err != nil {
		return err
	}
	return p.value()
}

// checkShape finds out what kind of message it is and demands what JSON-RPC 2.0 and MCP demand of that kind.
func (p *parser) checkShape() error {
	if p.jsonrpc.kind != '"' || p.jsonrpc.text != "2.0" {
		return invalid(CodeInvalidRequest, "jsonrpc is not \"2.0\"")
	}
	if !p.methodField.present() {
		return p.checkResponse()
	}
	switch {
	case p.methodField.kind != '"':
		return invalid(CodeInvalidRequest, "method is not a string")
	case p.result.present() || p.fail.present():
		return invalid(CodeInvalidRequest, "message is both a call and an answer")
	case p.params.present() && p.params.kind != '{':
		return invalid(CodeInvalidRequest, "params is not an object")
	}
	p.method = p.methodField.text
	if err := checkName(CodeInvalidRequest, "method", p.method); err != nil {
		return err
	}
	known, notification := lookup(p.method).in != 0, strings.HasPrefix(p.method, notificationPrefix)
	switch {
	case p.id == nil:
		p.kind = KindNotification
		if known && !notification {
			return invalid(CodeInvalidRequest, "%s is a request and has no id", p.method)
		}
	case p.id[0] == 'n':
		p.id = nil
		return invalid(CodeInvalidRequest, "id of a request is null")
	default:
		p.kind = KindRequest
		if notification {
			return invalid(CodeInvalidRequest, "%s is a notification and has an id", clip(p.method))
		}
	}
	return nil
}

func (p *parser) checkResponse() error {
	p.kind = KindResponse
	switch {
	case p.result.present() == p.fail.present():
		return invalid(CodeInvalidRequest, "message has not exactly one of method, result and error")
	case p.params.present():
		return invalid(CodeInvalidRequest, "response has params")
	case p.result.present() && p.result.kind != '{':
		return invalid(CodeInvalidRequest, "result is not an object")
	case p.fail.present() && p.fail.kind != '{':
		return invalid(CodeInvalidRequest, "error is not an object")
	case p.result.present() && (p.id == nil || p.id[0] == 'n'):
		return invalid(CodeInvalidRequest, "response with a result has no id")
	}
	return nil
}

// checkParams demands of params what the method cannot do without.
func (p *parser) checkParams() error {
	var err error
	switch p.method {
	case methodToolsCall, methodPromptsGet:
		p.name, err = required("params.name", &p.nameField)
		if err == nil && p.arguments.present() && p.arguments.kind != '{' {
			err = invalid(CodeInvalidParams, "params.arguments is not an object")
		}
	case methodResourcesRead, "resources/subscribe", "resources/unsubscribe":
		p.name, err = required("params.uri", &p.uri)
	case "tasks/get", "tasks/cancel", "tasks/result", "tasks/update":
		p.name, err = required("params.taskId", &p.taskID)
	case methodComplete:
		err = p.checkRef()
	case methodInitialize:
		_, err = required("params.protocolVersion", &p.asked)
	}
	if p.arguments.kind != '{' {
		p.arguments = field{}
	}
	if err != nil {
		return p.orRemoved(err)
	}
	if p.metaAsked.present() && p.metaAsked.kind != '"' {
		return invalid(CodeInvalidParams, "params._meta.%s is not a string", metaVersion)
	}
	return nil
}

// checkRef names what completion/complete refers to as policy does: the type of the reference, a space, and the prompt or
// the URI.
func (p *parser) checkRef() error {
	if !p.ref.present() || p.ref.kind != '{' {
		return invalid(CodeInvalidParams, "params.ref is not an object")
	}
	kind, err := required("params.ref.type", &p.refType)
	if err != nil {
		return err
	}
	field, other, what := &p.refName, &p.refURI, "params.ref.name"
	switch kind {
	case "ref/prompt":
	case "ref/resource":
		field, other, what = &p.refURI, &p.refName, "params.ref.uri"
	default:
		return invalid(CodeInvalidParams, "params.ref.type %s is neither ref/prompt nor ref/resource", clip(kind))
	}
	if other.present() {
		return invalid(CodeInvalidParams, "params.ref has both a name and a uri")
	}
	name, err := required(what, field)
	p.name = kind + " " + name
	return err
}

// orRemoved is what is wrong with params, or, where the revision that the client speaks has no such method at all, that:
// it is what the client needs to hear, and what params would have to hold is then not defined.
func (p *parser) orRemoved(err error) error {
	version := p.metaAsked.text
	if revisionOf(version) == 0 || Known(p.method, version) {
		return err
	}
	return &fault{status: 404, code: CodeMethodNotFound, reason: "MCP " + version + " has no method " + clip(p.method)}
}

func required(what string, f *field) (string, error) {
	switch {
	case !f.present():
		return "", invalid(CodeInvalidParams, "%s is missing", what)
	case f.kind != '"':
		return "", invalid(CodeInvalidParams, "%s is not a string", what)
	}
	return f.text, checkName(CodeInvalidParams, what, f.text)
}

// checkName refuses what cannot name anything and what a log or a reader in C would show or read otherwise.
func checkName(code int, what, s string) error {
	if s == "" {
		return invalid(code, "%s is empty", what)
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return invalid(code, "%s %s holds a control character", what, clip(s))
		}
	}
	return nil
}
