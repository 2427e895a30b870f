// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package toolcall

import (
	"encoding/base64"
	"strings"
)

// Headers are the HTTP headers of a request that have to agree with its body, each with all its values, so that a
// header given twice is seen.
type Headers struct {
	ContentType     []string            // Content-Type
	ContentEncoding []string            // Content-Encoding
	ProtocolVersion []string            // MCP-Protocol-Version
	Method          []string            // Mcp-Method
	Name            []string            // Mcp-Name
	SessionID       []string            // Mcp-Session-Id
	Params          map[string][]string // Mcp-Param-*, by whole header name in lower case
}

// HeadersOf picks the headers out of those of a request (an http.Header). Names are compared without regard to case,
// and several spellings of one name count as the header given several times.
func HeadersOf(all map[string][]string) Headers {
	const paramPrefix = "mcp-param-"
	var h Headers
	for name, values := range all {
		var to *[]string
		switch {
		case strings.EqualFold(name, "Content-Type"):
			to = &h.ContentType
		case strings.EqualFold(name, "Content-Encoding"):
			to = &h.ContentEncoding
		case len(name) < 4 || !strings.EqualFold(name[:4], "mcp-"):
			continue
		case strings.EqualFold(name, "Mcp-Protocol-Version"):
			to = &h.ProtocolVersion
		case strings.EqualFold(name, "Mcp-Method"):
			to = &h.Method
		case strings.EqualFold(name, "Mcp-Name"):
			to = &h.Name
		case strings.EqualFold(name, "Mcp-Session-Id"):
			to = &h.SessionID
		case len(name) >= len(paramPrefix) && strings.EqualFold(name[:len(paramPrefix)], paramPrefix):
			if h.Params == nil {
				h.Params = make(map[string][]string)
			}
			key := strings.ToLower(name)
			h.Params[key] = append(h.Params[key], values...)
			continue
		default:
			continue
		}
		if *to == nil {
			*to = values
		} else {
			*to = append((*to)[:len(*to):len(*to)], values...)
		}
	}
	return h
}

// checkMedia demands JSON as it is, once.
func (h *Headers) checkMedia() error {
	contentType, err := single("Content-Type", h.ContentType)
	if err != nil {
		return &fault{status: 415, code: CodeInvalidRequest, reason: err.Error()}
	}
	if !isJSON(contentType) {
		return &fault{
			status: 415, code: CodeInvalidRequest,
			reason: "content type " + clip(contentType) + " is not application/json (charset=utf-8 may be said)",
		}
	}
	encoding, err := single("Content-Encoding", h.ContentEncoding)
	if err != nil {
		return &fault{status: 415, code: CodeInvalidRequest, reason: err.Error()}
	}
	if encoding != "" && !strings.EqualFold(encoding, "identity") {
		return &fault{
			status: 415, code: CodeInvalidRequest,
			reason: "content encoding " + clip(encoding) + " is not identity",
		}
	}
	return nil
}

func isJSON(contentType string) bool {
	media, parameter, more := strings.Cut(contentType, ";")
	if !strings.EqualFold(trim(media), "application/json") {
		return false
	}
	if !more {
		return true
	}
	parameter = trim(parameter)
	return strings.EqualFold(parameter, "charset=utf-8") || strings.EqualFold(parameter, `charset="utf-8"`)
}

// single returns the one value of a header, or "" if it is absent.
func single(name string, values []string) (string, error) {
	switch len(values) {
	case 0:
		return "", nil
	case 1:
		v := trim(values[0])
		for i := range len(v) {
			if c := v[i]; c != '\t' && (c < ' ' || c > '~') {
				return "", invalid(CodeHeaderMismatch, "header %s holds a character that is not visible ASCII", name)
			}
		}
		return v, nil
	default:
		return "", invalid(CodeHeaderMismatch, "header %s is given %d times", name, len(values))
	}
}

func trim(s string) string { return strings.Trim(s, " \t") }

// decodeValue undoes the encoding =?base64?...?= of Mcp-Name and Mcp-Param headers (MCP 2026-07-28, Streamable HTTP,
// Value Encoding). A value without both markers, exactly so, stands for itself.
func decodeValue(name, value string) (string, error) {
	encoded, ok := strings.CutPrefix(value, "=?base64?")
	if !ok {
		return value, nil
	}
	if encoded, ok = strings.CutSuffix(encoded, "?="); !ok {
		return value, nil
	}
	decoded, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return "", invalid(CodeHeaderMismatch, "header %s holds bad base64", name)
	}
	return string(decoded), nil
}
