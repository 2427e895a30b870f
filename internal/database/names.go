// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package database

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

const (
	maxCaller = 2048 // of a SPIFFE ID (SPIFFE-ID, section 2.3)
	maxAppID  = 64   // that Dapr's Sentry signs for
	// maxIdentifier is the longest name of a role, schema, table or column (PostgreSQL: NAMEDATALEN - 1).
	maxIdentifier = 63

	spiffeScheme = "spiffe://"
	every        = "*"
)

// caller is one entry of from: an app ID, or a SPIFFE ID in which a whole segment may be `*`.
type caller struct {
	text string
	// trustDomain and segments are empty for an app ID.
	trustDomain string
	segments    []string
}

func (c caller) is(id spiffeid.ID, trustDomain spiffeid.TrustDomain, namespace string) bool {
	if c.trustDomain == "" {
		return !trustDomain.IsZero() && namespace != "" && id.TrustDomain() == trustDomain &&
			id.Path() == "/ns/"+namespace+"/"+c.text
	}
	if id.TrustDomain().Name() != c.trustDomain {
		return false
	}
	segments := strings.Split(strings.TrimPrefix(id.Path(), "/"), "/")
	return slices.EqualFunc(c.segments, segments, func(want, got string) bool { return want == every || want == got })
}

func parseCaller(text string) (caller, error) {
	if !strings.Contains(text, ":") {
		return caller{text: text}, checkAppID(text)
	}
	rest, ok := strings.CutPrefix(text, spiffeScheme)
	switch {
	case len(text) > maxCaller:
		return caller{}, fmt.Errorf("is longer than %d bytes, the limit for a SPIFFE ID", maxCaller)
	case !ok:
		return caller{}, fmt.Errorf("%q is no SPIFFE ID: begin with %s in lower case", text, spiffeScheme)
	}
	domain, path, _ := strings.Cut(rest, "/")
	if _, err := spiffeid.TrustDomainFromString(domain); err != nil || domain == "" {
		return caller{}, fmt.Errorf("trust domain %q is not legal: use lower case letters, digits, dots, dashes and underscores; "+
			"it cannot be a pattern", domain)
	}
	if path == "" {
		return caller{}, fmt.Errorf("%q names a trust domain, not a workload: add a path such as /ns/*/*", text)
	}
	segments := strings.Split(path, "/")
	for _, s := range segments {
		if s != every && spiffeid.ValidatePathSegment(s) != nil {
			return caller{}, fmt.Errorf("segment %q is not legal in a SPIFFE ID: use letters, digits, dots, dashes and underscores, "+
				"or `*` for a whole segment", s)
		}
	}
	return caller{text: text, trustDomain: domain, segments: segments}, nil
}

func checkAppID(id string) error {
	switch {
	case strings.Contains(id, every):
		return fmt.Errorf("`*` is no app ID: write %strust-domain/ns/*/* for every app of a trust domain", spiffeScheme)
	case strings.ContainsAny(id, "./") || spiffeid.ValidatePathSegment(id) != nil:
		return fmt.Errorf("app ID %q is not legal: use letters, digits, dashes and underscores, or write a SPIFFE ID", id)
	case len(id) > maxAppID:
		return fmt.Errorf("app ID is longer than %d characters", maxAppID)
	}
	return nil
}

var (
	roleName   = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)
	identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	dbName     = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)
	hostName   = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?$`)
)

// reservedRoles are no names of roles, or mean one that is there with rights of its own.
var reservedRoles = []string{"public", "none", "all", "user", "current_user", "current_role", "session_user", "postgres", "replication"}

// CheckRole says whether a role may be one of a document: it cannot be one of PostgreSQL's own, which have rights that
// nobody gave them, and it needs no quotes wherever a role is named.
func CheckRole(name string) error {
	switch {
	case len(name) > maxIdentifier:
		return fmt.Errorf("role name is longer than %d characters", maxIdentifier)
	case !roleName.MatchString(name):
		return fmt.Errorf("%q is not a legal role: use lower case letters, digits and underscores, not a digit first", name)
	case strings.HasPrefix(name, "pg_") || slices.Contains(reservedRoles, name):
		return fmt.Errorf("%q is a role or word of PostgreSQL's own: choose another, as custody_orders", name)
	}
	return nil
}

func checkSchema(name string) error {
	switch {
	case name == Schema:
		return fmt.Errorf("schema %s is Custody's own: name those of the application", Schema)
	case strings.HasPrefix(name, "pg_") || name == "information_schema":
		return fmt.Errorf("schema %q is the server's own: name those of the application", name)
	}
	return checkIdentifier(name)
}

func checkIdentifier(name string) error {
	if len(name) > maxIdentifier || !identifier.MatchString(name) {
		return fmt.Errorf("%q is not a legal name here: use letters, digits and underscores, not a digit first, %d at most",
			name, maxIdentifier)
	}
	return nil
}

// quoted gives names as SQL takes them whatever their case. Checked names hold no quotes.
func quoted(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = n
		if !roleName.MatchString(n) {
			out[i] = `"` + n + `"`
		}
	}
	return out
}
