// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package peer_test

import (
	"crypto/sha256"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/identity"
	"github.com/dapr-custody/custody/internal/peer"
)

const anotherUser = 65534

// door is a listener that hands out what connects to it.
type door struct {
	t        *testing.T
	socket   string
	listener *net.UnixListener
}

func newDoor(t *testing.T) *door {
	t.Helper()
	d := &door{t: t, socket: filepath.Join(folder(t), "s")}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: d.socket})
	require.NoError(t, err)
	require.NoError(t, os.Chmod(d.socket, 0o666))
	t.Cleanup(func() { require.NoError(t, listener.Close()) })
	d.listener = listener
	return d
}

func (d *door) accept() *net.UnixConn {
	d.t.Helper()
	require.NoError(d.t, d.listener.SetDeadline(time.Now().Add(time.Minute)))
	conn, err := d.listener.AcceptUnix()
	require.NoError(d.t, err)
	d.t.Cleanup(func() { require.NoError(d.t, conn.Close()) })
	return conn
}

// attested attests the next peer and lets it go again.
func (d *door) attested(a *peer.Attestor) (identity.Process, error) {
	d.t.Helper()
	process, handle, err := a.Attest(d.accept())
	if err != nil {
		require.Nil(d.t, handle)
		return process, err
	}
	require.NoError(d.t, handle.Ended())
	require.NoError(d.t, handle.Close())
	require.NoError(d.t, handle.Close(), "twice")
	require.ErrorIs(d.t, handle.Ended(), peer.ErrEnded, "closed")
	return process, nil
}

func startTicks(t *testing.T, pid int) uint64 {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	require.NoError(t, err)
	fields := strings.Fields(string(text[strings.LastIndex(string(text), ")")+2:]))
	ticks, err := strconv.ParseUint(fields[19], 10, 64)
	require.NoError(t, err)
	return ticks
}

func sum(t *testing.T, path string) [32]byte {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return sha256.Sum256(data)
}

// What is attested is what the process is, on new and on old kernels.
func TestAttest(t *testing.T) {
	for name, attestor := range map[string]*peer.Attestor{"now": {}, "old": peer.OldKernel()} {
		t.Run(name, func(t *testing.T) {
			d := newDoor(t)
			for range 2 {
				p := start(t, "connect", d.socket, how{args: []string{"--app-id", "orders-mcp", "--mode", "standalone"}, namespace: []string{"NAMESPACE=prod"}})
				process, err := d.attested(attestor)
				require.NoError(t, err)
				require.Equal(t, identity.Process{
					PID: p.pid(), Started: startTicks(t, p.pid()), UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()),
					Executable: executable(t), SHA256: sum(t, executable(t)), AppID: "orders-mcp", Namespace: "prod",
				}, process)
				p.end()
			}
		})
	}
}

func TestAttestWhatIsAmbiguous(t *testing.T) {
	d := newDoor(t)
	attestor := &peer.Attestor{}
	for name, h := range map[string]how{
		"app ID twice":    {args: []string{"--app-id", "a", "--app-id=b"}},
		"no app ID value": {args: []string{"--app-id"}},
		"empty namespace": {args: []string{"--app-id", "a"}, namespace: []string{"NAMESPACE="}},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, "connect", d.socket, h)
			process, err := d.attested(attestor)
			require.ErrorIs(t, err, peer.ErrAmbiguous)
			require.Equal(t, p.pid(), process.PID, "what is known is told")
		})
	}
}

