// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpcaller

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/identity"
)

// address fills in of a step what the request says: whom the question is for and,
// where the app does not say it, the name of the server.
func (c *Caller) address(step *Step, r *http.Request) error {
	name, err := target(r)
	if err != nil {
		return err
	}
	app, err := appID(name)
	if err != nil {
		return err
	}
	if step.Server == "" {
		step.Server = app
	}
	step.to, err = appOf(c.host.ID, name)
	return err
}

// appOf is the SPIFFE ID of the app that is invoked, as Sentry gives it: in the trust domain of the own one and, where no
// namespace is named, in its namespace.
func appOf(own spiffeid.ID, name string) (spiffeid.ID, error) {
	app, namespace, dotted := strings.Cut(name, ".")
	if !dotted {
		var ok bool
		if namespace, _, ok = identity.App(own); !ok {
			return spiffeid.ID{}, fmt.Errorf("the sidecar's identity %s is not that of a Dapr app, /ns/<namespace>/<app>", own)
		}
	}
	return spiffeid.FromSegments(own.TrustDomain(), "ns", namespace, app)
}
