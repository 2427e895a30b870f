// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/google/uuid"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxInstances is how many components of a type one caller may have.
const maxInstances = 64

// codec makes components of one type.
type codec[T io.Closer] struct {
	make func() T
	init func(ctx context.Context, component T, name string, properties map[string]string) error
	// telling says that what init says holds nothing but what its caller may know.
	telling bool
}

// instances are the components of one type, each for its caller.
type instances[T io.Closer] struct {
	kind    string
	options Options
	codec   codec[T]
	kept    kept

	mu    sync.Mutex
	slots map[slotKey]*slot[T]
	count map[spiffeid.ID]int
}

type slotKey struct {
	caller spiffeid.ID
	name   string
}

// slot holds a component that its caller has initialised, or will.
type slot[T io.Closer] struct {
	of   *instances[T]
	key  slotKey
	full bool // the caller has too many components

	mu         sync.RWMutex // held for reading while the component is used
	ready      bool
	component  T
	properties map[string]string
}

func newInstances[T io.Closer](kind string, options Options, codec codec[T]) *instances[T] {
	return &instances[T]{
		kind: kind, options: options, codec: codec, kept: kept{dir: options.Instances},
		slots: map[slotKey]*slot[T]{}, count: map[spiffeid.ID]int{},
	}
}

// of gives the slot of the call behind ctx.
func (i *instances[T]) of(ctx context.Context) *slot[T] {
	p := placeOf(ctx)
	key := slotKey{caller: p.caller.ID(), name: p.name}
	i.mu.Lock()
	defer i.mu.Unlock()
	if s := i.slots[key]; s != nil {
		return s
	}
	s := &slot[T]{of: i, key: key, full: i.count[key.caller] >= maxInstances}
	if !s.full && !key.caller.IsZero() {
		i.slots[key] = s
		i.count[key.caller]++
	}
	return s
}

func (i *instances[T]) close() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	var errs []error
	for _, s := range i.slots {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

// initialise makes the component ready with the metadata of its caller. One that is ready with the same metadata stays:
// another sidecar of the app asks for it, or the sidecar was restarted.
func (s *slot[T]) initialise(ctx context.Context, properties map[string]string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.key.caller.IsZero():
		return status.Error(codes.PermissionDenied, "this workload is not known here")
	case s.full:
		return status.Errorf(codes.ResourceExhausted, "%s has %d components of type %s, the limit", s.key.caller, maxInstances, s.of.kind)
	case s.ready && !ended(s.component) && maps.Equal(properties, s.properties):
		return nil
	}
	component, err := s.start(ctx, properties)
	if err != nil && s.of.codec.telling {
		return err
	}
	if err != nil {
		return s.unready(codes.FailedPrecondition, err)
	}
	if err := s.of.kept.write(record{Type: s.of.kind, Caller: s.key.caller, Name: s.key.name, Properties: properties}); err != nil {
		return s.unready(codes.Unavailable, errors.Join(fmt.Errorf("its metadata could not be kept: %w", err), component.Close()))
	}
	if s.ready {
		if err := s.component.Close(); err != nil {
			s.of.options.Log("closing component %s of %s, which was initialised anew: %v", s.key.name, s.key.caller, err)
		}
	}
	s.component, s.properties, s.ready = component, maps.Clone(properties), true
	return nil
}

// ended says whether a request had the component end, as the operation close of a binding does.
func ended(component any) bool {
	c, ok := component.(interface{ Closed() bool })
	return ok && c.Closed()
}

// start makes a component anew where another one made the same tables at the same time: those are there then.
func (s *slot[T]) start(ctx context.Context, properties map[string]string) (component T, err error) {
	for range 3 {
		component = s.of.codec.make()
		err = s.of.codec.init(s.of.options.Context(ctx), component, s.key.name, properties)
		if err == nil {
			return component, nil
		}
		err = errors.Join(err, component.Close())
		if !madeTwice(err) {
			break
		}
	}
	var none T
	return none, err
}

// madeTwice reports whether PostgreSQL says that something which was not there when it was asked for is there now
// (unique_violation, duplicate_table, duplicate_object): its CREATE TABLE IF NOT EXISTS does not wait for another.
func madeTwice(err error) bool {
	var said interface{ SQLState() string }
	return errors.As(err, &said) && slices.Contains([]string{"23505", "42P07", "42710"}, said.SQLState())
}

// unready is what a caller is told of a component that it does not get. Why goes to the log alone: it can hold what the
// operator wrote, or say which of the caller's guesses at that are wrong.
func (s *slot[T]) unready(code codes.Code, why error) error {
	reference := uuid.NewString()
	s.of.options.Log("component %s of %s could not be made ready (reference %s): %v", s.key.name, s.key.caller, reference, why)
	return status.Errorf(code, "the component could not be made ready: the log of the component server says why (reference %s)", reference)
}

// use calls with the component. One that was initialised before the server was started is made ready first.
func (s *slot[T]) use(ctx context.Context, call func(T) error) error {
	s.mu.RLock()
	if !s.ready {
		s.mu.RUnlock()
		if err := s.recover(ctx); err != nil {
			return err
		}
		s.mu.RLock()
	}
	defer s.mu.RUnlock()
	return call(s.component)
}

func (s *slot[T]) recover(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ready {
		return nil
	}
	if s.key.caller.IsZero() || s.full {
		return status.Error(codes.FailedPrecondition, "the component was not initialised")
	}
	properties, found, err := s.of.kept.read(s.of.kind, s.key.caller, s.key.name)
	switch {
	case err != nil:
		return s.unready(codes.Unavailable, fmt.Errorf("its metadata could not be read again: %w", err))
	case !found:
		return status.Errorf(codes.FailedPrecondition, "component %s was not initialised: restart the sidecar", s.key.name)
	}
	// The call that comes first may be cut off; the component is for all that follow.
	component, err := s.start(context.WithoutCancel(ctx), properties)
	if err != nil {
		return s.unready(codes.Unavailable, err)
	}
	s.component, s.properties, s.ready = component, properties, true
	return nil
}

// current is the component if it is ready.
func (s *slot[T]) current() (component T, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.component, s.ready
}

func (s *slot[T]) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ready {
		return nil
	}
	s.ready = false
	return s.component.Close()
}
