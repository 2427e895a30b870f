// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package toolcall

// madeTask is the ID of the task that a result says it made.
func (r *answerReader) madeTask() string {
	if r.newTask.kind == '"' {
		return r.newTask.text
	}
	if r.task.kind == '"' && r.resultType.text == "task" {
		return r.task.text
	}
	return ""
}

// taskMember reads result.task.
func (r *answerReader) taskMember(name []byte) error {
	if string(name) == "taskId" {
		return r.keepText(&r.newTask, r.lim.NameBytes)
	}
	return r.value()
}

// paramsMember reads of the params of a server's message what decides whether it may pass.
func (r *answerReader) paramsMember(name []byte) error {
	switch string(name) {
	case "uri":
		return r.keepText(&r.about, r.lim.NameBytes)
	case "taskId":
		return r.keepText(&r.aboutTask, r.lim.NameBytes)
	case "inputRequests":
		return r.inputRequests()
	}
	if err := checkMember(name, aboutMembers); err != nil {
		return err
	}
	return r.value()
}

// inputRequests reads an object whose members are requests to the client, or null. What is not such an object, and a
// request without a method, is an error, since nobody can tell what a client makes of it.
func (r *answerReader) inputRequests() error {
	switch r.dec.PeekKind() {
	case 'n':
		return r.value()
	case '{':
	default:
		if err := r.value(); err != nil {
			return err
		}
		return invalid(CodeInternalError, "inputRequests is not an object")
	}
	return r.object(func([]byte) error {
		var request, method field
		err := r.keep(&request, func(name []byte) error {
			if string(name) == "method" {
				return r.keepMethod(&method)
			}
			if err := checkMember(name, inputMembers); err != nil {
				return err
			}
			return r.value()
		})
		if err != nil {
			return err
		}
		asked, err := required("method of an input request", &method)
		r.asks = append(r.asks, asked)
		return err
	})
}
