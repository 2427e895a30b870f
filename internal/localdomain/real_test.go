// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain_test

import (
	"bufio"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/localdomain"
)

var lastPort atomic.Int32

// freePort gives a port that nobody listens on now and that no other test of
// this process gets. It lies below those which a run chooses by itself.
func freePort(t *testing.T) int {
	t.Helper()
	lastPort.CompareAndSwap(0, int32(10000+os.Getpid()%5000))
	for {
		port := int(lastPort.Add(1))
		require.Less(t, port, 20000)
		ln, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		require.NoError(t, err)
		require.NoError(t, ln.Close())
		return port
	}
}

func TestDomainServesItsApps(t *testing.T) {
	t.Parallel()
	file := runFile(t,
		testApp{id: "alpha", role: "server", port: freePort(t)},
		testApp{id: "beta", role: "server", port: freePort(t)})
	opts := options(t, file)
	opts.Environ = append(opts.Environ, "SECRET_OF_PARENT=kept", "DAPR_API_TOKEN=outer", "CUSTODY_STATUS_FILE=outer",
		"SENTRY_LOCAL_IDENTITY=beta", "NAMESPACE=outer")
	domain := start(t, opts)
	run := domain.Info()
	alpha, beta := run.Apps[0], run.Apps[1]

	require.Equal(t, "spiffe://custody.local/ns/default/alpha", alpha.SPIFFEID)
	answer := invoke(t, alpha.DaprHTTPPort, "beta", "/hello")
	require.Equal(t, "beta", answer.App)
	require.Equal(t, "/hello", answer.Path)
	require.Equal(t, "alpha", answer.Caller)
	require.Equal(t, beta.PID, answer.PID)

	// The app can tell its own sidecar by a token, and holds no other secret.
	require.Contains(t, answer.Env, "APP_API_TOKEN="+answer.Token)
	require.NotEqual(t, answer.Token, invoke(t, beta.DaprHTTPPort, "alpha", "/").Token)
	require.Contains(t, answer.Env, "SECRET_OF_PARENT=kept")
	require.Contains(t, answer.Env, fmt.Sprintf("DAPR_HTTP_PORT=%d", beta.DaprHTTPPort))
	for _, pair := range answer.Env {
		require.NotContains(t, pair, "outer")
		require.NotContains(t, pair, run.Dir)
		require.NotContains(t, pair, "SENTRY")
	}

	block, _ := pem.Decode(read(t, run.TrustBundle))
	require.Equal(t, "CERTIFICATE", block.Type)
	requirePrivate(t, run.Dir)
	requireLoopback(t, run)

	runs, err := localdomain.Runs(opts.Home)
	require.NoError(t, err)
	require.Len(t, runs, 1)
	require.Equal(t, "running", runs[0].Status())
	require.Equal(t, run.ID, runs[0].ID)

	require.NoError(t, domain.Stop())
	require.Empty(t, groupMembers(t, run))
	require.NoDirExists(t, run.Dir)
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return text
}

// requirePrivate wants the secrets of the run to be for its user only.
func requirePrivate(t *testing.T, dir string) {
	t.Helper()
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o700), info.Mode().Perm())
	for _, pattern := range []string{"tokens/*.jwt", "issuer/*", "run.json", "sentry/*.key"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		require.NoError(t, err)
		require.NotEmpty(t, files, pattern)
		for _, file := range files {
			info, err := os.Stat(file)
			require.NoError(t, err)
			require.Equal(t, fs.FileMode(0o600), info.Mode().Perm(), file)
		}
	}
}

// requireLoopback wants every listening socket of the run's processes to be on
// 127.0.0.1, some to be there, and the database of the jobs behind none of them: it
// would ask nobody who he is.
func requireLoopback(t *testing.T, run localdomain.Run) {
	t.Helper()
	sockets := map[string]bool{}
	for _, pid := range groupMembers(t, run) {
		links, err := filepath.Glob("/proc/" + pid + "/fd/*")
		require.NoError(t, err)
		for _, link := range links {
			if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, "socket:[") {
				sockets[strings.Trim(target, "socket:[]")] = true
			}
		}
	}
	listening := 0
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		for _, line := range strings.Split(string(read(t, table)), "\n") {
			fields := strings.Fields(line)
			if len(fields) < 10 || fields[3] != "0A" || !sockets[fields[9]] {
				continue
			}
			listening++
			hex, own := strings.CutPrefix(fields[1], "0100007F:")
			require.True(t, own, "listens on %s", fields[1])
			port, err := strconv.ParseUint(hex, 16, 16)
			require.NoError(t, err)
			require.NotContains(t, anonymous(t, int(port)), "etcdserver", "port %d", port)
		}
	}
	require.Greater(t, listening, 10)
}

