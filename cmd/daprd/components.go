// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"

	bindingshttp "github.com/dapr/components-contrib/bindings/http"
	bindingspostgres "github.com/dapr/components-contrib/bindings/postgres"
	contribmiddleware "github.com/dapr/components-contrib/middleware"
	"github.com/dapr/components-contrib/middleware/http/bearer"
	"github.com/dapr/components-contrib/middleware/http/ratelimit"
	"github.com/dapr/components-contrib/middleware/http/routeralias"
	"github.com/dapr/components-contrib/nameresolution/mdns"
	nrsqlite "github.com/dapr/components-contrib/nameresolution/sqlite"
	pubsubinmemory "github.com/dapr/components-contrib/pubsub/in-memory"
	pubsubredis "github.com/dapr/components-contrib/pubsub/redis"
	"github.com/dapr/components-contrib/secretstores/local/env"
	"github.com/dapr/components-contrib/secretstores/local/file"
	stateinmemory "github.com/dapr/components-contrib/state/in-memory"
	statepgv1 "github.com/dapr/components-contrib/state/postgresql/v1"
	statepgv2 "github.com/dapr/components-contrib/state/postgresql/v2"
	stateredis "github.com/dapr/components-contrib/state/redis"
	statesqlite "github.com/dapr/components-contrib/state/sqlite"
	"github.com/dapr/dapr/pkg/components"
	"github.com/dapr/dapr/pkg/components/bindings"
	httpmiddleware "github.com/dapr/dapr/pkg/components/middleware/http"
	"github.com/dapr/dapr/pkg/components/nameresolution"
	"github.com/dapr/dapr/pkg/components/pubsub"
	"github.com/dapr/dapr/pkg/components/secretstores"
	"github.com/dapr/dapr/pkg/components/state"
	"github.com/dapr/dapr/pkg/middleware"
	"github.com/dapr/kit/logger"
)

// registerComponents puts into Dapr's registries what the lean daprd carries,
// under the names and versions that stock daprd gives them. Building with
// -tags stablecomponents or -tags allcomponents adds Dapr's own full sets.
func registerComponents() {
	state.DefaultRegistry.RegisterComponent(stateinmemory.NewInMemoryStateStore, "in-memory")
	state.DefaultRegistry.RegisterComponent(statesqlite.NewSQLiteStateStore, "sqlite", "sqlite3")
	state.DefaultRegistry.RegisterComponent(stateredis.NewRedisStateStore, "redis")
	for _, name := range []string{"postgres", "postgresql"} {
		state.DefaultRegistry.RegisterComponentWithVersions(name, components.Versioning{
			Preferred: components.VersionConstructor{Version: "v2", Constructor: statepgv2.NewPostgreSQLStateStore},
			Others:    []components.VersionConstructor{{Version: "v1", Constructor: statepgv1.NewPostgreSQLStateStore}},
			Default:   "v1",
		})
	}

	bindings.DefaultRegistry.RegisterOutputBinding(bindingspostgres.NewPostgres, "postgres", "postgresql")
	bindings.DefaultRegistry.RegisterOutputBinding(bindingshttp.NewHTTP, "http")

	pubsub.DefaultRegistry.RegisterComponent(pubsubinmemory.New, "in-memory")
	pubsub.DefaultRegistry.RegisterComponent(pubsubredis.NewRedisStreams, "redis")

	secretstores.DefaultRegistry.RegisterComponent(env.NewEnvSecretStore, "local.env")
	secretstores.DefaultRegistry.RegisterComponent(file.NewLocalSecretStore, "local.file")

	nameresolution.DefaultRegistry.RegisterComponent(mdns.NewResolver, "mdns")
	nameresolution.DefaultRegistry.RegisterComponent(nrsqlite.NewResolver, "sqlite")

	registerMiddleware("routeralias", routeralias.NewMiddleware)
	registerMiddleware("ratelimit", ratelimit.NewRateLimitMiddleware)
	registerMiddleware("bearer", bearer.NewBearerMiddleware)
}

func registerMiddleware(name string, newMiddleware func(logger.Logger) contribmiddleware.Middleware) {
	httpmiddleware.DefaultRegistry.RegisterComponent(func(log logger.Logger) httpmiddleware.FactoryMethod {
		return func(meta contribmiddleware.Metadata) (middleware.HTTP, error) {
			return newMiddleware(log).GetHandler(context.Background(), meta)
		}
	}, name)
}
