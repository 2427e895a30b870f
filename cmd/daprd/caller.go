// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"fmt"
	"net/http"

	contribmiddleware "github.com/dapr/components-contrib/middleware"
	"github.com/dapr/dapr/cmd/daprd/options"
	httpmiddleware "github.com/dapr/dapr/pkg/components/middleware/http"
	"github.com/dapr/dapr/pkg/config"
	"github.com/dapr/dapr/pkg/middleware"
	"github.com/dapr/kit/logger"

	"github.com/dapr-custody/custody/middleware/mcpcaller"
)

const (
	callerName = mcpcaller.DoorName
	callerType = typePrefix + callerName
)

// requiredCaller is the name of the component that the Configuration has sign
// what the app asks; empty where it names none.
func requiredCaller(cfg *config.Configuration, opts *options.Options) (string, error) {
	if names(cfg.Spec.AppHTTPPipelineSpec, callerType) {
		return "", fmt.Errorf("configuration: spec.appHttpPipeline names %s, which signs what the app asks of others: move it to spec.httpPipeline", callerType)
	}
	name, err := lastHandler(cfg.Spec.HTTPPipelineSpec, "spec.httpPipeline", callerType)
	if name == "" || err != nil {
		return "", err
	}
	if !opts.EnableMTLS {
		return "", fmt.Errorf("the Configuration names %s, but mTLS is off, so that there is no identity to sign with: start with --enable-mtls", callerType)
	}
	return name, nil
}

// callerFactory makes the caller where Dapr loads its component.
func (d *daemon) callerFactory(log logger.Logger) httpmiddleware.FactoryMethod {
	return func(meta contribmiddleware.Metadata) (middleware.HTTP, error) {
		caller, err := d.callers.Make(meta.Name, meta.Properties)
		if err != nil {
			return nil, err
		}
		log.Infof("%s %q signs what the app asks in its workflows", callerType, meta.Name)
		return func(next http.Handler) http.Handler { return caller.Handler(next) }, nil
	}
}

func (d *daemon) currentCallerHost() (mcpcaller.Host, error) {
	host, err := d.currentHost()
	if err != nil {
		return mcpcaller.Host{}, err
	}
	return mcpcaller.Host{
		ID: host.ID, SVIDs: host.SVIDs, Bundles: host.Bundles, JournalSuffix: host.JournalSuffix, Log: host.Log,
	}, nil
}
