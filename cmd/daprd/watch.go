// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/dapr/dapr/pkg/apis/components/v1alpha1"
	operatorv1 "github.com/dapr/dapr/pkg/proto/operator/v1"
	"github.com/dapr/dapr/pkg/runtime/registry"

	"github.com/dapr-custody/custody/middleware/mcpguard"
)

// guardWatch follows the component that the Configuration names as the guard
// (empty: none) through one run of the runtime. If it is not there when the
// runtime has started, the run ends with an error; what happens to it later is
// said in the log, and the seal keeps the app closed.
type guardWatch struct {
	guards    *mcpguard.Factory
	name      string
	resources []string
	started   atomic.Bool
	failed    chan error
}

// registry is Dapr's registries with our eye on the guard.
func (w *guardWatch) registry() *registry.Options {
	options := registry.NewOptions()
	if w.name == "" {
		return options
	}
	return options.WithReporter(w.report).WithComponentsCallback(w.loaded)
}

// run ends with the error of a start without the guard. Dapr itself only logs
// the error of a components callback (pkg/runtime/runtime.go, appHealthChanged).
func (w *guardWatch) run(ctx context.Context) error {
	select {
	case err := <-w.failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

func (w *guardWatch) fail(err error) {
	select {
	case w.failed <- err:
	default: // The first error ends the run already.
	}
}

// loaded is called when all components have been loaded and the app is there.
func (w *guardWatch) loaded(registry.ComponentRegistry) error {
	w.started.Store(true)
	if w.guards.Made(w.name) {
		return nil
	}
	err := fmt.Errorf("the Configuration names %s %q in spec.appHttpPipeline, but no such Component was loaded from %s: "+
		"add it (and mind its scopes), or take the handler out of the Configuration", guardType, w.name, strings.Join(w.resources, ", "))
	w.fail(err)
	return err
}

// report is told of every component that comes or goes.
func (w *guardWatch) report(_ context.Context, comp v1alpha1.Component, result *operatorv1.ResourceResult) error {
	if comp.Name != w.name || !strings.EqualFold(comp.Spec.Type, guardType) {
		return nil
	}
	failed := result.GetCondition() == operatorv1.ResourceConditionStatus_STATUS_FAILURE
	switch {
	case result.GetEventType() == operatorv1.EventType_EVENT_CLOSE:
		w.guards.Forget(comp.Name)
		log.Warnf("%s %q was removed: every request to the app is refused until it is back", guardType, comp.Name)
	case failed && !w.started.Load():
		// Also where the component says ignoreErrors: an app whose guard does not load is not served.
		w.fail(fmt.Errorf("%s %q did not load: %s", guardType, comp.Name, result.GetMessage()))
	case failed:
		log.Errorf("%s %q did not load: every request to the app is refused: %s", guardType, comp.Name, result.GetMessage())
	}
	return nil
}