// anonymous is what a port answers to whoever asks it for etcd's version by HTTP; "" if it takes no HTTP.
func anonymous(t *testing.T, port int) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/version", port), http.NoBody)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(body)
}

func TestSecondRunWorksBesideTheFirst(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	file := runFile(t, testApp{id: "alpha", role: "server", port: port})
	var progress strings.Builder
	first := start(t, options(t, file)).Info()
	opts := options(t, file)
	opts.Progress = &progress
	second := start(t, opts).Info()

	require.Equal(t, port, first.Apps[0].AppPort)
	require.NotEqual(t, port, second.Apps[0].AppPort)
	require.Contains(t, progress.String(), fmt.Sprintf("appPort %d of app alpha is in use", port))
	for _, run := range []localdomain.Run{first, second} {
		require.Equal(t, run.Apps[0].PID, invoke(t, run.Apps[0].DaprHTTPPort, "alpha", "/").PID)
	}
}

// The guard needs daprd to honour the suffix; here only what it is told is seen.
func TestSecondRunGetsAJournalOfItsOwn(t *testing.T) {
	t.Parallel()
	file := runFile(t, testApp{id: "alpha", role: "server", port: freePort(t), more: "resourcesPath: res"})
	res := filepath.Join(filepath.Dir(file), "res")
	require.NoError(t, os.Mkdir(res, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(res, "caller.yaml"), []byte("apiVersion: dapr.io/v1alpha1\nkind: Component\n"+
		"metadata: {name: caller}\nspec: {type: middleware.http.mcpcaller, version: v1, ignoreErrors: true, metadata: [{name: journalDir, value: records}]}\n"),
		0o600))
	records := filepath.Join(filepath.Dir(file), "records")

	opts := options(t, file)
	first := start(t, opts)
	require.Equal(t, []localdomain.Journal{{App: "alpha", Dir: records}}, first.Info().Journals)
	second := start(t, opts)
	own := "-" + second.Info().ID
	require.Equal(t, []localdomain.Journal{{App: "alpha", Dir: records + own}}, second.Info().Journals)
	require.Contains(t, string(read(t, fmt.Sprintf("/proc/%d/environ", second.Info().Apps[0].DaprdPID))), "CUSTODY_JOURNAL_SUFFIX="+own+"\x00")
	require.NotContains(t, string(read(t, fmt.Sprintf("/proc/%d/environ", first.Info().Apps[0].DaprdPID))), "CUSTODY_JOURNAL_SUFFIX")

	// Once the first is gone its journal is free again.
	require.NoError(t, first.Stop())
	third := start(t, opts)
	require.Equal(t, records, third.Info().Journals[0].Dir)
}

func TestIdentityIsAttestedNotAskedFor(t *testing.T) {
	t.Parallel()
	file := runFile(t, testApp{id: "alpha", role: "server", port: freePort(t)}, testApp{id: "beta", role: "server", port: freePort(t)})
	domain := start(t, options(t, file))
	apps := domain.Info().Apps

	for _, tc := range []struct {
		name    string
		sidecar localdomain.Sidecar
		refused string // "" if it gets its identity
	}{
		{"own token", localdomain.Sidecar{AppID: "alpha", TokenFile: apps[0].TokenFile}, ""},
		{"token of another app", localdomain.Sidecar{AppID: "beta", TokenFile: apps[0].TokenFile}, "PermissionDenied"},
		{"no token", localdomain.Sidecar{AppID: "beta"}, "InvalidArgument"},
		{"other namespace", localdomain.Sidecar{AppID: "alpha", Namespace: "other", TokenFile: apps[0].TokenFile}, "PermissionDenied"},
		{"another identity in the environment", localdomain.Sidecar{
			AppID: "alpha", TokenFile: apps[0].TokenFile, Env: map[string]string{"SENTRY_LOCAL_IDENTITY": "beta"},
		}, "PermissionDenied"},
		{"control plane identity", localdomain.Sidecar{AppID: "dapr-scheduler", TokenFile: apps[0].TokenFile}, "PermissionDenied"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			launched, err := domain.Launch(tc.sidecar)
			require.NoError(t, err)
			err = launched.Ready(t.Context())
			if tc.refused == "" {
				require.NoError(t, err)
				require.NoError(t, launched.Kill())
				return
			}
			var part *localdomain.PartError
			require.ErrorAs(t, err, &part)
			require.Contains(t, strings.Join(part.Log, "\n"), tc.refused)
		})
	}
}

