// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

//go:build !linux

package policydir

import (
	"errors"
	"path/filepath"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// events tells of changes in one directory, as soon as the system does.
type events struct {
	// ready gives a value while events are pending.
	ready chan struct{}

	watcher *fsnotify.Watcher
	stop    chan struct{}
	done    chan struct{}

	mu  sync.Mutex
	all happened
	dir string
}

func newEvents() (*events, error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	e := &events{ready: make(chan struct{}), watcher: watcher, stop: make(chan struct{}), done: make(chan struct{})}
	go e.run()
	return e, nil
}

func (e *events) run() {
	defer close(e.done)
	for {
		var ready chan struct{}
		if e.pending() {
			ready = e.ready
		}
		select {
		case <-e.stop:
			return
		case event := <-e.watcher.Events:
			e.note(event)
		case <-e.watcher.Errors: //nolint:errcheck // whatever it was, events were lost: look for ourselves
			e.note(fsnotify.Event{})
		case ready <- struct{}{}:
		}
	}
}

// note keeps an event until take. Of a directory that was moved, no more events
// come, even if it was moved back.
func (e *events) note(event fsnotify.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all.any = true
	switch {
	case event.Name == e.dir && (event.Has(fsnotify.Rename) || event.Has(fsnotify.Remove)):
		e.all.unwatched = true
	case event.Has(fsnotify.Create):
		e.all.appeared = append(e.all.appeared, filepath.Base(event.Name))
	}
}

// pending reports whether the system has told of something since take. It is safe
// for concurrent use.
func (e *events) pending() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.all.any
}

// add watches dir, and what was watched before no more.
func (e *events) add(dir string) error {
	e.mu.Lock()
	before := e.dir
	e.dir = dir
	e.mu.Unlock()
	if before != "" {
		if err := e.watcher.Remove(before); err != nil && !errors.Is(err, fsnotify.ErrNonExistentWatch) {
			return err
		}
	}
	return e.watcher.Add(dir)
}

// take returns what has happened, and forgets it.
func (e *events) take() happened {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.all
	e.all = happened{}
	return all
}

func (e *events) close() error {
	close(e.stop)
	<-e.done
	return e.watcher.Close()
}
