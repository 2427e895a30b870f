// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/toolcall"
)

const (
	// toolsName is the file beside a journal with the schemas of the server's tools.
	toolsName = "tools.json"
	// writePause is the shortest time between two writings of it.
	writePause = 200 * time.Millisecond
)

// catalogue keeps what the server publishes of its tools, as the answers to
// tools/list tell it, over restarts of the sidecar. What is in it finds mistakes
// in policies and decides nothing: a server that lies gets warnings.
type catalogue struct {
	server string
	path   string
	log    func(format string, args ...any)

	mu    sync.Mutex
	tools policy.ServerTools
	// refused is why the first tool was left out.
	refused string

	changed chan struct{}
	stop    chan struct{}
	done    chan struct{}
}

// openCatalogue reads what an earlier guard learned. What cannot be read is learned
// anew. Nothing is written before start.
func openCatalogue(meta Metadata, host Host) *catalogue {
	c := &catalogue{
		server: meta.Server, path: filepath.Join(meta.JournalDir, toolsName), log: host.Log,
		changed: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	known, err := readCatalogue(c.path)
	if err != nil {
		c.log("mcpguard: what is known of tools is learned anew: %v", err)
	}
	if c.tools = known[c.server]; c.tools == nil {
		c.tools = policy.ServerTools{}
	}
	return c
}

func readCatalogue(path string) (policy.Catalogue, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, policy.MaxCatalogueBytes+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return policy.ParseCatalogue(data)
}

// start writes the file whenever something was learned, and then calls written.
func (c *catalogue) start(written func()) { go c.run(written) }

func (c *catalogue) run(written func()) {
	defer close(c.done)
	for {
		select {
		case <-c.stop:
			return
		case <-c.changed:
		}
		if err := c.write(); err != nil {
			c.log("mcpguard: what is known of tools could not be written: %v", err)
		}
		written()
		select {
		case <-c.stop:
			return
		case <-time.After(writePause):
		}
	}
}

// close ends the writing. What is learned after that is lost.
func (c *catalogue) close() {
	close(c.stop)
	<-c.done
}

// write replaces the file: a reader sees the old one or the new one.
func (c *catalogue) write() error {
	data, err := c.snapshot().Encode()
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(c.path), "."+toolsName+".*") // 0600
	if err != nil {
		return err
	}
	_, err = temp.Write(data)
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), c.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return nil
}

func (c *catalogue) snapshot() policy.Catalogue {
	c.mu.Lock()
	defer c.mu.Unlock()
	return policy.Catalogue{c.server: maps.Clone(c.tools)}
}

// check says what policies get wrong about the tools.
func (c *catalogue) check(documents []policy.Document) []policy.Warning {
	var warnings []policy.Warning
	for _, finding := range policy.Check(documents, c.snapshot()) {
		warnings = append(warnings, finding.Warning)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused != "" {
		warnings = append(warnings, policy.Warning{Message: c.refused})
	}
	return warnings
}

// lesson is what one answer of the server tells.
type lesson struct {
	catalogue *catalogue
	listed    map[string]struct{}
	tools     []taught // that were not known
}

type taught struct {
	name   string
	schema []byte
}

// take notes a tool of a list; schema is good only during the call.
func (l *lesson) take(name string, schema []byte) {
	l.listed[name] = struct{}{}
	l.catalogue.mu.Lock()
	known := l.catalogue.tools.Knows(name, schema)
	l.catalogue.mu.Unlock()
	switch {
	case known:
	case len(schema) > policy.MaxSchemaBytes:
		l.tools = append(l.tools, taught{name: name}) // it is not kept anyway
	case len(l.tools) < policy.MaxServerTools:
		l.tools = append(l.tools, taught{name, bytes.Clone(schema)})
	}
}

// keep takes over what was noted, once the answer is known to be a good one. A whole
// list has all tools that there are: the others are forgotten.
func (l *lesson) keep(whole bool) {
	c := l.catalogue
	c.mu.Lock()
	defer c.mu.Unlock()
	known, refused := len(c.tools), c.refused
	if whole {
		c.refused = ""
		maps.DeleteFunc(c.tools, func(name string, _ jsontext.Value) bool {
			_, listed := l.listed[name]
			return !listed
		})
	}
	news := len(c.tools) < known
	for _, tool := range l.tools {
		changed, err := c.tools.Learn(tool.name, tool.schema)
		if err != nil && c.refused == "" {
			c.refused = fmt.Sprintf("conditions are not checked against every tool of the server: %v", err)
		}
		news = news || changed
	}
	if !news && c.refused == refused {
		return
	}
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// filter takes out of a list what the caller may not use, and learns what the
// server says of its tools.
func (a *answer) filter(body []byte, limits toolcall.Limits) ([]byte, error) {
	version := a.message.ProtocolVersion()
	if method := a.message.Method(); method != "tools/list" {
		filtered, _, err := toolcall.FilterList(method, body, version, limits, a.shows)
		return filtered, err
	}
	learned := lesson{catalogue: a.guard.tools, listed: map[string]struct{}{}}
	filtered, last, err := toolcall.LearnTools(body, version, limits, a.shows, learned.take)
	if err == nil {
		learned.keep(last && a.fromTheFirst())
	}
	return filtered, err
}

// fromTheFirst reports whether the caller asked for a list from its first page on. It
// is not sure where the word stands elsewhere in the request: that only has a tool
// kept that is gone.
func (a *answer) fromTheFirst() bool { return !bytes.Contains(a.message.Body(), []byte(`"cursor"`)) }
