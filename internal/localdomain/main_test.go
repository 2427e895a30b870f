// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/localdomain"
)

// roleVariable makes the test binary play another process.
const roleVariable = "LOCALDOMAIN_TEST_ROLE"

func TestMain(m *testing.M) {
	switch role := os.Getenv(roleVariable); role {
	case "":
		os.Exit(m.Run())
	case "server":
		exitOn(serveApp(os.Getenv("APP_PORT")))
	case "deaf":
		exitOn(block())
	case "forking":
		exitOn(fork())
		exitOn(serveApp(os.Getenv("APP_PORT")))
	case "up":
		exitOn(playUp())
	case "fails":
		fmt.Println("this app has no luck")
		os.Exit(7)
	case "done":
		fmt.Println("this app has done its work")
	}
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// block waits for a signal that never comes.
func block() error {
	_, err := fmt.Println("blocking")
	if err != nil {
		return err
	}
	never := make(chan os.Signal, 1)
	signal.Notify(never, syscall.SIGUSR2)
	<-never
	return nil
}

// serveApp is an app that tells what it was called with and started with.
func serveApp(port string) error {
	return http.ListenAndServe("127.0.0.1:"+port, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := json.NewEncoder(w).Encode(appAnswer{
			App: os.Getenv("APP_ID"), Path: r.URL.Path, PID: os.Getpid(),
			Caller: r.Header.Get("Dapr-Caller-App-Id"), Token: r.Header.Get("Dapr-Api-Token"), Env: os.Environ(),
		})
		if err != nil {
			panic(http.ErrAbortHandler)
		}
	}))
}

type appAnswer struct {
	App, Path, Caller, Token string
	PID                      int
	Env                      []string
}

// fork leaves one child in the process group and one in a session of its own,
// which no signal to the group reaches.
func fork() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, detached := range []bool{false, true} {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), roleVariable+"=deaf")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: detached}
		if err = cmd.Start(); err != nil {
			return err
		}
	}
	return nil
}

// playUp is what custody up does, in a process that can be killed.
func playUp() error {
	var opts localdomain.Options
	if err := json.Unmarshal([]byte(os.Getenv("LOCALDOMAIN_TEST_OPTIONS")), &opts); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	domain, err := localdomain.Start(ctx, opts)
	if err != nil {
		return err
	}
	if err = json.NewEncoder(os.Stdout).Encode(domain.Info()); err != nil {
		return err
	}
	return domain.Wait()
}

// binaries builds the two binaries once, if make build has not.
var binaries = sync.OnceValues(func() (map[string]string, error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return nil, err
	}
	paths := map[string]string{}
	for _, name := range []string{"daprd", "controlplane"} {
		path := filepath.Join(root, "bin", name)
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			cmd := exec.Command("go", "build", "-o", path, "./cmd/"+name)
			cmd.Dir = root
			if out, err := cmd.CombinedOutput(); err != nil {
				return nil, fmt.Errorf("build %s: %w\n%s", name, err, out)
			}
		}
		paths[name] = path
	}
	if daprd := os.Getenv("CUSTODY_TEST_DAPRD"); daprd != "" {
		paths["daprd"] = daprd
	}
	return paths, nil
})

// options gives options for a run of the file on real binaries.
func options(t *testing.T, file string) localdomain.Options {
	t.Helper()
	paths, err := binaries()
	require.NoError(t, err)
	return localdomain.Options{
		File: file, Home: t.TempDir(), Daprd: paths["daprd"], ControlPlane: paths["controlplane"],
		Environ: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()},
	}
}

// start starts a domain that ends with the test.
func start(t *testing.T, opts localdomain.Options) *localdomain.Domain {
	t.Helper()
	domain, err := localdomain.Start(t.Context(), opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, domain.Stop()) })
	return domain
}

// testApp is an app of a run file, played by the test binary.
type testApp struct {
	id, role string
	port     int
	more     string // further fields, one a line
}

// runFile writes a run file for apps which are all played by the test binary.
func runFile(t *testing.T, apps ...testApp) string {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	dir := t.TempDir()
	var b strings.Builder
	b.WriteString("version: 1\napps:\n")
	for _, app := range apps {
		fmt.Fprintf(&b, "  - appID: %s\n    appDirPath: .\n    command: [%q]\n    env: {%s: %s}\n", app.id, self, roleVariable, app.role)
		if app.port != 0 {
			fmt.Fprintf(&b, "    appPort: %d\n", app.port)
		}
		for line := range strings.SplitSeq(app.more, "\n") {
			b.WriteString("    " + line + "\n")
		}
	}
	file := filepath.Join(dir, "dapr.yaml")
	require.NoError(t, os.WriteFile(file, []byte(b.String()), 0o600))
	return file
}

// invoke calls an app through the sidecar on the port.
func invoke(t *testing.T, sidecar int, app, path string) appAnswer {
	t.Helper()
	url := fmt.Sprintf("http://127.0.0.1:%d/v1.0/invoke/%s/method%s", sidecar, app, path)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, string(body))
	var answer appAnswer
	require.NoError(t, json.Unmarshal(body, &answer), string(body))
	return answer
}

// groupMembers lists the living processes of the run's groups and those that
// carry its mark.
func groupMembers(t *testing.T, run localdomain.Run) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	require.NoError(t, err)
	groups := map[string]bool{}
	for _, leader := range run.Groups {
		groups[fmt.Sprint(leader.PID)] = true
	}
	var found []string
	for _, entry := range entries {
		stat, err := os.ReadFile("/proc/" + entry.Name() + "/stat")
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		env, err := os.ReadFile("/proc/" + entry.Name() + "/environ")
		mark := err == nil && strings.Contains(string(env), "CUSTODY_RUN="+run.ID+"\x00")
		if fields[0] != "Z" && (groups[fields[2]] || mark) {
			found = append(found, entry.Name())
		}
	}
	return found
}

// eventually waits for a condition that another process brings about.
func eventually(t *testing.T, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, 20*time.Second, 10*time.Millisecond)
}
