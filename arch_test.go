// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/dapr-custody/custody/"

// listed is what `go list` says of a package.
type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func list(t *testing.T, patterns ...string) []listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Deps"}, patterns...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	var packages []listed
	for decoder := json.NewDecoder(bytes.NewReader(out)); decoder.More(); {
		var p listed
		require.NoError(t, decoder.Decode(&p))
		packages = append(packages, p)
	}
	return packages
}

// room is the part of the house that a package of ours belongs to: its first
// folder, and for internal the second too. It is empty for others' packages.
func room(path string) string {
	rest, ours := strings.CutPrefix(path, module)
	if !ours {
		return ""
	}
	parts := strings.Split(rest, "/")
	if parts[0] == "internal" && len(parts) > 1 {
		return "internal/" + parts[1]
	}
	return parts[0]
}

// mayImport says which rooms a room may import. Every internal room stands
// here; a new one has to be given its place.
var mayImport = map[string][]string{
	"cmd":                  {"middleware", "components", "workflows", "resources", "internal/*"},
	"middleware":           {"internal/*"},
	"components":           {"internal/*"},
	"workflows":            {"internal/*"},
	"resources":            {},
	"examples":             {"internal/*", "resources", "workflows", "examples"},
	"tests":                {"internal/*", "resources", "middleware", "workflows", "examples", "tests"},
	"internal/identity":    {"internal/manifest"},
	"internal/peer":        {"internal/identity"},
	"internal/toolcall":    {},
	"internal/policy":      {"internal/identity", "internal/manifest", "internal/nearest", "internal/redact"},
	"internal/rate":        {},
	"internal/budget":      {},
	"internal/sqlguard":    {},
	"internal/redact":      {"internal/nearest"},
	"internal/nearest":     {},
	"internal/policydir":   {"internal/policy"},
	"internal/policyedit":  {"internal/policy", "internal/policydir"},
	"internal/database":    {"internal/manifest", "internal/nearest"},
	"internal/dbca":        {"internal/database"},
	"internal/receipt":     {"internal/identity"},
	"internal/chain":       {"internal/receipt", "internal/identity"},
	"internal/linkpack":    {"internal/receipt"},
	"internal/journal":     {},
	"internal/txn":         {},
	"internal/sentryid":    {},
	"internal/serverfile":  {"internal/manifest"},
	"internal/manifest":    {"internal/nearest"},
	"internal/evidence":    {"internal/receipt", "internal/journal"},
	"internal/gate":        {"internal/identity", "internal/policy", "internal/rate", "internal/receipt", "internal/chain", "internal/journal", "internal/txn"},
	"internal/history":     {"internal/identity", "internal/receipt"},
	"internal/dossier":     {"internal/identity", "internal/chain", "internal/history", "internal/linkpack", "internal/receipt"},
	"internal/localdomain": {"internal/identity", "internal/nearest", "internal/policy", "internal/serverfile"},
	"internal/testkit":     {"internal/*"},
}

func TestImportsGoOneWay(t *testing.T) {
	for _, p := range list(t, "./...") {
		from := room(p.ImportPath)
		if from == "" { // This folder: it holds no code but this test.
			require.Empty(t, p.Imports)
			continue
		}
		allowed, known := mayImport[from]
		require.True(t, known, "%s is a room without rules: give it a place in arch_test.go", from)
		for _, imported := range p.Imports {
			to := room(imported)
			if to == "" || to == from {
				continue
			}
			require.True(t, contains(allowed, to), "%s imports %s, which is against the direction of imports", p.ImportPath, imported)
			require.False(t, to == "internal/testkit" && from != "tests" && from != "internal/testkit", "%s imports testkit outside a test", p.ImportPath)
		}
	}
}

func contains(allowed []string, to string) bool {
	for _, a := range allowed {
		if a == to || (a == "internal/*" && strings.HasPrefix(to, "internal/")) {
			return true
		}
	}
	return false
}

// Rooms that decide or verify must be readable without wondering what they
// reach: no disk, no network, no Dapr, no driver.
func TestPureRooms(t *testing.T) {
	forbidden := []string{"net/http", "os/exec", "database/sql", "github.com/dapr/", "github.com/jackc/", "github.com/fsnotify/"}
	for _, p := range list(t, "./internal/identity", "./internal/toolcall", "./internal/policy", "./internal/receipt", "./internal/chain", "./internal/linkpack", "./internal/redact",
		"./internal/sqlguard", "./internal/txn", "./internal/database") {
		for _, imported := range p.Imports {
			require.NotEqual(t, "os", imported, "%s imports os", p.ImportPath)
			for _, f := range forbidden {
				require.False(t, strings.HasPrefix(imported, f), "%s imports %s", p.ImportPath, imported)
			}
		}
	}
}

