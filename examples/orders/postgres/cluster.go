// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	adminRole    = "postgres"
	serverRole   = "orders_server"
	portAttempts = 5
	pollEvery    = 20 * time.Millisecond
	stopPatience = 5 * time.Second
)

// grantsSQL makes the role of the example's server: it reads everything and
// changes an order's status, nothing else. The argument is its password.
const grantsSQL = `
CREATE ROLE orders_server LOGIN PASSWORD '%s';
GRANT SELECT ON customers, orders, order_items TO orders_server;
GRANT UPDATE (status, updated_at) ON orders TO orders_server;
`

// cluster is a private PostgreSQL in a folder of its own.
type cluster struct {
	dir        string
	programs   string
	credential *syscall.Credential // nil: run as who we are
	password   string
	port       int
	server     *process
}

func startCluster(ctx context.Context, options Options) (*Database, error) {
	dir, err := os.MkdirTemp(options.Dir, "custody-orders-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the cluster: %w", err)
	}
	c := &cluster{dir: dir, password: randomHex(16)}
	password := randomHex(16)
	err = c.start(ctx, options)
	if err == nil {
		err = load(ctx, c.url(adminRole, c.password), fmt.Sprintf(grantsSQL, password))
	}
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	origin := fmt.Sprintf("private cluster on 127.0.0.1:%d in %s", c.port, dir)
	return &Database{url: c.url(serverRole, password), origin: origin, stop: c.close}, nil
}

func (c *cluster) start(ctx context.Context, options Options) error {
	var err error
	if c.programs, err = findPrograms(options.Search); err != nil {
		return err
	}
	if c.programs == "" {
		if c.programs, err = download(ctx, c.dir, options.Repository); err != nil {
			return fmt.Errorf("%w (tried to %w)", ErrNotFound, err)
		}
	}
	if os.Geteuid() == 0 {
		if c.credential, err = unprivileged(); err != nil {
			return err
		}
	}
	if err := c.initialise(ctx); err != nil {
		return err
	}
	for range portAttempts {
		if err = c.serve(ctx); !errors.Is(err, errPortTaken) {
			return err
		}
	}
	return err
}

// unprivileged picks the user to run as in place of root.
func unprivileged() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		account, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(account.Uid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		gid, err := strconv.ParseUint(account.Gid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL does not run as root, and neither user postgres nor user nobody exists")
}

// initialise runs initdb. The password goes through a file, so that it shows
// in no process list.
func (c *cluster) initialise(ctx context.Context) error {
	passwordFile := filepath.Join(c.dir, "password")
	if err := os.WriteFile(passwordFile, []byte(c.password+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the cluster's password: %w", err)
	}
	if c.credential != nil {
		for _, path := range []string{c.dir, passwordFile} {
			if err := os.Chown(path, int(c.credential.Uid), int(c.credential.Gid)); err != nil {
				return fmt.Errorf("give the cluster's folder to its user: %w", err)
			}
		}
	}
	initdb, err := c.run("initdb", "-D", c.data(), "-U", adminRole, "-A", "scram-sha-256", "--pwfile="+passwordFile,
		"-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions", "--wal-segsize=1")
	if err == nil {
		err = initdb.wait(ctx)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("make the cluster: %w", ctx.Err())
	}
	if err != nil {
		return fmt.Errorf("make the cluster in %s (may its user pass through the folders above?): %w", c.dir, err)
	}
	return os.Remove(passwordFile)
}

// serve starts the server on a free port and returns once it accepts us.
func (c *cluster) serve(ctx context.Context) error {
	var err error
	if c.port, err = freePort(); err != nil {
		return err
	}
	return c.listen(ctx)
}

// listen starts the server on the port of the cluster and returns once it accepts us.
func (c *cluster) listen(ctx context.Context) error {
	var err error
	c.server, err = c.run("postgres", "-D", c.data(), "-p", strconv.Itoa(c.port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off",
		"-c", "max_connections=40", "-c", "dynamic_shared_memory_type=mmap", "-c", "lc_messages=C")
	if err != nil {
		return err
	}
	if err := c.awaitReady(ctx); err != nil {
		if strings.Contains(err.Error(), "could not bind") {
			return errPortTaken
		}
		return err
	}
	return nil
}

func (c *cluster) awaitReady(ctx context.Context) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		// Only our own cluster knows the password, so a connection that
		// succeeds cannot have reached another server on that port.
		conn, err := pgx.Connect(ctx, c.url(adminRole, c.password))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-c.server.done:
			return c.server.exited()
		case <-ctx.Done():
			return fmt.Errorf("the cluster did not become ready: %w", errors.Join(ctx.Err(), err))
		case <-tick.C:
		}
	}
}

func (c *cluster) close() error {
	var err error
	if c.server != nil {
		err = c.server.stop(stopPatience)
	}
	return errors.Join(err, os.RemoveAll(c.dir))
}

func (c *cluster) data() string { return filepath.Join(c.dir, "data") }

func (c *cluster) url(role, password string) string {
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/postgres?sslmode=disable", role, password, c.port)
}

// run starts one of the two programs as the cluster's user.
func (c *cluster) run(program string, arguments ...string) (*process, error) {
	cmd := exec.Command(filepath.Join(c.programs, program), arguments...)
	cmd.Dir = c.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = attributes(c.credential)
	return startProcess(cmd)
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	return port, listener.Close()
}