func TestDeathOfAPartEndsTheRun(t *testing.T) {
	t.Parallel()
	file := runFile(t, testApp{id: "alpha", role: "forking", port: freePort(t)})
	domain, err := localdomain.Start(t.Context(), options(t, file))
	require.NoError(t, err)
	run := domain.Info()
	require.NoError(t, syscall.Kill(run.Apps[0].DaprdPID, syscall.SIGKILL))

	var part *localdomain.PartError
	require.ErrorAs(t, domain.Wait(), &part)
	require.Equal(t, "daprd of alpha", part.Part)
	require.Contains(t, part.Reason, "killed by signal 9")
	require.NotEmpty(t, part.Log)
	require.Empty(t, groupMembers(t, run))
	require.NoDirExists(t, run.Dir)
}

func TestRunEndsWhenAllAppsAreDone(t *testing.T) {
	t.Parallel()
	domain, err := localdomain.Start(t.Context(), options(t, runFile(t, testApp{id: "job", role: "done"})))
	require.NoError(t, err)
	require.NoError(t, domain.Wait())
	require.Empty(t, groupMembers(t, domain.Info()))
	require.True(t, domain.Info().Apps[0].Completed)
}

func TestExternalAppAndKeptFolder(t *testing.T) {
	t.Parallel()
	seen := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/call" {
			seen <- r.Header.Get("Dapr-Caller-App-Id")
		}
		if _, err := io.WriteString(w, "{}"); err != nil {
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(server.Close)
	opts := options(t, runFile(t, testApp{id: "alpha", role: "server", port: freePort(t)}, testApp{id: "outside", role: "fails"}))
	opts.Keep = true
	opts.Apps = map[string]localdomain.AppOptions{
		"outside": {External: server.Listener.Addr().(*net.TCPAddr).Port},
		"alpha":   {Env: map[string]string{"MORE": "yes"}, DaprdFlags: []string{"--log-level=debug"}},
	}
	domain := start(t, opts)
	run := domain.Info()
	invoke(t, run.Apps[0].DaprHTTPPort, "outside", "/call")
	require.Equal(t, "alpha", <-seen)
	require.Contains(t, invoke(t, run.Apps[1].DaprHTTPPort, "alpha", "/").Env, "MORE=yes")
	require.Contains(t, string(read(t, run.Apps[0].DaprdLog)), "level=debug")

	require.NoError(t, domain.Stop())
	runs, err := localdomain.Runs(opts.Home)
	require.NoError(t, err)
	require.Equal(t, "kept", runs[0].Status())
	require.NoError(t, localdomain.Down(t.Context(), runs[0]))
	require.NoDirExists(t, run.Dir)
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	file := runFile(t, testApp{id: "alpha", role: "server"})
	for want, change := range map[string]func(*localdomain.Options){
		"a run file is required":                 func(o *localdomain.Options) { o.File = "" },
		"a home folder is required":              func(o *localdomain.Options) { o.Home = "" },
		"must live at least 5s, not 1s":          func(o *localdomain.Options) { o.CertTTL = time.Second },
		"the time to get ready must be positive": func(o *localdomain.Options) { o.ReadyTimeout = -1 },
		`no executable at "/none"`:               func(o *localdomain.Options) { o.Daprd = "/none" },
		"name it with --controlplane":            func(o *localdomain.Options) { o.ControlPlane = t.TempDir() },
		`options for app "beta", which is not in`: func(o *localdomain.Options) {
			o.Apps = map[string]localdomain.AppOptions{"beta": {}}
		},
	} {
		opts := options(t, file)
		change(&opts)
		_, err := localdomain.Start(t.Context(), opts)
		require.ErrorContains(t, err, want)
	}
}

