// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package peer_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/dapr-custody/custody/internal/peer"
)

// The test binary is started again as the peer: what it does is in its environment,
// so that its arguments can be those of a daprd.
const (
	roleVariable   = "PEER_TEST_ROLE"
	socketVariable = "PEER_TEST_SOCKET"
)

func TestMain(m *testing.M) {
	role, socket := os.Getenv(roleVariable), os.Getenv(socketVariable)
	if role == "" {
		os.Exit(m.Run())
	}
	if err := act(role, socket); err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}

// act does the part of the peer: one line of output for each line of input.
func act(role, socket string) error {
	switch role {
	case "connect": // Connects once and keeps the connection.
		conn, err := net.Dial("unix", socket)
		if err != nil {
			return err
		}
		defer conn.Close()
		return eachLine(func() string { return "connected" })
	case "call": // Makes a call for each line, over one client.
		return calls(socket, nil)
	case "bequeath": // Connects, and leaves the connection to a child.
		return bequeath(socket)
	case "heir":
		conn, err := net.FileConn(os.NewFile(3, "inherited"))
		if err != nil {
			return err
		}
		return calls(socket, conn)
	case "again": // Starts itself anew for each line: another program, or the same one.
		return eachLine(func() string {
			if err := syscall.Exec("/proc/self/exe", os.Args, os.Environ()); err != nil {
				return err.Error()
			}
			return "unreachable"
		})
	case "attest": // Attests whoever connects.
		listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
		if err != nil {
			return err
		}
		return eachLine(func() string {
			conn, err := listener.AcceptUnix()
			if err != nil {
				return err.Error()
			}
			_, _, err = new(peer.Attestor).Attest(conn)
			return strings.ReplaceAll(fmt.Sprint(err), "\n", " ")
		})
	}
	return fmt.Errorf("no role %q", role)
}

func eachLine(do func() string) error {
	fmt.Println("ready")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		fmt.Println(do())
	}
	return in.Err()
}

func calls(socket string, inherited net.Conn) error {
	dial := func(context.Context, string) (net.Conn, error) {
		if inherited != nil {
			return inherited, nil
		}
		return net.Dial("unix", socket)
	}
	client, err := grpc.NewClient("passthrough:///peer", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(dial))
	if err != nil {
		return err
	}
	defer client.Close()
	return eachLine(func() string { return call(client) })
}

// call is what came of one call, in one line.
func call(client *grpc.ClientConn) string {
	client.ResetConnectBackoff()
	client.Connect()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	answer, err := healthpb.NewHealthClient(client).Check(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		return "refused: " + strings.ReplaceAll(err.Error(), "\n", " ")
	}
	return "served: " + answer.GetStatus().String()
}

func bequeath(socket string) error {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket})
	if err != nil {
		return err
	}
	file, err := conn.File()
	if err != nil {
		return err
	}
	heir := exec.Command("/proc/self/exe")
	heir.Env = append(os.Environ(), roleVariable+"=heir")
	heir.Stdin, heir.Stdout, heir.Stderr = os.Stdin, os.Stdout, os.Stderr
	heir.ExtraFiles = []*os.File{file}
	if err := heir.Start(); err != nil {
		return err
	}
	return heir.Wait()
}

// peerProcess is a process that was started to connect.
type peerProcess struct {
	t   *testing.T
	cmd *exec.Cmd
	in  *os.File
	out *bufio.Reader
}

// how a peer is started; what is empty is that of the test.
type how struct {
	exe       string
	args      []string
	namespace []string
	uid       uint32
	shell     string // what a shell does before, in a mount namespace of its own
}

// start starts a peer that is ready, and ends it with the test.
func start(t *testing.T, role, socket string, h how) *peerProcess {
	t.Helper()
	if h.exe == "" {
		h.exe = executable(t)
	}
	cmd := exec.Command(h.exe, h.args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if h.shell != "" {
		cmd = exec.Command("/bin/sh", "-c", h.shell+` && exec "$0" "$@"`)
		cmd.Args = append(append(cmd.Args, h.exe), h.args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	}
	if h.uid != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: h.uid, Gid: h.uid}
	}
	// The race detector has each process wait for a second at its end.
	cmd.Env = append([]string{"GORACE=atexit_sleep_ms=0", roleVariable + "=" + role, socketVariable + "=" + socket, "PATH=" + os.Getenv("PATH")}, h.namespace...)
	inRead, in, err := os.Pipe()
	require.NoError(t, err)
	out, outWrite, err := os.Pipe()
	require.NoError(t, err)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = inRead, outWrite, os.Stderr
	require.NoError(t, cmd.Start())
	require.NoError(t, inRead.Close())
	require.NoError(t, outWrite.Close())
	p := &peerProcess{t: t, cmd: cmd, in: in, out: bufio.NewReader(out)}
	t.Cleanup(func() {
		p.end()
		out.Close()
	})
	require.Equal(t, "ready", p.line())
	return p
}

func (p *peerProcess) pid() int { return p.cmd.Process.Pid }

// do has the peer act once and returns what came of it.
func (p *peerProcess) do() string {
	p.t.Helper()
	_, err := io.WriteString(p.in, "go\n")
	require.NoError(p.t, err)
	return p.line()
}

func (p *peerProcess) line() string {
	p.t.Helper()
	line, err := p.out.ReadString('\n')
	require.NoError(p.t, err)
	return strings.TrimSuffix(line, "\n")
}

// kill ends the process, and not those that it started, and waits for it.
func (p *peerProcess) kill() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Kill())
	require.Error(p.t, p.cmd.Wait())
}

// end closes the input, at which a peer ends.
func (p *peerProcess) end() {
	p.in.Close()
	if p.cmd.ProcessState == nil {
		if err := p.cmd.Wait(); err != nil {
			p.t.Errorf("the peer ended badly: %v", err)
		}
	}
}

// folder is a new folder with a short name, which other users may enter.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "peer")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

func executable(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	exe, err = filepath.EvalSymlinks(exe)
	require.NoError(t, err)
	return exe
}

// copyTo makes a copy of the test binary, with more behind its end.
func copyTo(t *testing.T, path, more string) string {
	t.Helper()
	data, err := os.ReadFile(executable(t))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, append(data, more...), 0o755))
	return path
}