// The file that runs counts, not what has its name.
func TestAttestReplacedExecutable(t *testing.T) {
	d := newDoor(t)
	dir := folder(t)
	attestor := &peer.Attestor{}
	for name, change := range map[string]func(path string) error{
		"replaced": func(path string) error { return os.Rename(copyTo(t, filepath.Join(dir, "new"), "new"), path) },
		"removed":  os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			path := copyTo(t, filepath.Join(dir, name), "old")
			start(t, "connect", d.socket, how{exe: path})
			process, err := d.attested(attestor)
			require.NoError(t, err)
			require.Equal(t, path, process.Executable)
			require.Equal(t, sum(t, path), process.SHA256)

			start(t, "connect", d.socket, how{exe: path})
			require.NoError(t, change(path))
			_, err = d.attested(attestor)
			require.ErrorIs(t, err, peer.ErrChanged)
			require.ErrorContains(t, err, "start it again")
		})
	}
	t.Run("moved", func(t *testing.T) { // It is known by where it is now.
		path, to := copyTo(t, filepath.Join(dir, "here"), ""), filepath.Join(dir, "there")
		start(t, "connect", d.socket, how{exe: path})
		require.NoError(t, os.Rename(path, to))
		process, err := d.attested(attestor)
		require.NoError(t, err)
		require.Equal(t, to, process.Executable)
	})
}

// The process that connected is dead; its child holds the connection, and its PID is
// another's, as far as that can be brought about.
func TestAttestEnded(t *testing.T) {
	d := newDoor(t)
	p := start(t, "bequeath", d.socket, how{})
	conn := d.accept()
	p.kill()
	impostor := reuse(t, p.pid())
	if impostor != nil {
		t.Logf("process %d was given its PID", impostor.Process.Pid)
	}
	process, handle, err := new(peer.Attestor).Attest(conn)
	require.ErrorIs(t, err, peer.ErrEnded)
	require.Nil(t, handle)
	require.Equal(t, p.pid(), process.PID)
	if impostor == nil { // Old kernels cannot tell once the PID is another's.
		_, _, err = peer.OldKernel().Attest(conn)
		require.ErrorIs(t, err, peer.ErrEnded)
	}
}

// A Handle never stands for another process.
func TestHandle(t *testing.T) {
	for name, attestor := range map[string]*peer.Attestor{"now": {}, "old": peer.OldKernel()} {
		t.Run(name, func(t *testing.T) {
			d := newDoor(t)
			p := start(t, "bequeath", d.socket, how{})
			_, handle, err := attestor.Attest(d.accept())
			require.NoError(t, err)
			defer func() { require.NoError(t, handle.Close()) }()
			require.NoError(t, handle.Ended())
			p.kill()
			require.ErrorIs(t, handle.Ended(), peer.ErrEnded)
			reuse(t, p.pid())
			require.ErrorIs(t, handle.Ended(), peer.ErrEnded)
		})
	}
}

// reuse has a process started with a PID that is free, where the system lets this
// be asked for (ns_last_pid, proc(5)); nil where it does not.
func reuse(t *testing.T, pid int) *exec.Cmd {
	t.Helper()
	for range 100 {
		if os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0) != nil {
			return nil
		}
		cmd := exec.Command("/bin/sleep", "1000")
		require.NoError(t, cmd.Start())
		end := func() {
			require.NoError(t, cmd.Process.Kill())
			require.Error(t, cmd.Wait())
		}
		if cmd.Process.Pid == pid {
			t.Cleanup(end)
			return cmd
		}
		end()
	}
	return nil
}

// Each start of a program is another one, also of the same program with the same arguments.
func TestProgramChangesWithExec(t *testing.T) {
	p := start(t, "again", "", how{})
	first, err := peer.Program(p.pid())
	require.NoError(t, err)
	same, err := peer.Program(p.pid())
	require.NoError(t, err)
	require.Equal(t, first, same)
	require.Equal(t, "ready", p.do())
	second, err := peer.Program(p.pid())
	require.NoError(t, err)
	require.NotEqual(t, first, second)
}

