// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/dapr/components-contrib/state"

	"github.com/dapr-custody/custody/internal/history"
)

type historyFlags struct {
	component                string
	app, namespace, instance string
	summary                  bool
}

func runHistory(ctx context.Context, out io.Writer, args []string) error {
	var f historyFlags
	flags := flag.NewFlagSet("custody-components history", flag.ContinueOnError)
	flags.StringVar(&f.component, "component", "", "file with the Component of the actor state store (required)")
	flags.StringVar(&f.app, "app", "", "only instances of this app")
	flags.StringVar(&f.namespace, "namespace", "", "only instances of this namespace")
	flags.StringVar(&f.instance, "instance", "", "only the instance with this ID")
	flags.BoolVar(&f.summary, "summary", false, "only the rows that say how an instance began and stands")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	case flags.NArg() > 0:
		return fmt.Errorf("argument %q is not known", flags.Arg(0))
	case f.component == "":
		return errors.New("--component is missing: name the file of the actor state store")
	}
	c, err := loadComponent(f.component)
	if err != nil {
		return err
	}
	store, err := openStore(ctx, c, os.Getenv, os.Stderr)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriter(out)
	return errors.Join(f.print(ctx, store, buffered), buffered.Flush(), store.Close())
}

func (f *historyFlags) print(ctx context.Context, store readable, out io.Writer) error {
	instances, err := f.instances(ctx, store)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(out)
	for _, key := range instances {
		rows, err := f.read(ctx, store, key)
		if err != nil {
			return err
		}
		if err := enc.Encode(rows); err != nil {
			return err
		}
	}
	return nil
}

// instances gives the instances that are asked for, in the order of their names. One whose counts were deleted is found
// only by its ID.
func (f *historyFlags) instances(ctx context.Context, store readable) ([]history.Key, error) {
	row := history.MetadataRow
	if f.instance != "" {
		row = "%"
	}
	keys, err := list(ctx, store, f.pattern(history.Key{App: f.app, Namespace: f.namespace, Instance: f.instance}, row))
	if err != nil {
		return nil, err
	}
	seen := map[history.Key]bool{}
	var found []history.Key
	for _, text := range keys {
		key, ok := history.ParseKey(text)
		key.Row = ""
		if !ok || seen[key] || f.app != "" && key.App != f.app || f.namespace != "" && key.Namespace != f.namespace ||
			f.instance != "" && key.Instance != f.instance { // SQLite compares without case
			continue
		}
		seen[key] = true
		found = append(found, key)
	}
	slices.SortFunc(found, func(a, b history.Key) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.App, b.App), cmp.Compare(a.Instance, b.Instance))
	})
	return found, nil
}

// pattern is the key in the language of LIKE, with what is not known left open.
func (f *historyFlags) pattern(key history.Key, row string) string {
	const open = "\x00"
	escaped := strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)
	part := func(s string) string { return cmp.Or(escaped.Replace(s), open) }
	text := history.Key{App: part(key.App), Namespace: part(key.Namespace), Instance: part(key.Instance), Row: row}.String()
	return strings.ReplaceAll(text, open, "%")
}

const page = 1000

func list(ctx context.Context, store readable, pattern string) ([]string, error) {
	var keys []string
	size := uint32(page)
	for req := (&state.KeysLikeRequest{Pattern: pattern, PageSize: &size}); ; {
		resp, err := store.KeysLike(ctx, req)
		if err != nil {
			return nil, fmt.Errorf("listing keys: %w", err)
		}
		keys = append(keys, resp.Keys...)
		if resp.ContinuationToken == nil || len(resp.Keys) == 0 {
			return keys, nil
		}
		req.ContinuationToken = resp.ContinuationToken
	}
}

// Dapr writes the metadata with every change of an instance. If it is the same before and after, the rows belong together.
const (
	maxTries = 20
	nextTry  = 50 * time.Millisecond
)

func (f *historyFlags) read(ctx context.Context, store readable, of history.Key) (*history.Rows, error) {
	metadata := of
	metadata.Row = history.MetadataRow
	for range maxTries {
		before, err := store.Get(ctx, &state.GetRequest{Key: metadata.String()})
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", metadata, err)
		}
		rows, err := f.rows(ctx, store, of, before.Data)
		if err != nil {
			return nil, err
		}
		after, err := store.Get(ctx, &state.GetRequest{Key: metadata.String()})
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", metadata, err)
		}
		if etag(before) == etag(after) {
			return &history.Rows{App: of.App, Namespace: of.Namespace, Instance: of.Instance, Rows: rows}, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(nextTry):
		}
	}
	return nil, fmt.Errorf("instance %s is written all the time; read it when it rests", of.Instance)
}

func etag(r *state.GetResponse) string {
	if r.ETag == nil {
		return ""
	}
	return *r.ETag
}

func (f *historyFlags) rows(ctx context.Context, store readable, of history.Key, metadata []byte) (map[string][]byte, error) {
	var names []string
	if f.summary {
		names = history.SummaryRows(metadata)
	} else {
		keys, err := list(ctx, store, f.pattern(of, "%"))
		if err != nil {
			return nil, err
		}
		for _, text := range keys {
			if key, ok := history.ParseKey(text); ok && key.App == of.App && key.Namespace == of.Namespace && key.Instance == of.Instance {
				names = append(names, key.Row)
			}
		}
	}
	if len(names) > history.MaxRows {
		return nil, fmt.Errorf("instance %s has %d rows; more than %d are not read", of.Instance, len(names), history.MaxRows)
	}
	return values(ctx, store, of, names)
}

func values(ctx context.Context, store readable, of history.Key, names []string) (map[string][]byte, error) {
	rows := make(map[string][]byte, len(names))
	for chunk := range slices.Chunk(names, page) {
		requests := make([]state.GetRequest, len(chunk))
		for i, name := range chunk {
			of.Row = name
			requests[i].Key = of.String()
		}
		responses, err := store.BulkGet(ctx, requests, state.BulkGetOpts{Parallelism: 8})
		if err != nil {
			return nil, fmt.Errorf("reading rows of %s: %w", of.Instance, err)
		}
		for _, r := range responses {
			if r.Error != "" {
				return nil, fmt.Errorf("reading %s: %s", r.Key, r.Error)
			}
			if key, ok := history.ParseKey(r.Key); ok && r.ETag != nil { // without one the row went away
				rows[key.Row] = append([]byte{}, r.Data...)
			}
		}
	}
	return rows, nil
}
