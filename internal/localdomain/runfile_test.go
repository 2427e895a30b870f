// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/localdomain"
)

// project makes the folders and files that the run files below name.
func project(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, folder := range []string{"a/.dapr/resources", "b/res", "shared/res"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, folder), 0o700))
	}
	for file, mode := range map[string]os.FileMode{
		"a/.dapr/config.yaml": 0o600, "b/own.yaml": 0o600, "shared/config.yaml": 0o600,
		"a/app": 0o700, "b/app": 0o700, "a/text": 0o600,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), nil, mode))
	}
	require.NoError(t, os.Symlink("loop", filepath.Join(dir, "a/loop")))
	return dir
}

func load(t *testing.T, dir, text string) (*localdomain.RunFile, error) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "dapr.yaml"), []byte(text), 0o600))
	return localdomain.LoadRunFile(dir)
}

func TestLoadRunFile(t *testing.T) {
	dir := project(t)
	file, err := load(t, dir, `
version: 1
name: shop
common:
  env: {LOG: info, TEAM: red}
  configFilePath: shared/config.yaml
  resourcesPath: shared/res
  logLevel: warn
  appLogDestination: file
  schedulerHostAddress: localhost:50006
apps:
  - appDirPath: a
    command: ["./app", "--fast"]
    appPort: 8080
  - appID: Second_1
    appDirPath: ./b
    command: [sh]
    appProtocol: grpc
    daprHTTPPort: 3601
    configFilePath: own.yaml
    resourcesPaths: [res]
    logLevel: debug
    appMaxConcurrency: 4
    enableAppHealthCheck: true
    appLogDestination: console
    env:
      LOG: debug
      COUNT: 3
      NAMESPACE: prod
  - appID: third
    appDirPath: shared
    command: [sh]
    appPort:
`)
	require.NoError(t, err)
	require.Equal(t, "shop", file.Name)
	require.Equal(t, dir, file.Dir())
	require.Len(t, file.Notices, 1)
	require.Contains(t, file.Notices[0].String(), "common.schedulerHostAddress: has no effect")

	first, second, third := file.Apps[0], file.Apps[1], file.Apps[2]
	require.Equal(t, "a", first.ID)
	require.Equal(t, "default", first.Namespace)
	require.Equal(t, []string{"./app", "--fast"}, first.Command)
	require.Equal(t, map[string]string{"LOG": "info", "TEAM": "red"}, first.Env)
	require.Equal(t, localdomain.Port{Number: 8080, Line: 14}, first.AppPort)
	require.Equal(t, "http", first.Protocol)
	require.Equal(t, localdomain.LogFile, first.AppLog)
	require.Equal(t, localdomain.LogFile, first.DaprdLog)
	require.Equal(t, []string{"--log-level=warn"}, first.DaprdFlags)
	// The app's own .dapr folder comes before the common section.
	require.Equal(t, filepath.Join(dir, "a/.dapr/config.yaml"), first.ConfigFile)
	require.Equal(t, []string{filepath.Join(dir, "a/.dapr/resources")}, first.ResourcesPaths)

	require.Equal(t, "Second_1", second.ID)
	require.Equal(t, "prod", second.Namespace)
	require.Equal(t, map[string]string{"LOG": "debug", "TEAM": "red", "COUNT": "3", "NAMESPACE": "prod"}, second.Env)
	require.Equal(t, filepath.Join(dir, "b/own.yaml"), second.ConfigFile)
	require.Equal(t, []string{filepath.Join(dir, "b/res")}, second.ResourcesPaths)
	require.Equal(t, localdomain.LogConsole, second.AppLog)
	require.Equal(t, []string{"--app-max-concurrency=4", "--enable-app-health-check=true", "--log-level=debug"}, second.DaprdFlags)

	require.Zero(t, third.AppPort.Number)
	require.Equal(t, filepath.Join(dir, "shared/config.yaml"), third.ConfigFile)
	require.Equal(t, []string{filepath.Join(dir, "shared/res")}, third.ResourcesPaths)
}