// What takes root: another user, and another mount namespace.
func TestAttestAcrossUsersAndNamespaces(t *testing.T) {
	if os.Geteuid() != 0 {
		return // Nothing here can be brought about; the near misses of each selector are elsewhere.
	}
	d := newDoor(t)
	dir := folder(t)
	path := copyTo(t, filepath.Join(dir, "daprd"), "")
	t.Run("another user", func(t *testing.T) {
		start(t, "connect", d.socket, how{exe: path, uid: anotherUser})
		process, err := d.attested(&peer.Attestor{})
		require.NoError(t, err)
		require.EqualValues(t, anotherUser, process.UID)
		require.EqualValues(t, anotherUser, process.GID)
	})
	t.Run("what may not be examined", func(t *testing.T) {
		open := folder(t)
		require.NoError(t, os.Chmod(open, 0o777))
		socket := filepath.Join(open, "s")
		p := start(t, "attest", socket, how{exe: path, uid: anotherUser})
		conn, err := net.Dial("unix", socket)
		require.NoError(t, err)
		defer conn.Close()
		text := p.do()
		require.Contains(t, text, "may not be examined: process "+strconv.Itoa(os.Getpid())+" of user 0, by user 65534")
		require.Contains(t, text, "run the component server as the user of daprd, or give it the capability CAP_SYS_PTRACE")
	})
	t.Run("the name of another file", func(t *testing.T) {
		evil := copyTo(t, filepath.Join(dir, "evil"), "evil")
		p := start(t, "connect", d.socket, how{exe: path, shell: "mount --make-rprivate / && mount --bind " + evil + " " + path})
		link, err := os.Readlink("/proc/" + strconv.Itoa(p.pid()) + "/exe")
		require.NoError(t, err)
		require.Equal(t, path, link, "it looks like the one that was named")
		process, err := d.attested(&peer.Attestor{})
		require.NoError(t, err)
		require.Empty(t, process.Executable)
		require.Equal(t, sum(t, evil), process.SHA256)
	})
}

// A digest is of the bytes that are there, whatever the times of the file say.
func TestDigest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	old := time.Now().Add(-time.Hour)
	attestor := &peer.Attestor{}
	for range 3 {
		for _, content := range []string{"one", "two"} {
			f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o755)
			require.NoError(t, err)
			_, err = f.WriteAt([]byte(content), 0)
			require.NoError(t, err)
			require.NoError(t, os.Chtimes(path, old, old))
			digest, err := attestor.Digest(f)
			require.NoError(t, err)
			require.Equal(t, sha256.Sum256([]byte(content)), digest)
			require.NoError(t, f.Close())
		}
	}
	require.Zero(t, attestor.Kept(), "what has just changed is not remembered")

	f, err := os.Open("/bin/sh")
	require.NoError(t, err)
	defer f.Close()
	for range 2 {
		digest, err := attestor.Digest(f)
		require.NoError(t, err)
		require.Equal(t, sum(t, "/bin/sh"), digest)
		require.Equal(t, 1, attestor.Kept())
	}
}

func TestDigestRefusesWhatIsTooLarge(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, f.Truncate(3<<30))
	_, err = new(peer.Attestor).Digest(f)
	require.ErrorIs(t, err, peer.ErrHidden)
}

func TestParseStat(t *testing.T) {
	own, err := os.ReadFile("/proc/self/stat")
	require.NoError(t, err)
	started, err := peer.ParseStat(string(own))
	require.NoError(t, err)
	require.Equal(t, startTicks(t, os.Getpid()), started)
	evil := strings.Replace(string(own), "(", "(a) S 1 1 1 1 (", 1)
	started, err = peer.ParseStat(evil)
	require.NoError(t, err)
	require.Equal(t, startTicks(t, os.Getpid()), started, "the name of a program may hold anything")

	_, err = peer.ParseStat("1 (a) Z " + strings.Repeat("1 ", 60))
	require.ErrorIs(t, err, peer.ErrEnded)
	for _, text := range []string{"", "1 (a", "1 (a) S 1 2 3", "1 (a) S " + strings.Repeat("x ", 60)} {
		_, err = peer.ParseStat(text)
		require.Error(t, err, text)
	}
}
