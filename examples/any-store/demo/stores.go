// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/dapr-custody/custody/examples/orders/postgres"
	"github.com/dapr-custody/custody/examples/stage"
)

// names are the components of the example, each over its store.
var names = []string{"sqlite", "postgresql", "redis", "dynamodb"}

// stores are real servers that end with the demo.
type stores struct {
	sqlite   string
	postgres *postgres.Database
	redis    string
	dynamodb string
	closers  []func() error
}

func startStores(ctx context.Context, dir, dynalite string, out *stage.Printer) (*stores, error) {
	s := &stores{sqlite: filepath.Join(dir, "carts.db")}
	database, err := postgres.StartScratch(ctx, postgres.FromEnvironment())
	if err != nil {
		return s, err
	}
	s.postgres = database
	s.closers = append(s.closers, database.Close)
	if err := s.startRedis(ctx, dir); err != nil {
		return s, err
	}
	return s, s.startDynamoDB(ctx, dynalite, out)
}

func (s *stores) startRedis(ctx context.Context, dir string) error {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return errors.New("there is no redis-server: install it (Debian: apt-get install redis-server)")
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	s.redis = listener.Addr().String()
	if err := listener.Close(); err != nil {
		return err
	}
	cmd := exec.Command(program, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir)
	if err := s.start(cmd); err != nil {
		return fmt.Errorf("redis-server: %w", err)
	}
	return await(ctx, s.redis)
}

// startDynamoDB serves DynamoDB's API by an npm package, which is installed first where it is not there yet.
func (s *stores) startDynamoDB(ctx context.Context, dir string, out *stage.Printer) error {
	if _, err := os.Stat(filepath.Join(dir, "node_modules", ".package-lock.json")); err != nil {
		out.Note("installing dynalite, a DynamoDB for development, with npm")
		npm := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
		npm.Dir = dir
		if text, err := npm.CombinedOutput(); err != nil {
			return fmt.Errorf("npm ci in %s: %w: %s (Debian: apt-get install nodejs npm)", dir, err, text)
		}
	}
	cmd := exec.Command("node", "server.js", "carts")
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	// It ends with its standard input.
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("dynalite: %w", err)
	}
	s.closers = append(s.closers, func() error { return errors.Join(stdin.Close(), cmd.Wait()) })
	url, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return fmt.Errorf("dynalite did not start: %w", err)
	}
	s.dynamodb = strings.TrimSpace(url)
	return nil
}

// start starts a server that close kills.
func (s *stores) start(cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	s.closers = append(s.closers, func() error {
		err := cmd.Process.Kill()
		var ended *exec.ExitError
		if wait := cmd.Wait(); wait != nil && !errors.As(wait, &ended) {
			err = errors.Join(err, wait)
		}
		return err
	})
	return nil
}

func await(ctx context.Context, address string) error {
	tick := time.NewTicker(stage.PollEvery)
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nobody listens on %s: %w", address, ctx.Err())
		case <-tick.C:
		}
	}
}

// environment tells the components where their stores are.
func (s *stores) environment() []string {
	return []string{
		"ANY_STORE_SQLITE=" + s.sqlite, "ANY_STORE_POSTGRESQL=" + s.postgres.URL(),
		"ANY_STORE_REDIS=" + s.redis, "ANY_STORE_DYNAMODB=" + s.dynamodb,
	}
}

func (s *stores) close() error {
	var errs []error
	for i := range s.closers {
		errs = append(errs, s.closers[len(s.closers)-1-i]())
	}
	s.closers = nil
	return errors.Join(errs...)
}
