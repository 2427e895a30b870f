// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package endpoint finds the sidecar of an app as Dapr tells the app of it. Whether one is there it does not say.
package endpoint

import (
	"cmp"
	"fmt"
	"net/url"
	"os"
)

// Of is the sidecar's HTTP API: what is given, or else DAPR_HTTP_ENDPOINT, or else 127.0.0.1 with the port DAPR_HTTP_PORT,
// or else 3500. What is no URL of HTTP with a host is an error.
func Of(given string) (*url.URL, error) {
	text := cmp.Or(given, os.Getenv("DAPR_HTTP_ENDPOINT"), "http://127.0.0.1:"+cmp.Or(os.Getenv("DAPR_HTTP_PORT"), "3500"))
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("the sidecar's endpoint %q is not a URL as http://127.0.0.1:3500", text)
	}
	return u, nil
}
