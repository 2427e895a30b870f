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
)

// watch follows the components that the Configuration names as our doors through
// one run of the runtime. If one is not there when the runtime has started, the
// run ends with an error; what happens to it later is said in the log.
type watch struct {
	doors []door
	// unguarded says that there is an app and that the Configuration puts no guard before it, so that the component of
	// one, if it is loaded, is taken for what it is not.
	unguarded bool
	resources []string
	started   atomic.Bool
	failed    chan error
}

// door is a component that has to be there.
type door struct {
	name, kind, section string
	made                interface {
		Made(name string) bool
		Forget(name string)
	}
	// without says what is the case while the component is not there.
	without string
}

func newWatch(resources []string) *watch {
	return &watch{resources: resources, failed: make(chan error, 1)}
}

// add has the door of that name watched; an empty name is none.
func (w *watch) add(d door) {
	// What an earlier run of the runtime made must not pass for this run's.
	d.made.Forget(d.name)
	if d.name != "" {
		w.doors = append(w.doors, d)
	}
}

// registry is Dapr's registries with our eye on the doors.
func (w *watch) registry() *registry.Options {
	options := registry.NewOptions()
	if len(w.doors) == 0 && !w.unguarded {
		return options
	}
	return options.WithReporter(w.report).WithComponentsCallback(w.loaded)
}

// run ends with the error of a start without a door. Dapr itself only logs
// the error of a components callback (pkg/runtime/runtime.go, appHealthChanged).
func (w *watch) run(ctx context.Context) error {
	select {
	case err := <-w.failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

func (w *watch) fail(err error) {
	select {
	case w.failed <- err:
	default: // The first error ends the run already.
	}
}

// loaded is called when all components have been loaded and the app is there.
func (w *watch) loaded(registry.ComponentRegistry) error {
	w.started.Store(true)
	for _, d := range w.doors {
		if d.made.Made(d.name) {
			continue
		}
		err := fmt.Errorf("the Configuration names %s %q in %s, but no such Component was loaded from %s: "+
			"add it (and mind its scopes), or take the handler out of the Configuration", d.kind, d.name, d.section, strings.Join(w.resources, ", "))
		w.fail(err)
		return err
	}
	return nil
}

// report is told of every component that comes or goes.
func (w *watch) report(_ context.Context, comp v1alpha1.Component, result *operatorv1.ResourceResult) error {
	for _, d := range w.doors {
		if comp.Name == d.name && strings.EqualFold(comp.Spec.Type, d.kind) {
			w.reportDoor(d, result)
		}
	}
	if w.unguarded && strings.EqualFold(comp.Spec.Type, guardType) && result.GetEventType() != operatorv1.EventType_EVENT_CLOSE {
		w.reportStray(comp.Name)
	}
	return nil
}

// reportStray is told of a guard that nobody is led through.
func (w *watch) reportStray(name string) {
	err := fmt.Errorf("%s %q was loaded, but the Configuration does not name it in spec.appHttpPipeline, so that nothing guards the app: "+
		"name it there, or limit the component by scopes to the apps that it guards", guardType, name)
	if w.started.Load() {
		log.Error(err)
		return
	}
	w.fail(err)
}

func (w *watch) reportDoor(d door, result *operatorv1.ResourceResult) {
	failed := result.GetCondition() == operatorv1.ResourceConditionStatus_STATUS_FAILURE
	switch {
	case result.GetEventType() == operatorv1.EventType_EVENT_CLOSE:
		d.made.Forget(d.name)
		log.Warnf("%s %q was removed: %s until it is back", d.kind, d.name, d.without)
	case failed && !w.started.Load():
		// Also where the component says ignoreErrors: an app whose door does not load is not served.
		w.fail(fmt.Errorf("%s %q did not load: %s", d.kind, d.name, result.GetMessage()))
	case failed:
		log.Errorf("%s %q did not load: %s: %s", d.kind, d.name, d.without, result.GetMessage())
	}
}