func TestLoadRunFileNamesWhatIsWrong(t *testing.T) {
	const head = "version: 1\napps:\n"
	const ok = "  - appID: one\n    appDirPath: a\n    command: [./app]\n"
	for _, tc := range []struct {
		name, text string
		want       []string
	}{
		{"nothing", "", []string{"dapr.yaml: the file is empty; a run file is a mapping"}},
		{"a comment", "# later\n", []string{"dapr.yaml: the file is empty"}},
		{"no mapping", "- 1\n", []string{":1: a run file is a mapping"}},
		{"tab", head + "  - appID: one\n\tappDirPath: a\n", []string{":4: a tab indents this line"}},
		{"broken", "version: 1\napps: [\n", []string{"not valid YAML"}},
		{"two documents", head + ok + "---\nversion: 1\n", []string{"a second YAML document"}},
		{"no version", "apps:\n" + ok, []string{":1: version: missing; write version: 1"}},
		{"other version", "version: 2\napps:\n" + ok, []string{`:1: version: "2" is not known`}},
		{"no apps", "version: 1\n", []string{"apps: missing"}},
		{"empty apps", "version: 1\napps: []\n", []string{":2: apps: missing"}},
		{"app is no mapping", head + "  - one\n", []string{":3: apps[0]: must be a mapping"}},
		{"unknown field", head + ok + "    appPrt: 1\n", []string{":6: apps[0].appPrt: unknown field; did you mean appPort?"}},
		{"unknown field, no neighbour", head + ok + "    zzzzzzzzzzzzzzzzz: 1\n", []string{"unknown field; remove it"}},
		{"unknown top field", "versions: 1\n" + head + ok, []string{":1: versions: unknown field; did you mean version?"}},
		{"unsupported field", head + ok + "    containerImage: x\n", []string{":6: apps[0].containerImage: not supported: belongs to Kubernetes"}},
		{"unsupported in common", "common: {appSSL: true}\n" + head + ok, []string{":1: common.appSSL: not supported"}},
		{"app field in common", "common: {appPort: 1}\n" + head + ok, []string{":1: common.appPort: belongs to one app"}},
		{"field twice", head + ok + "    appID: two\n", []string{":6: apps[0].appID: given twice", "line 3"}},
		{"alias", "name: &n x\n" + head + ok + "    logLevel: *n\n", []string{":7: apps[0].logLevel: YAML aliases are not supported"}},
		{"same ID", head + ok + ok, []string{`:6: apps[1].appID: "one" is also the ID of apps[0]`}},
		{
			"same ID by default", head + "  - {appDirPath: a, command: [./app]}\n  - {appDirPath: a, command: [./app]}\n",
			[]string{`:4: apps[1].appID: "a" is also the ID of apps[0]`},
		},
		{"dot in ID", head + strings.Replace(ok, "one", "on.e", 1), []string{`:3: apps[0].appID: "on.e" must consist of`}},
		{"slash in ID", head + strings.Replace(ok, "one", "a/b", 1), []string{`apps[0].appID: "a/b" must consist of`}},
		{"long ID", head + strings.Replace(ok, "one", strings.Repeat("x", 65), 1), []string{"longer than the 64 characters"}},
		{"control plane ID", head + strings.Replace(ok, "one", "dapr-sentry", 1), []string{"name of a control plane service"}},
		{"bad namespace", head + ok + "    env: {NAMESPACE: a/b}\n", []string{`:6: apps[0].env.NAMESPACE: "a/b" must consist of`}},
		{"no command", head + "  - {appID: one, appDirPath: a}\n", []string{":3: apps[0].command: missing"}},
		{"empty command", head + "  - {appID: one, appDirPath: a, command: []}\n", []string{":3: apps[0].command: missing"}},
		{"command is a text", head + "  - {appID: one, appDirPath: a, command: ./app}\n", []string{":3: apps[0].command: must be a list"}},
		{"command not there", head + "  - {appID: one, appDirPath: b, command: [./none]}\n", []string{`no executable "./none" at `}},
		{"command not executable", head + "  - {appID: one, appDirPath: a, command: [./text]}\n", []string{`no executable "./text"`}},
		{"command not in PATH", head + "  - {appID: one, appDirPath: a, command: [no-such-program]}\n", []string{`"no-such-program" in PATH`}},
		{"no appDirPath", head + "  - {appID: one, command: [sh]}\n", []string{":3: apps[0].appDirPath: missing"}},
		{"appDirPath not there", head + "  - {appID: one, appDirPath: none, command: [sh]}\n", []string{":3: apps[0].appDirPath: no folder "}},
		{"config not there", head + ok + "    configFilePath: none.yaml\n", []string{":6: apps[0].configFilePath: no file "}},
		{"config is a folder", head + ok + "    configFilePath: .dapr\n", []string{"apps[0].configFilePath: ", ".dapr is no file; correct the path"}},
		{"config cannot be looked at", head + ok + "    configFilePath: loop\n", []string{":6: apps[0].configFilePath: stat ", "loop: too many levels of symbolic links; let this user read it"}},
		{"resources are a file", head + ok + "    resourcesPaths: [app]\n", []string{"apps[0].resourcesPaths: ", "app is no folder; correct the path"}},
		{"config below a file", head + ok + "    configFilePath: app/config.yaml\n", []string{"apps[0].configFilePath: no file "}},
		{"config of common not there", "common: {configFilePath: none.yaml}\n" + head + ok, []string{":1: common.configFilePath: no file "}},
		{"resources not there", head + ok + "    resourcesPaths: [none]\n", []string{":6: apps[0].resourcesPaths: no folder "}},
		{"port is a text", head + ok + "    appPort: many\n", []string{`:6: apps[0].appPort: must be a whole number, not "many"`}},
		{"port too high", head + ok + "    appPort: 65536\n", []string{":6: apps[0].appPort: 65536 is no port"}},
		{"negative port", head + ok + "    metricsPort: -1\n", []string{":6: apps[0].metricsPort: -1 is no port"}},
		{"equal ports in one app", head + ok + "    appPort: 8080\n    daprHTTPPort: 8080\n", []string{":7: apps[0].daprHTTPPort: port 8080 is also given as apps[0].appPort"}},
		{
			"equal ports in two apps",
			head + ok + "    appPort: 8080\n  - {appID: two, appDirPath: b, command: [./app], appPort: 8080}\n",
			[]string{":7: apps[1].appPort: port 8080 is also given as apps[0].appPort"},
		},
		{"protocol", head + ok + "    appProtocol: tcp\n", []string{`:6: apps[0].appProtocol: "tcp" is not one of http, https, grpc, grpcs, h2c`}},
		{"log destination", head + ok + "    daprdLogDestination: none\n", []string{`"none" is not one of file, console, fileAndConsole`}},
		{"other interface", head + ok + "    apiListenAddresses: 0.0.0.0\n", []string{`:6: apps[0].apiListenAddresses: "0.0.0.0" is not supported`}},
		{"app elsewhere", head + ok + "    appChannelAddress: 10.0.0.1\n", []string{"everything listens on 127.0.0.1"}},
		{"bool", head + ok + "    enableProfiling: sometimes\n", []string{`must be true or false, not "sometimes"`}},
		{"env is a list", head + ok + "    env: [A]\n", []string{":6: apps[0].env: must be a mapping"}},
		{"env value is a list", head + ok + "    env: {A: [1]}\n", []string{":6: apps[0].env.A: must be a text"}},
		{"env twice", head + ok + "    env: {A: 1, A: 2}\n", []string{":6: apps[0].env.A: given twice"}},
		{
			"all at once", "version: 3\napps:\n  - {appID: a.b, appDirPath: a, command: [./app], appPrt: 1}\n",
			[]string{"version:", "appID:", "appPrt:"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := project(t)
			_, err := load(t, dir, tc.text)
			var wrong *localdomain.FileError
			require.ErrorAs(t, err, &wrong)
			for _, want := range tc.want {
				require.ErrorContains(t, err, want)
			}
			for _, p := range wrong.Problems {
				require.Equal(t, filepath.Join(dir, "dapr.yaml"), p.File)
			}
		})
	}
}

