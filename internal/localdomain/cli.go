// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// writeCLIFolder writes what the Dapr CLI needs to start the apps of the file
// on this control plane: a runtime folder whose daprd is a script that gives
// each app its own token and its own namespace and starts the real daprd. The
// CLI itself hands one environment to all, so it could not.
func (d *Domain) writeCLIFolder() error {
	if d.file == nil {
		return nil
	}
	daprd, err := filepath.Abs(d.opts.Daprd)
	if err != nil {
		return fmt.Errorf("folder for the Dapr CLI: %w", err)
	}
	// The CLI wants the folder components of a runtime to be there, and gives
	// its config.yaml to apps that have none.
	for _, folder := range []string{"bin", "components"} {
		if err = os.MkdirAll(d.path("cli", ".dapr", folder), 0o700); err != nil {
			return fmt.Errorf("folder for the Dapr CLI: %w", err)
		}
	}
	base, err := os.ReadFile(d.path("config", "base.yaml"))
	if err != nil {
		return fmt.Errorf("folder for the Dapr CLI: %w", err)
	}
	script := d.path("cli", ".dapr", "bin", "daprd")
	return errors.Join(
		writeFile(d.path("cli", ".dapr", "config.yaml"), base),
		writeFile(script, []byte(d.cliScript(daprd))),
		os.Chmod(script, 0o700)) //nolint:gosec // it is run
}

// CLIRuntimePath is the folder to give to the Dapr CLI as DAPR_RUNTIME_PATH, or
// "" if the domain was started without a file or with its apps.
func (d *Domain) CLIRuntimePath() string {
	if d.file == nil || !d.opts.ControlPlaneOnly {
		return ""
	}
	return d.path("cli")
}

func (d *Domain) cliScript(daprd string) string {
	var b strings.Builder
	b.WriteString("#!/bin/sh\n# Starts daprd for the Dapr CLI with the identity of the app that it names.\nset -eu\n")
	b.WriteString("app= previous=\nfor arg in \"$@\"; do\n")
	b.WriteString("  [ \"$previous\" = --app-id ] && app=$arg\n  case $arg in --app-id=*) app=${arg#--app-id=} ;; esac\n")
	b.WriteString("  previous=$arg\ndone\ncase $app in\n")
	for _, m := range d.members {
		fmt.Fprintf(&b, "%s) ns=%s token=%s status=%s ;;\n", m.ID, m.Namespace, quoted(m.token), quoted(d.path("guards", m.ID+".json")))
	}
	fmt.Fprintf(&b, "*) echo \"daprd: no app '$app' in %s: it has no identity here\" >&2; exit 1 ;;\nesac\n",
		strings.NewReplacer("\"", "", "$", "", "`", "", "\\", "").Replace(d.file.Path))
	fmt.Fprintf(&b, "DAPR_TRUST_ANCHORS=$(cat %s)\n", quoted(d.run.TrustBundle))
	b.WriteString("NAMESPACE=$ns DAPR_SENTRY_TOKEN_FILE=$token CUSTODY_STATUS_FILE=$status DAPR_HOST_IP=" + loopback + "\n")
	b.WriteString("export DAPR_TRUST_ANCHORS NAMESPACE DAPR_SENTRY_TOKEN_FILE CUSTODY_STATUS_FILE DAPR_HOST_IP\n")
	fmt.Fprintf(&b, "cd %s\n", quoted(d.file.Dir()))
	// Of a flag given twice the last counts, but lists are joined: the base
	// Configuration comes before the user's own, and a Scheduler that the run
	// file names is not named again.
	fmt.Fprintf(&b, "case \" $* \" in *' --scheduler-host-address'*) ;; *) set -- \"$@\" --scheduler-host-address %s ;; esac\n",
		d.plane.schedulerAddr)
	fmt.Fprintf(&b, "exec %s --config %s \"$@\"", quoted(daprd), quoted(d.path("config", "base.yaml")))
	for _, flag := range d.meshFlags() {
		b.WriteString(" " + quoted(flag))
	}
	b.WriteString("\n")
	return b.String()
}

// quoted protects a text from the shell.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// ControlPlaneEnv gives the variables that a daprd started by hand needs to
// join the domain; the token file is that of the app.
func (d *Domain) ControlPlaneEnv() map[string]string {
	return map[string]string{
		"DAPR_TRUST_ANCHORS":             d.plane.trustAnchors,
		"DAPR_CONTROLPLANE_TRUST_DOMAIN": ControlPlaneTrustDomain,
		"DAPR_CONTROLPLANE_NAMESPACE":    controlPlaneNamespace,
		"NAMESPACE":                      defaultNamespace,
	}
}