func TestStartFails(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, busy.Close()) })
	taken := busy.Addr().(*net.TCPAddr).Port

	for _, tc := range []struct {
		name string
		app  testApp
		want []string
	}{
		{
			"app fails",
			testApp{id: "alpha", role: "fails", port: freePort(t)},
			[]string{"app alpha: exited with status 7", "this app has no luck"},
		},
		{
			"app does not listen",
			testApp{id: "alpha", role: "deaf", port: freePort(t)},
			[]string{"app alpha: nothing listens on port", "listen on APP_PORT", "blocking"},
		},
		{
			"app ignores that its port was moved",
			testApp{id: "alpha", role: "deaf", port: taken},
			[]string{"seems to ignore APP_PORT", fmt.Sprintf("free port %d", taken)},
		},
		{
			"server is done before it was called",
			testApp{id: "alpha", role: "done", port: freePort(t)},
			[]string{"app alpha: exited with status 0"},
		},
		{
			"port of the sidecar in use",
			testApp{id: "alpha", role: "server", more: fmt.Sprintf("daprHTTPPort: %d", taken)},
			[]string{"dapr.yaml:7: daprHTTPPort", fmt.Sprintf("port %d of app alpha is in use", taken)},
		},
		{
			"daprd refuses its flags",
			testApp{id: "alpha", role: "server", port: freePort(t), more: "maxBodySize: much"},
			[]string{"daprd of alpha: exited with status 1", "max-body-size"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			opts := options(t, runFile(t, tc.app))
			opts.ReadyTimeout = 3 * time.Second
			_, err := localdomain.Start(t.Context(), opts)
			for _, want := range tc.want {
				require.ErrorContains(t, err, want)
			}
			runs, err := localdomain.Runs(opts.Home)
			require.NoError(t, err)
			require.Empty(t, runs)
		})
	}
}

// An app that only calls is not started beside a sidecar that does not get its components.
func TestAppWaitsForTheComponentsOfItsSidecar(t *testing.T) {
	t.Parallel()
	resources := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(resources, "store.yaml"), []byte("apiVersion: dapr.io/v1alpha1\nkind: Component\n"+
		"metadata: {name: carts}\nspec: {type: state.nosuch, version: v1}\n"), 0o600))
	opts := options(t, runFile(t, testApp{id: "alpha", role: "done", more: "resourcesPath: " + resources}))
	var progress strings.Builder
	opts.Progress = &progress
	_, err := localdomain.Start(t.Context(), opts)
	var part *localdomain.PartError
	require.ErrorAs(t, err, &part)
	require.Equal(t, "daprd of alpha", part.Part)
	require.Contains(t, strings.Join(part.Log, "\n"), "couldn't find state store state.nosuch")
	require.NotContains(t, progress.String(), "alpha")
}

func TestPersistedFolderIsRefused(t *testing.T) {
	t.Parallel()
	opts := options(t, runFile(t, testApp{id: "alpha", role: "server", port: freePort(t)}))
	opts.Persist = t.TempDir()
	require.NoError(t, os.Chmod(opts.Persist, 0o755))
	_, err := localdomain.Start(t.Context(), opts)
	require.ErrorContains(t, err, "--persist: "+opts.Persist+" has mode 0755")
	entries, err := os.ReadDir(opts.Persist)
	require.NoError(t, err)
	require.Empty(t, entries)
	runs, err := localdomain.Runs(opts.Home)
	require.NoError(t, err)
	require.Empty(t, runs)

	opts.Persist = filepath.Join(opts.Persist, "missing", "folder")
	_, err = localdomain.Start(t.Context(), opts)
	require.ErrorContains(t, err, "no such file")
}

// The second run has the root of the first, also if that was killed; a run beside it is refused.
func TestPersistedRootIsUsedAgain(t *testing.T) {
	t.Parallel()
	opts := options(t, runFile(t, testApp{id: "alpha", role: "server", port: freePort(t)}))
	opts.Persist = filepath.Join(t.TempDir(), "kept")
	cmd, first := upProcess(t, opts)
	root := read(t, first.TrustBundle)
	_, err := localdomain.Start(t.Context(), opts)
	require.ErrorContains(t, err, "another run uses "+opts.Persist)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	require.NoError(t, localdomain.Down(t.Context(), first))

	second := start(t, opts)
	require.Equal(t, root, read(t, second.Info().TrustBundle))
	requirePrivate(t, second.Info().Dir)
	require.NoError(t, second.Stop())
	require.FileExists(t, filepath.Join(opts.Persist, "root.pem"))
}

