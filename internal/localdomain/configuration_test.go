// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

func writeTestFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestTrustDomain(t *testing.T) {
	t.Parallel()
	const head = "kind: Configuration\nspec:\n  accessControl:\n"
	for _, tc := range []struct{ name, text, want, fails string }{
		{"nothing said", "kind: Configuration\nspec: {tracing: {}}\n", "custody.local", ""},
		{"null", head + "    trustDomain:\n", "custody.local", ""},
		{"said", head + "    trustDomain: shop.example\n", "shop.example", ""},
		{"stock", head + "    trustDomain: public\n", "public", ""},
		{"from the environment", head + "    trustDomain: ${TEAM}.example\n", "red.example", ""},
		{"second document is not read", "spec: {}\n---\n" + head + "    trustDomain: other\n", "custody.local", ""},
		{"empty", head + "    trustDomain: \"\"\n", "", ":4: spec.accessControl.trustDomain: \"\" is no trust domain"},
		{"upper case", head + "    trustDomain: Shop\n", "", ":4: spec.accessControl.trustDomain"},
		{"control plane", head + "    trustDomain: control.custody.local\n", "", ":4: spec.accessControl.trustDomain: control.custody.local is kept"},
		{"broken", "a: [\n", "", "not valid YAML"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			file := writeTestFile(t, "config.yaml", tc.text)
			td, err := trustDomain(file, environment{"TEAM": "red"})
			if tc.fails != "" {
				var wrong *FileError
				require.ErrorAs(t, err, &wrong)
				require.ErrorContains(t, err, file)
				require.ErrorContains(t, err, tc.fails)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, td.Name())
		})
	}
	td, err := trustDomain("", nil)
	require.NoError(t, err)
	require.Equal(t, "custody.local", td.Name())
}

func TestGeneratedConfigurations(t *testing.T) {
	t.Parallel()
	base, err := baseConfiguration(`/a "quoted" folder/db`)
	require.NoError(t, err)
	var doc struct {
		Spec struct {
			NameResolution struct {
				Configuration struct {
					ConnectionString string         `yaml:"connectionString"`
					CleanupInterval  *time.Duration `yaml:"cleanupInterval"`
				}
			} `yaml:"nameResolution"`
			AccessControl struct {
				TrustDomain string `yaml:"trustDomain"`
			} `yaml:"accessControl"`
		}
	}
	require.NoError(t, yaml.Unmarshal([]byte(base), &doc))
	require.Equal(t, `/a "quoted" folder/db`, doc.Spec.NameResolution.Configuration.ConnectionString)
	require.Zero(t, *doc.Spec.NameResolution.Configuration.CleanupInterval, "Dapr's cleanup takes the addresses of sidecars that run")
	require.Equal(t, "custody.local", doc.Spec.AccessControl.TrustDomain)

	for ttl, skew := range map[time.Duration]string{
		24 * time.Hour: "15m0s", time.Hour: "6m0s", 10 * time.Second: "1s",
	} {
		sentry, err := sentryConfiguration("/run/jwks.json", ttl)
		require.NoError(t, err)
		require.Contains(t, sentry, "allowedClockSkew: "+skew+"\n")
		require.Contains(t, sentry, "- name: jwks\n")
	}
}

func TestJournals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	resources := filepath.Join(dir, "res")
	require.NoError(t, os.MkdirAll(filepath.Join(resources, "folder.yaml"), 0o700))
	const guard = "kind: Component\nspec:\n  type: middleware.http.mcpguard\n  metadata: [{name: journalDir, value: "
	for name, text := range map[string]string{
		"relative.yaml":  guard + "'journals/{appID}'}]\n",
		"absolute.yml":   "kind: Component\nspec: {type: state.redis}\n---\n" + guard + "/var/journal}]\n",
		"same.yaml":      guard + "/var/journal}]\n",
		"scoped.yaml":    guard + "/not/mine}]\nscopes: [other]\n",
		"mine.yaml":      guard + "/mine}]\nscopes: [other, alpha]\n",
		"caller.yaml":    "kind: Component\nspec:\n  type: middleware.http.mcpcaller\n  metadata: [{name: journalDir, value: /caller}]\n",
		"state.yaml":     "kind: Component\nspec:\n  type: state.custody\n  metadata: [{name: backend, value: sqlite}, {name: journaldir, value: /state}]\n",
		"other.yaml":     "kind: Component\nspec:\n  type: middleware.http.other\n  metadata: [{name: journalDir, value: /other}]\n",
		"broken.yaml":    "a: [\n",
		"notyaml.config": guard + "/ignored}]\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(resources, name), []byte(text), 0o600))
	}
	found, err := journals(App{ID: "alpha", Namespace: "default", ResourcesPaths: []string{resources}}, dir)
	require.NoError(t, err)
	require.ElementsMatch(t, []Journal{
		{App: "alpha", Dir: filepath.Join(dir, "journals", "alpha")},
		{App: "alpha", Dir: "/var/journal"},
		{App: "alpha", Dir: "/mine"},
		{App: "alpha", Dir: "/caller"},
		{App: "alpha", Dir: "/state"},
	}, found)

	_, err = journals(App{ID: "alpha", ResourcesPaths: []string{filepath.Join(dir, "none")}}, dir)
	require.ErrorContains(t, err, "resources of app alpha")
}

func TestInheritedEnvironment(t *testing.T) {
	t.Parallel()
	env := inherited([]string{
		"PATH=/bin", "A=b=c", "EMPTY=", "broken", "=x",
		"DAPR_API_TOKEN=1", "DAPR_TRUST_ANCHORS=1", "CUSTODY_RUN=1", "CUSTODY_HOME=1", "SENTRY_LOCAL_IDENTITY=1",
		"NAMESPACE=1", "APP_ID=1", "APP_PORT=1", "APP_API_TOKEN=1", "APP_PROTOCOL=1", "APP_CHANNEL_ADDRESS=1",
		"DAPRX=kept", "APP_NAME=kept", "CUSTODY_POSTGRES_URL=kept",
	})
	require.Equal(t, []string{
		"A=b=c", "APP_NAME=kept", "CUSTODY_POSTGRES_URL=kept", "DAPRX=kept", "EMPTY=", "PATH=/bin",
	}, env.list())

	more := env.with(map[string]string{"PATH": "/usr/bin"})
	require.Equal(t, "/usr/bin", more.get("PATH"))
	require.Equal(t, "/bin", env.get("PATH"), "the copy left the original alone")
}
