// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/localdomain"
	"github.com/dapr-custody/custody/internal/testkit"
)

// trustDomain is what every test here stands on: a folder with the files of a run, and the control plane and sidecars that
// were started of them.
type trustDomain struct {
	t      testing.TB
	folder string
	domain *localdomain.Domain
}

func newTrustDomain(t testing.TB) trustDomain { return trustDomain{t: t, folder: t.TempDir()} }

func binary(t testing.TB, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "bin", name))
	require.NoError(t, err)
	require.FileExists(t, path, "run `make build` first")
	return path
}

// write puts a file in its place in one step, so that nobody reads half of it.
func (d *trustDomain) write(name, text string) {
	d.t.Helper()
	path := filepath.Join(d.folder, name)
	require.NoError(d.t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(d.t, os.WriteFile(path+".new", []byte(text), 0o600))
	require.NoError(d.t, os.Rename(path+".new", path))
}

// here adds to options what is the same in every run of dapr.yaml.
func (d *trustDomain) here(o localdomain.Options) localdomain.Options {
	d.t.Helper()
	o.File, o.Home, o.Environ = filepath.Join(d.folder, "dapr.yaml"), d.home(), os.Environ()
	o.Daprd, o.ControlPlane = binary(d.t, "daprd"), binary(d.t, "controlplane")
	return o
}

// start starts dapr.yaml, until the test ends. A test that failed shows what the sidecars said last.
func (d *trustDomain) start(o localdomain.Options) error {
	d.t.Helper()
	domain, err := localdomain.Start(d.t.Context(), d.here(o))
	if err != nil {
		return err
	}
	d.domain = domain
	d.t.Cleanup(func() {
		if d.t.Failed() && d.domain == domain {
			for _, app := range domain.Info().Apps {
				d.t.Log(app.AppID, tail(d.logOf(app.AppID), 40))
			}
		}
		if err := domain.Stop(); err != nil {
			d.t.Logf("stopping the trust domain: %v", err)
		}
	})
	return nil
}

func (d *trustDomain) home() string { return filepath.Join(d.folder, "home") }

func (d *trustDomain) app(id string) localdomain.RunApp {
	d.t.Helper()
	for _, app := range d.domain.Info().Apps {
		if app.AppID == id {
			return app
		}
	}
	require.Fail(d.t, "no such app", id)
	return localdomain.RunApp{}
}

// logOf is the log of an app's sidecar.
func (d *trustDomain) logOf(app string) string {
	d.t.Helper()
	text, err := os.ReadFile(d.app(app).DaprdLog)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// tail gives the last lines of a log.
func tail(log string, lines int) string {
	all := strings.Split(strings.TrimSpace(log), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// bundle is the trust bundle of the apps' trust domain.
func (d *trustDomain) bundle() *x509bundle.Bundle {
	d.t.Helper()
	bundle, err := x509bundle.Load(testkit.TrustDomain("custody.local"), d.domain.Info().TrustBundle)
	require.NoError(d.t, err)
	return bundle
}

// custody runs the command as a user beside the run would.
func (d *trustDomain) custody(args ...string) (string, int) {
	d.t.Helper()
	return custodyAt(d.t, d.home(), args...)
}

func custodyAt(t testing.TB, home string, args ...string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary(t, "custody"), args...)
	cmd.Env = append(os.Environ(), "CUSTODY_HOME="+home)
	cmd.Dir = t.TempDir()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		require.IsType(t, &exec.ExitError{}, err)
	}
	return string(out) + stderr.String(), cmd.ProcessState.ExitCode()
}

// answer is what came back of a sidecar.
type answer struct {
	status int
	text   string
}

// state asks the state API of an app's sidecar; an error of the connection has status 0.
func (d *trustDomain) state(app, method, path, body string) answer {
	d.t.Helper()
	url := fmt.Sprintf("http://127.0.0.1:%d/v1.0/state/%s", d.app(app).DaprHTTPPort, path)
	req, err := http.NewRequestWithContext(d.t.Context(), method, url, strings.NewReader(body))
	require.NoError(d.t, err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{text: err.Error()}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(d.t, err)
	return answer{resp.StatusCode, string(text)}
}

var denial = regexp.MustCompile(`policy denied this \(reference ([0-9a-f-]{36})\)`)

// denied wants a refusal that tells nothing but its reference.
func (d *trustDomain) denied(a answer) (reference string) {
	d.t.Helper()
	require.Equal(d.t, http.StatusInternalServerError, a.status, a.text)
	found := denial.FindStringSubmatch(a.text)
	require.NotNil(d.t, found, a.text)
	require.NotContains(d.t, a.text, "rule")
	return found[1]
}
