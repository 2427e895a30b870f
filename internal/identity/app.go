// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package identity

import (
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// App takes the SPIFFE ID of a Dapr app apart, which is spiffe://<trust domain>/ns/<namespace>/<app> (Dapr
// pkg/sentry/server/ca/ca.go). Any other ID is not that of an app: then ok is false and both are empty.
func App(id spiffeid.ID) (namespace, app string, ok bool) {
	rest, ok := strings.CutPrefix(id.Path(), "/ns/")
	if !ok {
		return "", "", false
	}
	namespace, app, ok = strings.Cut(rest, "/")
	if !ok || strings.Contains(app, "/") {
		return "", "", false
	}
	return namespace, app, true
}
