// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dbsetup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// edit is a file of the server that is to be replaced.
type edit struct {
	path     string
	old, new string
	fresh    bool // there was none
	// lines are those that go in or out, what says where, done what was done.
	lines, what, done string
}

// caFile is the file of authorities in the data folder that setup makes where the server has none.
const caFile = "custody-ca.pem"

// planFiles finds what is to change in the server's files. want gives the text that one should have.
func (s *server) planFiles(ctx context.Context, p *plan, lines map[string][]string, want func(text string, lines []string) (string, error), what, done string) error {
	for _, path := range []string{s.facts.HBA, s.facts.Ident, s.ownCAFile()} {
		if path == "" || lines[path] == nil {
			continue
		}
		old, err := s.read(ctx, path)
		if err != nil {
			return err
		}
		text, err := want(old, lines[path])
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if text == old {
			continue
		}
		e := edit{
			path: path, old: old, new: text, fresh: old == "", what: what, done: done,
			lines: strings.TrimSuffix(render(s.o.Database.Name, lines[path]), "\n"),
		}
		if s.o.Print || s.local && writable(path) == nil {
			p.files = append(p.files, e)
			continue
		}
		p.left = append(p.left, fmt.Sprintf("%s cannot be written from here: %s, and then SELECT pg_reload_conf():\n%s", path, what, e.lines))
	}
	return nil
}

// blockIsOurs says where a document of the same name has put lines for another database of the server: one would take
// those of the other for its own.
func (s *server) blockIsOurs(ctx context.Context) error {
	d := s.o.Database
	text, err := s.read(ctx, s.facts.HBA)
	if err != nil {
		return err
	}
	lines, err := blockOf(text, d.Name)
	if err != nil {
		return fmt.Errorf("%s: %w", s.facts.HBA, err)
	}
	for _, line := range lines {
		if strings.HasPrefix(line, "hostssl ") && !strings.HasPrefix(line, `hostssl "`+d.DBName+`" `) {
			return fmt.Errorf("%s:%d: %s holds lines of a document %s for another database (%s): choose another metadata.name, or undo that one with its document",
				d.File, d.Line, s.facts.HBA, d.Name, line)
		}
	}
	return nil
}

// ownCAFile is the file of authorities if it is setup's own, else "".
func (s *server) ownCAFile() string {
	if f := s.facts.CAFile; f == "" || f == caFile || f == filepath.Join(s.facts.Data, caFile) {
		return filepath.Join(s.facts.Data, caFile)
	}
	return ""
}

// caPath is the file of authorities that the server uses, "" if it uses none.
func (s *server) caPath() string {
	if f := s.facts.CAFile; f == "" || filepath.IsAbs(f) {
		return f
	}
	return filepath.Join(s.facts.Data, s.facts.CAFile)
}

// writable says whether this process could replace a file: its folder must let it, and it must be able to give the new
// file to the owner of the old one.
func writable(path string) error {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		real, err = path, nil
	}
	if err != nil {
		return err
	}
	folder, err := os.Stat(filepath.Dir(real))
	if err != nil {
		return err
	}
	owner, ok := folder.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 && uint32(os.Geteuid()) != owner.Uid {
		return fs.ErrPermission
	}
	tmp, err := os.CreateTemp(filepath.Dir(real), ".custody-*")
	if err != nil {
		return err
	}
	return errors.Join(tmp.Close(), os.Remove(tmp.Name()))
}

// write replaces a file in one step and keeps its owner and mode; a new one gets the owner of its folder.
func write(path, text string) error {
	real, err := filepath.EvalSymlinks(path)
	mode := os.FileMode(0o600)
	like := filepath.Dir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		real = path
	case err != nil:
		return err
	default:
		like = real
	}
	info, err := os.Stat(like)
	if err != nil {
		return err
	}
	if like == real {
		mode = info.Mode().Perm()
	}
	tmp, err := os.CreateTemp(filepath.Dir(real), ".custody-*")
	if err != nil {
		return err
	}
	_, err = tmp.WriteString(text)
	err = errors.Join(err, tmp.Chmod(mode))
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		err = errors.Join(err, tmp.Chown(int(owner.Uid), int(owner.Gid)))
	}
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), real)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}

