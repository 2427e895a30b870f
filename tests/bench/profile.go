// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/dapr-custody/custody/internal/localdomain"
)

// enableProfiles gives each app's daprd a port for profiles.
func enableProfiles(ctx context.Context, apps map[string]localdomain.AppOptions) (map[string]int, error) {
	ports := map[string]int{}
	for id, options := range apps {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		_, port, err := net.SplitHostPort(listener.Addr().String())
		if err = errors.Join(err, listener.Close()); err != nil {
			return nil, err
		}
		if ports[id], err = strconv.Atoi(port); err != nil {
			return nil, err
		}
		options.DaprdFlags = []string{"--enable-profiling", "--profile-port", port}
		apps[id] = options
	}
	return ports, nil
}

// profile writes the CPU profile of guarded calls: both sidecars, merged, with
// the load at each number of connections for an equal part of the time.
func profile(ctx context.Context, s settings, progress io.Writer) (err error) {
	if s.variants, err = chosen(guard); err != nil {
		return err
	}
	b, err := start(ctx, s, progress)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	fmt.Fprintf(progress, "profiling guarded calls for %s\n", s.duration)
	t := b.targets[0]
	raw := []string{filepath.Join(b.folder, "callee.pprof"), filepath.Join(b.folder, "caller.pprof")}
	group, groupCtx := errgroup.WithContext(ctx)
	for i, port := range []int{t.calleeProfile, t.callerProfile} {
		group.Go(func() error { return fetchProfile(groupCtx, port, s.duration, raw[i]) })
	}
	group.Go(func() error {
		for _, n := range s.connections {
			if _, err := b.cell(groupCtx, t, n, s.duration/time.Duration(len(s.connections))); err != nil {
				return err
			}
		}
		return nil
	})
	if err = group.Wait(); err != nil {
		return err
	}
	if err = mergeProfiles(ctx, raw, s.profile); err != nil {
		return err
	}
	fmt.Fprintf(progress, "%d calls profiled into %s; build daprd again\n", t.calls, s.profile)
	return nil
}

func fetchProfile(ctx context.Context, port int, duration time.Duration, file string) error {
	seconds := max(1, int(duration.Round(time.Second).Seconds()))
	url := fmt.Sprintf("http://127.0.0.1:%d/debug/pprof/profile?seconds=%d", port, seconds)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("profile: status %d: %.200s", resp.StatusCode, text)
	}
	return os.WriteFile(file, text, 0o600)
}

// mergeProfiles writes one profile of several, by the go command.
func mergeProfiles(ctx context.Context, from []string, to string) error {
	merged := from[0] + ".merged"
	cmd := exec.CommandContext(ctx, "go", slices.Concat([]string{"tool", "pprof", "-proto", "-output", merged}, from)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go tool pprof: %w: %s", err, out)
	}
	packed, err := os.ReadFile(merged)
	if err != nil {
		return err
	}
	unpack, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	text, err := io.ReadAll(unpack)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	if text, err = withoutFolders(text); err != nil {
		return err
	}
	var out bytes.Buffer
	pack, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return err
	}
	_, err = pack.Write(text)
	if err = errors.Join(err, pack.Close()); err != nil {
		return err
	}
	return os.WriteFile(to, out.Bytes(), 0o644) //nolint:gosec // it is source code
}

// stringTable is the field of a profile that holds its strings
// (https://github.com/google/pprof/blob/main/proto/profile.proto).
const stringTable = 6

// withoutFolders takes the folders out of the file names in a profile: they say
// where it was made, and the compiler does not look at them.
func withoutFolders(profile []byte) ([]byte, error) {
	var out []byte
	for rest := profile; len(rest) > 0; {
		number, kind, tag := protowire.ConsumeTag(rest)
		if tag < 0 {
			return nil, fmt.Errorf("profile: %w", protowire.ParseError(tag))
		}
		value := protowire.ConsumeFieldValue(number, kind, rest[tag:])
		if value < 0 {
			return nil, fmt.Errorf("profile: %w", protowire.ParseError(value))
		}
		field := rest[:tag+value]
		rest = rest[tag+value:]
		if number == stringTable && kind == protowire.BytesType {
			if text, _ := protowire.ConsumeString(field[tag:]); path.IsAbs(text) {
				field = protowire.AppendString(protowire.AppendTag(nil, number, kind), path.Base(text))
			}
		}
		out = append(out, field...)
	}
	return out, nil
}