// What verifies histories takes of Dapr only what is public and pure: the form of events and how they are signed.
func TestHistoriesNeedNoRuntime(t *testing.T) {
	for _, p := range list(t, "./internal/history", "./internal/dossier") {
		for _, imported := range p.Imports {
			require.NotContains(t, []string{"os", "os/exec", "net/http", "database/sql"}, imported, "%s imports %s", p.ImportPath, imported)
			if strings.HasPrefix(imported, "github.com/dapr/") {
				require.Contains(t, []string{
					"github.com/dapr/durabletask-go/api/protos", "github.com/dapr/durabletask-go/backend/historysigning",
					"github.com/dapr/kit/crypto/spiffe/signer",
				}, imported, "%s imports %s", p.ImportPath, imported)
			}
		}
	}
}

// The command that verifies must not need what it verifies.
func TestVerifierIsSmall(t *testing.T) {
	for _, p := range list(t, "./cmd/custody") {
		for _, dep := range p.Deps {
			require.False(t, strings.HasPrefix(dep, "github.com/dapr/dapr/"), "cmd/custody depends on %s", dep)
			require.False(t, strings.HasPrefix(dep, "github.com/jackc/pgx/"), "cmd/custody depends on %s", dep)
		}
	}
}

// Dapr's runtime is imported where it is started and nowhere else; the driver
// for PostgreSQL where SQL is spoken.
func TestWhoImportsDaprAndPgx(t *testing.T) {
	for _, p := range list(t, "./...") {
		rest := strings.TrimPrefix(p.ImportPath, module)
		for _, imported := range p.Imports {
			if strings.HasPrefix(imported, "github.com/dapr/dapr/") {
				require.Contains(t, []string{"cmd/daprd", "cmd/controlplane", "cmd/components", "cmd/components/server", "internal/sentryid"}, rest, "%s imports %s", rest, imported)
			}
			if strings.HasPrefix(imported, "github.com/dapr/go-sdk/") || strings.HasPrefix(imported, "github.com/dapr/durabletask-go/") {
				require.Contains(t, []string{"workflows", "examples", "tests", "internal/history", "internal/dossier", "internal/testkit"}, room(p.ImportPath), "%s imports %s", rest, imported)
			}
			if strings.HasPrefix(imported, "github.com/jackc/pgx/") {
				require.True(t, strings.HasPrefix(rest, "components/") || strings.HasPrefix(rest, "cmd/components") || strings.HasPrefix(rest, "examples/") || strings.HasPrefix(rest, "tests/"),
					"%s imports %s", rest, imported)
			}
		}
	}
}

// goFiles are the Go files that belong to the project.
func goFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	require.NoError(t, filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == "bin" || (strings.HasPrefix(entry.Name(), ".") && path != ".")) {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, ".go") {
			files = append(files, path)
		}
		return nil
	}))
	require.NotEmpty(t, files)
	return files
}

func TestEveryFileSaysItsLicence(t *testing.T) {
	for _, file := range goFiles(t) {
		f, err := os.Open(file)
		require.NoError(t, err)
		scanner := bufio.NewScanner(f)
		require.True(t, scanner.Scan(), file)
		require.Equal(t, "// SPDX-License-Identifier: Apache-2.0", scanner.Text(), file)
		require.NoError(t, f.Close())
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	documented := map[string]bool{}
	for _, file := range goFiles(t) {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.PackageClauseOnly)
		require.NoError(t, err)
		documented[filepath.Dir(file)] = documented[filepath.Dir(file)] || hasText(parsed.Doc)
	}
	for dir, ok := range documented {
		require.True(t, ok, "the package in %s has no package comment", dir)
	}
}

func hasText(doc *ast.CommentGroup) bool { return doc != nil && len(doc.Text()) > 40 }

// A function fits on a screen. Tables of tests may be longer.
func TestFunctionsFitOnAScreen(t *testing.T) {
	const most = 80
	for _, file := range goFiles(t) {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		lines := token.NewFileSet()
		parsed, err := parser.ParseFile(lines, file, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, declared := range parsed.Decls {
			if f, is := declared.(*ast.FuncDecl); is {
				length := lines.Position(f.End()).Line - lines.Position(f.Pos()).Line + 1
				require.LessOrEqual(t, length, most, "%s: %s is too long: split it", file, f.Name.Name)
			}
		}
	}
}