func (e edit) apply() error {
	return write(e.path, e.new)
}

func (e edit) revert() error {
	if e.fresh {
		return os.Remove(e.path)
	}
	return write(e.path, e.old)
}

// apply does what the plan says. The statements come first and are committed last: until then an error leaves all as it was.
func (s *server) apply(ctx context.Context, p *plan) error {
	if err := s.sound(ctx); err != nil {
		return fmt.Errorf("%w; repair that first: nothing was changed", err)
	}
	for _, c := range p.changes {
		for _, sql := range c.sql {
			if _, err := s.tx.Exec(ctx, sql); err != nil {
				return fmt.Errorf("%s: %w%s; nothing was changed", c.what, err, detail(err))
			}
		}
	}
	done, err := s.writeFiles(ctx, p.files)
	if err == nil {
		err = s.tx.Commit(ctx)
	}
	if err != nil {
		for _, e := range done {
			if back := e.revert(); back != nil {
				err = errors.Join(err, fmt.Errorf("%s could not be put back, it was:\n%s\n%w", e.path, e.old, back))
			}
		}
		return fmt.Errorf("%w; nothing was changed", err)
	}
	return s.after(ctx, p)
}

// writeFiles writes and has the server look at them; those that were written are given also with an error.
func (s *server) writeFiles(ctx context.Context, files []edit) (done []edit, err error) {
	for _, e := range files {
		if err := e.apply(); err != nil {
			return done, fmt.Errorf("write %s: %w", e.path, err)
		}
		done = append(done, e)
	}
	if len(files) > 0 {
		err = s.sound(ctx)
	}
	return done, err
}

// sound asks the server whether it could read its files as they are now.
func (s *server) sound(ctx context.Context) error {
	views := map[string]string{s.facts.HBA: "pg_hba_file_rules", s.facts.Ident: "pg_ident_file_mappings"}
	for path, view := range views {
		wrong, err := column[string](ctx, s.tx, "SELECT line_number || ': ' || error FROM pg_catalog."+view+
			" WHERE error IS NOT NULL AND error <> 'hostssl record cannot match because SSL is disabled' ORDER BY line_number")
		if err != nil {
			return err
		}
		if len(wrong) > 0 {
			return fmt.Errorf("%s is not accepted by the server: line %s", path, strings.Join(wrong, "; line "))
		}
	}
	return nil
}

// after does what is not of the transaction.
func (s *server) after(ctx context.Context, p *plan) error {
	for _, sql := range p.system {
		if _, err := s.conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("all else was done, but not %s: %w; run the command again", sql, err)
		}
	}
	for _, role := range p.ended {
		if _, err := s.conn.Exec(ctx, endSessions(role)); err != nil {
			return fmt.Errorf("all else was done, but sessions of role %s may go on: %w", role.name, err)
		}
	}
	if len(p.files)+len(p.system) == 0 {
		return nil
	}
	if err := s.reload(ctx); err != nil {
		return fmt.Errorf("all else was done, but the server did not read its files again: %w; run SELECT pg_reload_conf()", err)
	}
	for _, path := range p.remove {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("all else was done: %w", err)
		}
	}
	return nil
}

// endSessions ends those of a role that is not there any more, and so has no name.
func endSessions(role ended) string {
	return fmt.Sprintf("SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE usesysid = %d -- %s", role.oid, role.name)
}

const (
	reloadPatience = 10 * time.Second
	reloadPoll     = 20 * time.Millisecond
)

// reload returns when new connections meet the new files.
func (s *server) reload(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reloadPatience)
	defer cancel()
	before, err := ask[time.Time](ctx, s.conn, "SELECT pg_catalog.pg_conf_load_time()")
	if err != nil {
		return err
	}
	if _, err := s.conn.Exec(ctx, "SELECT pg_catalog.pg_reload_conf()"); err != nil {
		return err
	}
	tick := time.NewTicker(reloadPoll)
	defer tick.Stop()
	for {
		loaded, err := s.loaded(ctx)
		if err != nil {
			return err
		}
		if loaded.After(before) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// only tells what a list of lines has that another has not.
func only(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}
