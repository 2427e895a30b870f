// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpcaller

import (
	"encoding/base64"
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
	errNotSimple    = errors.New("the path is not in its plain form: write no empty segment, and neither . nor .. as one")
	errTwoTargets   = errors.New("the request names its app in more than one way: use the path or the header dapr-app-id")
	errNoInvocation = errors.New("a transaction token goes with a service invocation: /v1.0/invoke/<app>/method/<path>, or the header dapr-app-id")
	errNoApp        = errors.New("a step calls an app, named <app> or <app>.<namespace>")
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

// invoked gives what the request names as the app that it invokes, <app> or <app>.<namespace>. It takes what target takes,
// with any method and with any path of the app's own that Dapr passes on as it is. What surely invokes nothing is
// errNoInvocation, and what could be read two ways another error.
func invoked(r *http.Request) (name string, err error) {
	escaped := r.URL.EscapedPath()
	names := r.Header.Values(headerAppID)
	basic := basicTarget(r.Header.Get("Authorization"))
	inAPI := r.URL.Path == apiPrefix || strings.HasPrefix(r.URL.Path, apiPrefix+"/") || strings.HasPrefix(r.URL.Path, apiPrefix+"-")
	rest, byPath := strings.CutPrefix(escaped, invokePrefix)
	switch {
	case !byPath && len(names) == 0 && !strings.Contains(r.URL.Path, "/invoke") && (inAPI || !basic):
		return "", errNoInvocation
	case !simple(escaped) || !simple(r.URL.Path):
		return "", errNotSimple
	case basic || len(names) > 1 || (len(names) == 1 && byPath):
		return "", errTwoTargets
	case len(names) == 1 && !inAPI:
		name = names[0]
	case byPath:
		var ok bool
		if name, _, ok = strings.Cut(rest, "/method/"); !ok {
			return "", errNoInvocation
		}
	default:
		return "", errNoInvocation
	}
	_, err = appID(name)
	return name, err
}

// basicTarget reports whether Dapr takes a user of HTTP's basic authentication for the name of the app.
func basicTarget(authorization string) bool {
	text, basic := strings.CutPrefix(authorization, "Basic ")
	if !basic {
		return false
	}
	pair, err := base64.StdEncoding.DecodeString(text)
	user, _, _ := strings.Cut(string(pair), ":")
	return err == nil && strings.EqualFold(user, headerAppID)
}

// simple reports whether cleaning the path would change no more than a slash at its end.
func simple(p string) bool { return p == "/" || path.Clean(p) == strings.TrimSuffix(p, "/") }

func notOfName(r rune) bool {
	letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
	return !letter && (r < '0' || r > '9') && r != '-' && r != '_'
}
