// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

const (
	spiffeScheme = "spiffe://"
	// maxCaller is the longest SPIFFE ID (SPIFFE-ID, section 2.3).
	maxCaller = 2048
	// maxTrustDomain is the longest trust domain (SPIFFE-ID, section 2.1).
	maxTrustDomain = 255
	// maxAppID is the longest app ID that Dapr's Sentry signs for.
	maxAppID = 64
	// maxName bounds servers and all that the lists of a rule name.
	maxName = 512
)

// callerPattern is a SPIFFE ID in which a path segment may be `*`.
type callerPattern struct {
	trustDomain string
	segments    []string
}

func (p callerPattern) String() string {
	return spiffeScheme + p.trustDomain + "/" + strings.Join(p.segments, "/")
}

// parseCaller reads spiffe://trust-domain/segment/... in which a whole segment
// may be `*`.
func parseCaller(text string) (callerPattern, error) {
	if len(text) > maxCaller {
		return callerPattern{}, fmt.Errorf("is longer than %d bytes, the limit for a SPIFFE ID", maxCaller)
	}
	rest, ok := strings.CutPrefix(text, spiffeScheme)
	if !ok {
		return callerPattern{}, fmt.Errorf("%q is no SPIFFE ID: begin with %s in lower case", text, spiffeScheme)
	}
	if strings.ContainsAny(rest, "?#") {
		return callerPattern{}, fmt.Errorf("%q has a query or fragment, which no SPIFFE ID has: remove it", text)
	}
	domain, path, _ := strings.Cut(rest, "/")
	if err := checkTrustDomain(domain); err != nil {
		return callerPattern{}, err
	}
	if path == "" {
		return callerPattern{}, fmt.Errorf("%q names a trust domain, not a workload: add a path such as /ns/*/*", text)
	}
	segments := strings.Split(path, "/")
	for _, segment := range segments {
		if err := checkSegment(segment); err != nil {
			return callerPattern{}, err
		}
	}
	return callerPattern{trustDomain: domain, segments: segments}, nil
}

func checkTrustDomain(domain string) error {
	switch {
	case domain == "":
		return fmt.Errorf("the trust domain is missing: write %strust-domain/ns/namespace/app", spiffeScheme)
	case strings.Contains(domain, every):
		return errors.New("a trust domain cannot be a pattern: write it out, one entry for each")
	case domain != strings.ToLower(domain):
		return fmt.Errorf("trust domain %q has upper case letters: write %q", domain, strings.ToLower(domain))
	case len(domain) > maxTrustDomain:
		return fmt.Errorf("the trust domain is longer than %d bytes", maxTrustDomain)
	}
	if _, err := spiffeid.TrustDomainFromString(domain); err != nil {
		return fmt.Errorf("trust domain %q is not legal: use lower case letters, digits, dots, dashes and underscores",
			domain)
	}
	return nil
}

func checkSegment(segment string) error {
	switch {
	case segment == every:
		return nil
	case segment == "":
		return errors.New("has an empty path segment: remove the extra slash")
	case strings.Contains(segment, "**"):
		return errors.New("`**` is not supported: write one `*` for each path segment")
	case strings.Contains(segment, every):
		return fmt.Errorf("segment %q is part pattern, part text: `*` stands only for a whole segment", segment)
	}
	if err := spiffeid.ValidatePathSegment(segment); err != nil {
		return fmt.Errorf("segment %q is not legal in a SPIFFE ID: use letters, digits, dots, dashes and underscores",
			segment)
	}
	return nil
}

// checkAppID takes what Dapr's Sentry would sign for: no dots, 64 characters at
// most, and legal as a path segment of a SPIFFE ID.
func checkAppID(id string) error {
	switch {
	case id == every:
		return fmt.Errorf("`*` is no app ID: write %strust-domain/ns/*/* for every app of a trust domain", spiffeScheme)
	case strings.Contains(id, every):
		return fmt.Errorf("app ID %q holds `*`, which stands only for a whole segment of a SPIFFE ID", id)
	case strings.Contains(id, "/"):
		return fmt.Errorf("%q is neither an app ID nor a SPIFFE ID: begin with %s", id, spiffeScheme)
	case strings.Contains(id, "."):
		return fmt.Errorf("app ID %q holds a dot, which Dapr does not allow", id)
	case len(id) > maxAppID:
		return fmt.Errorf("app ID is longer than %d characters", maxAppID)
	}
	if err := spiffeid.ValidatePathSegment(id); err != nil {
		return fmt.Errorf("app ID %q is not legal: use letters, digits, dashes and underscores", id)
	}
	return nil
}

// checkServer takes a name or the lone `*`.
func checkServer(name string) error {
	if name == every {
		return nil
	}
	if strings.Contains(name, every) {
		return fmt.Errorf("%q is part pattern, part text: name one server, or `*` for every server", name)
	}
	return checkText(name)
}

// checkMethod takes an MCP method, in which `*` may stand for any run of
// characters. It refuses tools/call, which rules name by tool.
func checkMethod(name string) error {
	if name == strings.TrimPrefix(KindToolCall, KindMCPPrefix) {
		return errors.New("tools/call is decided by tool: list the tools under tools")
	}
	return checkText(name)
}

// checkResource takes a URI, in which `*` may stand for any run of characters.
func checkResource(uri string) error {
	scheme, _, found := strings.Cut(uri, ":")
	if !strings.Contains(scheme, every) && (!found || strings.ToLower(scheme) != scheme) {
		return fmt.Errorf("%q: write a URI with its scheme in lower case, as in \"file:///docs/*\"", uri)
	}
	return checkText(uri)
}

// checkPath takes "METHOD /path" or the lone `*`.
func checkPath(name string) error {
	if name == every {
		return nil
	}
	method, path, ok := strings.Cut(name, " ")
	switch {
	case strings.Contains(name, every):
		return fmt.Errorf("%q: paths are matched exactly: write the path out, or `*` alone for all", name)
	case !ok || method == "" || strings.Trim(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" ||
		!strings.HasPrefix(path, "/"):
		return fmt.Errorf("%q: write METHOD /path, as in \"GET /healthz\"", name)
	case strings.ContainsAny(path, "?# "):
		return fmt.Errorf("%q: a path has no query, fragment or space: remove it", name)
	}
	return checkText(name)
}

// checkText refuses what no name of a server, tool or method can be.
func checkText(name string) error {
	switch {
	case len(name) > maxName:
		return fmt.Errorf("is longer than %d bytes", maxName)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("%q holds characters that cannot be printed", name)
	case strings.TrimSpace(name) != name:
		return fmt.Errorf("%q begins or ends with a space", name)
	}
	return nil
}