// upProcess is a process that leads a run, as custody up does.
func upProcess(t *testing.T, opts localdomain.Options) (*exec.Cmd, localdomain.Run) {
	t.Helper()
	text, err := json.Marshal(map[string]any{
		"File": opts.File, "Home": opts.Home, "Daprd": opts.Daprd, "ControlPlane": opts.ControlPlane, "Environ": opts.Environ, "Persist": opts.Persist,
	})
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), roleVariable+"=up", "LOCALDOMAIN_TEST_OPTIONS="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		rest, readErr := io.ReadAll(out)
		require.NoError(t, errors.Join(err, readErr), string(rest))
	}
	var run localdomain.Run
	require.NoError(t, json.Unmarshal(line, &run))
	return cmd, run
}

func TestInterruptLeavesNothing(t *testing.T) {
	t.Parallel()
	cmd, run := upProcess(t, options(t, runFile(t, testApp{id: "alpha", role: "forking", port: freePort(t)})))
	require.Greater(t, len(groupMembers(t, run)), len(run.Groups), "the children of the app run")
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.NoError(t, cmd.Wait())
	require.Empty(t, groupMembers(t, run))
	require.NoDirExists(t, run.Dir)
}

func TestDownCleansUpAfterAKill(t *testing.T) {
	t.Parallel()
	opts := options(t, runFile(t, testApp{id: "alpha", role: "forking", port: freePort(t)}))
	cmd, run := upProcess(t, opts)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())

	runs, err := localdomain.Runs(opts.Home)
	require.NoError(t, err)
	require.Len(t, runs, 1)
	require.Equal(t, "left", runs[0].Status())
	// The children die with their parent; their own children live on.
	eventually(t, func() bool { return len(groupMembers(t, run)) == 2 })

	require.NoError(t, localdomain.Down(t.Context(), runs[0]))
	require.Empty(t, groupMembers(t, run))
	require.NoDirExists(t, run.Dir)
}

func TestDownStopsALivingRun(t *testing.T) {
	t.Parallel()
	opts := options(t, runFile(t, testApp{id: "alpha", role: "server", port: freePort(t)}))
	cmd, run := upProcess(t, opts)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	require.NoError(t, localdomain.Down(t.Context(), run))
	require.Empty(t, groupMembers(t, run))
	require.Error(t, <-ended) // this leader knows no SIGTERM
	require.NoDirExists(t, run.Dir)
}

func TestControlPlaneOnly(t *testing.T) {
	t.Parallel()
	opts := options(t, runFile(t, testApp{id: "alpha", role: "server", port: freePort(t)}))
	opts.ControlPlaneOnly = true
	opts.SentryPort = freePort(t)
	domain := start(t, opts)
	run := domain.Info()
	require.Equal(t, fmt.Sprintf("127.0.0.1:%d", opts.SentryPort), run.Sentry)
	require.Zero(t, run.Apps[0].DaprdPID)

	// As the Dapr CLI starts it: no token, no trust anchors, only the ID.
	httpPort, grpcPort := freePort(t), freePort(t)
	script := filepath.Join(domain.CLIRuntimePath(), ".dapr", "bin", "daprd")
	cmd := exec.Command(script, "--app-id", "alpha", "--dapr-http-port", strconv.Itoa(httpPort),
		"--dapr-grpc-port", strconv.Itoa(grpcPort), "--dapr-internal-grpc-port", strconv.Itoa(freePort(t)),
		"--metrics-port", strconv.Itoa(freePort(t)), "--profile-port", strconv.Itoa(freePort(t)),
		"--enable-mtls", "--sentry-address", "localhost:50001")
	cmd.Env = append(os.Environ(), "CUSTODY_RUN="+run.ID) // so that it ends with the run in any case
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		require.NoError(t, cmd.Wait())
	})
	eventually(t, func() bool {
		conn, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", httpPort))
		return err == nil && conn.Close() == nil
	})
	require.Contains(t, string(read(t, log.Name())), "Security is initialized successfully")

	stranger, err := exec.CommandContext(t.Context(), script, "--app-id=beta").CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(stranger), "no app 'beta'")
}
