// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody

import (
	"encoding/json"
	"strconv"
	"time"
)

// Orders are written out by hand because each replay of a workflow makes all of them again; a test holds that against
// json.Marshal.

// appendJSON appends what json.Marshal gives. What the order has as JSON has to be json.Marshal's already.
func (o *order) appendJSON(dst []byte) ([]byte, error) {
	dst = o.appendMembers(append(dst, '{'))
	dst = appendOptional(dst, `,"kind":`, o.Kind)
	dst = appendRaw(dst, `,"statement":`, o.Statement)
	if t := o.Target; t != nil {
		dst = appendText(append(dst, `,"target":{"tool":`...), t.Tool)
		dst = appendText(append(dst, `,"app":`...), t.App)
		dst = append(appendOptional(dst, `,"path":`, t.Path), '}')
	}
	dst = appendRaw(dst, `,"arguments":`, o.Arguments)
	dst = appendTrue(dst, `,"repeat":`, o.Repeat)
	dst = appendOptional(dst, `,"pending":`, o.Pending)
	links, _, err := writeLinks(nil, o.Links, nil)
	if err != nil {
		return nil, err
	}
	dst = appendRaw(dst, `,"links":`, links)
	dst = appendTrue(dst, `,"all":`, o.All)
	dst = appendOptional(dst, `,"expect":`, o.Expect)
	dst = appendNumber(dst, `,"as":`, o.As)
	if len(o.Held) > 0 {
		dst = appendTexts(append(dst, `,"held":`...), o.Held)
	}
	dst = appendOptional(dst, `,"after":`, o.After)
	return append(appendTrue(dst, `,"look":`, o.Look), '}'), nil
}

func (a *asked) appendMembers(dst []byte) []byte {
	n, app := &a.Workflow, `"app":`
	dst = append(dst, `"workflow":{"chain":{`...)
	if n.Chain.App != "" {
		dst = append(appendOptional(dst, app, n.Chain.App), ',')
	}
	dst = appendText(append(dst, `"instance":`...), n.Chain.Instance)
	if !n.Chain.Started.IsZero() {
		dst = n.Chain.Started.AppendFormat(append(dst, `,"started":"`...), time.RFC3339Nano)
		dst = append(dst, '"')
	}
	dst = appendText(append(dst, `},"instance":`...), n.Instance)
	dst = appendOptional(dst, `,"app":`, n.App)
	dst = appendOptional(dst, `,"name":`, n.Name)
	dst = appendNumber(dst, `,"generation":`, n.Generation)
	dst = appendNumber(dst, `,"task":`, n.Task)
	dst = appendOptional(dst, `,"step":`, n.Step)
	dst = appendTexts(append(dst, `},"prev":`...), a.Prev)
	return appendOptional(dst, `,"server":`, a.Server)
}

func appendOptional(dst []byte, member, text string) []byte {
	if text == "" {
		return dst
	}
	return appendText(append(dst, member...), text)
}

func appendRaw(dst []byte, member string, raw json.RawMessage) []byte {
	if len(raw) == 0 {
		return dst
	}
	return append(append(dst, member...), raw...)
}

func appendTrue(dst []byte, member string, is bool) []byte {
	if !is {
		return dst
	}
	return append(append(dst, member...), "true"...)
}

func appendNumber(dst []byte, member string, n uint32) []byte {
	if n == 0 {
		return dst
	}
	return strconv.AppendUint(append(dst, member...), uint64(n), 10)
}

func appendTexts(dst []byte, texts []string) []byte {
	if texts == nil {
		return append(dst, "null"...)
	}
	dst = append(dst, '[')
	for i, text := range texts {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendText(dst, text)
	}
	return append(dst, ']')
}

// appendText appends a JSON string.
func appendText(dst []byte, text string) []byte {
	for i := range len(text) {
		switch c := text[i]; {
		case c < ' ', c > '~', c == '"', c == '\\', c == '<', c == '>', c == '&':
			quoted, err := json.Marshal(text)
			if err != nil {
				panic("custody: a text could not be quoted: " + err.Error())
			}
			return append(dst, quoted...)
		}
	}
	return append(append(append(dst, '"'), text...), '"')
}
