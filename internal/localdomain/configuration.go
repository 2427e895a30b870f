// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"gopkg.in/yaml.v3"
)

const (
	// AppTrustDomain is the trust domain of apps whose Configuration names none.
	AppTrustDomain = "custody.local"
	// ControlPlaneTrustDomain is the trust domain of Sentry, Placement and
	// Scheduler. Apps cannot be in it.
	ControlPlaneTrustDomain = "control.custody.local"
	// stockTrustDomain is where Sentry puts whoever does not ask for one.
	stockTrustDomain = "public"

	controlPlaneNamespace = "default"
	maxClockSkew          = 15 * time.Minute
)

// journalTypes are the types of components that write a journal.
var journalTypes = []string{"middleware.http.mcpguard", "middleware.http.mcpcaller", "state.custody"}

// trustDomain tells the trust domain that daprd asks for: what
// spec.accessControl.trustDomain of the app's Configuration says, read as Dapr
// reads it (the first document, with $VARIABLES of daprd's environment
// expanded), else AppTrustDomain.
func trustDomain(configFile string, env environment) (spiffeid.TrustDomain, error) {
	fallback := spiffeid.RequireTrustDomainFromString(AppTrustDomain)
	if configFile == "" {
		return fallback, nil
	}
	text, err := os.ReadFile(configFile)
	if err != nil {
		return spiffeid.TrustDomain{}, fmt.Errorf("configuration: %w", err)
	}
	var doc struct {
		Spec struct {
			AccessControl struct {
				TrustDomain yaml.Node `yaml:"trustDomain"`
			} `yaml:"accessControl"`
		} `yaml:"spec"`
	}
	if err = yaml.Unmarshal([]byte(os.Expand(string(text), env.get)), &doc); err != nil {
		message := "not valid YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")
		return spiffeid.TrustDomain{}, fileProblem(configFile, yamlErrorLine(err), "", message)
	}
	node := &doc.Spec.AccessControl.TrustDomain
	if node.IsZero() || isNull(node) {
		return fallback, nil
	}
	const field = "spec.accessControl.trustDomain"
	td, err := spiffeid.TrustDomainFromString(node.Value)
	if err != nil {
		message := fmt.Sprintf("%q is no trust domain (%s); write a name such as %s", node.Value, err, AppTrustDomain)
		return spiffeid.TrustDomain{}, fileProblem(configFile, node.Line, field, message)
	}
	if td.Name() == ControlPlaneTrustDomain {
		message := td.Name() + " is kept for the control plane; choose another name"
		return spiffeid.TrustDomain{}, fileProblem(configFile, node.Line, field, message)
	}
	return td, nil
}

func fileProblem(file string, line int, field, message string) error {
	return &FileError{Problems: []Problem{{File: file, Line: line, Field: field, Message: message}}}
}

// baseConfiguration is the Configuration that stands before the user's own.
// Dapr reads several files into one struct, so what the user says wins. An app
// renews its address at updateInterval less timeout and is lost at updateInterval:
// with Dapr's own 5 s and 1 s a busy machine loses apps that are there
// (components-contrib nameresolution/sqlite). Its cleanup after each hour removes
// the addresses that were renewed and leaves the old ones (initGC in 1.18.3), upon
// which every sidecar ends; 0 is no cleanup, and a run's database ends with the run.
func baseConfiguration(nameResolutionDB string) (string, error) {
	dsn, err := json.Marshal(nameResolutionDB) // JSON text is YAML text
	if err != nil {
		return "", fmt.Errorf("quote path: %w", err)
	}
	return fmt.Sprintf(`apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata:
  name: custody-base
spec:
  mtls:
    enabled: true
  accessControl:
    defaultAction: allow
    trustDomain: %s
  nameResolution:
    component: sqlite
    version: v1
    configuration:
      connectionString: %s
      updateInterval: 2m
      timeout: 1m
      cleanupInterval: 0s
`, AppTrustDomain, dsn), nil
}

// sentryConfiguration lets Sentry sign for nobody but the bearer of a token
// that a key in the JWKS file signed.
func sentryConfiguration(jwksFile string, certTTL time.Duration) (string, error) {
	source, err := json.Marshal(jwksFile)
	if err != nil {
		return "", fmt.Errorf("quote path: %w", err)
	}
	return fmt.Sprintf(`apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata:
  name: custody-sentry
spec:
  mtls:
    enabled: true
    workloadCertTTL: %s
    allowedClockSkew: %s
    tokenValidators:
      - name: jwks
        options:
          source: %s
`, certTTL, min(maxClockSkew, certTTL/10), source), nil
}

// Journal is a folder into which a door writes its records.
type Journal struct {
	App string `json:"app"`
	Dir string `json:"dir"`
}

// journals finds the folders that doors of the app write to: the metadata
// journalDir of components of journalTypes in its resources. Relative ones
// start at dir, where daprd runs. Files that cannot be read are left to daprd,
// which refuses them with its own message.
func journals(app App, dir string) ([]Journal, error) {
	var found []Journal
	for _, path := range app.ResourcesPaths {
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, fmt.Errorf("resources of app %s: %w", app.ID, err)
		}
		for _, entry := range entries {
			if ext := filepath.Ext(entry.Name()); entry.IsDir() || ext != ".yaml" && ext != ".yml" {
				continue
			}
			names, err := journalDirs(filepath.Join(path, entry.Name()), app.ID)
			if err != nil {
				return nil, fmt.Errorf("resources of app %s: %w", app.ID, err)
			}
			for _, name := range names {
				name = strings.NewReplacer("{appID}", app.ID, "{namespace}", app.Namespace).Replace(name)
				if !filepath.IsAbs(name) {
					name = filepath.Join(dir, name)
				}
				if j := (Journal{App: app.ID, Dir: name}); !slices.Contains(found, j) {
					found = append(found, j)
				}
			}
		}
	}
	return found, nil
}

// component holds what journals wants to know of a Dapr Component.
type component struct {
	Kind string `yaml:"kind"`
	Spec struct {
		Type     string `yaml:"type"`
		Metadata []struct {
			Name  string `yaml:"name"`
			Value string `yaml:"value"`
		} `yaml:"metadata"`
	} `yaml:"spec"`
	Scopes []string `yaml:"scopes"`
}

func journalDirs(file, appID string) ([]string, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // gone since the folder was listed
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var dirs []string
	dec := yaml.NewDecoder(f)
	for {
		var c component
		if dec.Decode(&c) != nil {
			return dirs, nil // the end, or what daprd will refuse
		}
		if c.Kind != "Component" || !slices.Contains(journalTypes, c.Spec.Type) || len(c.Scopes) > 0 && !slices.Contains(c.Scopes, appID) {
			continue
		}
		for _, item := range c.Spec.Metadata {
			if strings.EqualFold(item.Name, "journalDir") && item.Value != "" {
				dirs = append(dirs, item.Value)
			}
		}
	}
}