func TestLoadRunFileAcceptsTheNearMisses(t *testing.T) {
	const app = "version: 1\napps:\n  - appID: one\n    appDirPath: a\n    command: [./app]\n"
	for _, more := range []string{
		"    metricsPort:\n", // an empty value is no value, as in Dapr
		"    appPort: 65535\n    daprHTTPPort: 65534\n",
		"    apiListenAddresses: 127.0.0.1\n",
		"    appChannelAddress: localhost\n",
		"    appProtocol: h2c\n",
		"    env: {NAMESPACE: team_1-a}\n",
	} {
		_, err := load(t, project(t), app+more)
		require.NoError(t, err, more)
	}
	for _, id := range []string{strings.Repeat("x", 64), "dapr-sentry-2", "A_b-9"} {
		_, err := load(t, project(t), strings.Replace(app, "one", id, 1))
		require.NoError(t, err, id)
	}
}

func TestLoadRunFileCannotRead(t *testing.T) {
	_, err := localdomain.LoadRunFile(filepath.Join(t.TempDir(), "none.yaml"))
	require.ErrorContains(t, err, "none.yaml: no such file; name the run file with -f")

	big := filepath.Join(t.TempDir(), "dapr.yaml")
	require.NoError(t, os.WriteFile(big, make([]byte, 1<<20+1), 0o600))
	_, err = localdomain.LoadRunFile(big)
	require.ErrorContains(t, err, "larger than 1048576 bytes")
}

func FuzzLoadRunFile(f *testing.F) {
	f.Add("version: 1\napps:\n  - appID: one\n    appDirPath: .\n    command: [sh]\n    env: {A: 1}\n")
	f.Add("version: 1\ncommon: {resourcesPaths: [.]}\napps: [{appDirPath: ., command: [sh], appPort: 1}]")
	f.Add("apps: [[]]\nversion: {}")
	f.Add("a: &a [*a]")
	f.Fuzz(func(t *testing.T, text string) {
		file := filepath.Join(t.TempDir(), "dapr.yaml")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		run, err := localdomain.LoadRunFile(file)
		if err == nil {
			require.NotEmpty(t, run.Apps)
			for _, app := range run.Apps {
				require.NotEmpty(t, app.ID)
				require.NotEmpty(t, app.Command)
				require.NotEmpty(t, app.Namespace)
			}
			return
		}
		var wrong *localdomain.FileError
		require.True(t, errors.As(err, &wrong) && len(wrong.Problems) > 0, "%v", err)
	})
}
