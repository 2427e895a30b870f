// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpcaller

import (
	"errors"
	"net/http"
	"path"
	"strings"
)

const (
	headerAppID  = "Dapr-App-Id"
	invokePrefix = "/v1.0/invoke/"
	apiPrefix    = "/v1.0"
)

var (
	errNoCall = errors.New("a step is a POST to /v1.0/invoke/<app>/method/<path>, or with the header dapr-app-id: " +
		"send what is none without " + HeaderStep)
	errTwoTargets = errors.New("the request names its app in more than one way: use the path or the header dapr-app-id")
	errNoApp      = errors.New("a step calls an app, named <app> or <app>.<namespace>")
)

// target gives what the request names as the app that it invokes, which appID
// has to take. It takes only what Dapr can read one way (pkg/api/http/directmessaging.go,
// findTargetIDAndMethod): the path in its plain form and one name.
func target(r *http.Request) (string, error) {
	if r.Method != http.MethodPost || r.URL.EscapedPath() != r.URL.Path || path.Clean(r.URL.Path) != r.URL.Path {
		return "", errNoCall
	}
	if strings.HasPrefix(r.Header.Get("Authorization"), "Basic ") {
		return "", errTwoTargets // Dapr takes a user "dapr-app-id" for a target.
	}
	rest, byPath := strings.CutPrefix(r.URL.Path, invokePrefix)
	switch names := r.Header.Values(headerAppID); {
	case len(names) > 1 || (len(names) == 1 && byPath):
		return "", errTwoTargets
	case len(names) == 1 && r.URL.Path != apiPrefix && !strings.HasPrefix(r.URL.Path, apiPrefix+"/") &&
		!strings.HasPrefix(r.URL.Path, apiPrefix+"-"):
		return names[0], nil
	case !byPath || len(names) == 1:
		return "", errNoCall
	}
	name, method, ok := strings.Cut(rest, "/method/")
	if !ok || method == "" {
		return "", errNoCall
	}
	return name, nil
}

// appID gives the app of a name <app> or <app>.<namespace>.
func appID(name string) (string, error) {
	app, namespace, dotted := strings.Cut(name, ".")
	if app == "" || len(name) > MaxText || strings.ContainsFunc(app+namespace, notOfName) || (dotted && namespace == "") {
		return "", errNoApp
	}
	return app, nil
}

func notOfName(r rune) bool {
	letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
	return !letter && (r < '0' || r > '9') && r != '-' && r != '_'
}
