// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapr-custody/custody/internal/localdomain"
)

const upName = "up"

// The ports on which the Dapr CLI expects the control plane.
const (
	cliSentry    = "127.0.0.1:50001"
	cliPlacement = "127.0.0.1:50005"
	cliScheduler = "127.0.0.1:50006"
)

const upHelp = `Starts Sentry, Placement, Scheduler and every app of a Dapr multi-app run file
with its own daprd, all on 127.0.0.1, and stops them all on Ctrl-C or when one
of them dies.

Sentry signs an identity only for the bearer of a token; each daprd gets the
token of its own app. Apps are in the trust domain that
spec.accessControl.trustDomain of their Configuration names, else in
custody.local. Ports that the file does not name are chosen. If the appPort of
an app is in use another is chosen, and the app is told it in APP_PORT.

Every run has a root of its own, whose key goes with it, and then Dapr refuses
to go on with the signed workflows of an earlier run. With --persist DIR the
root, the issuer and the Scheduler's jobs, timers of workflows among them, stay
in that folder and are used again: what a state store kept goes on. The folder
is made if it is not there, holds keys, and must be yours alone (0700, files
0600). The root is good for ten years and is not replaced; the issuer is good
for one, and is replaced at a start in its last 30 days.

With --control-plane-only no app is started: the control plane listens on the
ports that the Dapr CLI expects, and with -f a folder is made from which the
CLI runs the apps of the file:

    custody up --control-plane-only -f dapr.yaml
    DAPR_RUNTIME_PATH=<printed folder> dapr run -f dapr.yaml   (in another terminal)

Limits of that way: apps of other run files get no identity; the CLI chooses the
ports, but all listeners of daprd are on 127.0.0.1 as here; the apps get no
APP_API_TOKEN; and "custody ps" shows no ports of theirs.

Exit status: 0 the run was stopped, or all its apps have ended with status 0; 1
it could not start, or a part of it died; 2 wrong flags.`

type upFlags struct {
	file, daprd, controlplane, persist             string
	components, componentsFile                     string
	certTTL, timeout                               time.Duration
	verbose, keep, stockDaprd                      bool
	controlPlaneOnly                               bool
	listenSentry, listenPlacement, listenScheduler string
}

func newUpCommand() *cobra.Command {
	var flags upFlags
	cmd := &cobra.Command{
		Use:   upName,
		Short: "Start a trust domain on this machine from a Dapr run file",
		Long:  upHelp,
		Example: `  custody up -f examples/orders/dapr.yaml
  custody up --cert-ttl 10m --verbose
  custody up --control-plane-only -f dapr.yaml`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts, err := flags.options(cmd)
			if err != nil {
				return usage(err)
			}
			return up(cmd.Context(), opts, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVarP(&flags.file, "file", "f", "", "run file, or a folder with a dapr.yaml (default: ./dapr.yaml)")
	f.StringVar(&flags.daprd, "daprd", "", "daprd to run (default: the one beside custody)")
	f.StringVar(&flags.controlplane, "controlplane", "", "controlplane to run (default: the one beside custody)")
	f.StringVar(&flags.components, "components", "", "component server to run, where there is a file for it (default: the one beside custody)")
	f.StringVar(&flags.componentsFile, "components-file", "", "ComponentServer document (default: components.yaml beside the run file, if there is one)")
	f.BoolVar(&flags.stockDaprd, "stock-daprd", false, "daprd is Dapr's own, which gets its identities in the trust domain public")
	f.DurationVar(&flags.certTTL, "cert-ttl", time.Hour, "how long certificates live")
	f.DurationVar(&flags.timeout, "timeout", time.Minute, "how long each part may take to be ready")
	f.BoolVarP(&flags.verbose, "verbose", "v", false, "show the output of every process")
	f.StringVar(&flags.persist, "persist", "", "folder that keeps the root, the issuer and the Scheduler's jobs for the next run (default: they go with the run)")
	f.BoolVar(&flags.keep, "keep", false, "keep the folder of the run, with logs and keys, when it ends")
	f.BoolVar(&flags.controlPlaneOnly, "control-plane-only", false, "start no app; for the Dapr CLI")
	f.StringVar(&flags.listenSentry, "listen-sentry", cliSentry, "address of Sentry (with --control-plane-only)")
	f.StringVar(&flags.listenPlacement, "listen-placement", cliPlacement, "address of Placement (with --control-plane-only)")
	f.StringVar(&flags.listenScheduler, "listen-scheduler", cliScheduler, "address of Scheduler (with --control-plane-only)")
	return cmd
}

func (f *upFlags) options(cmd *cobra.Command) (localdomain.Options, error) {
	home, err := homeFolder()
	if err != nil {
		return localdomain.Options{}, err
	}
	opts := localdomain.Options{
		File: f.file, Home: home, Daprd: f.daprd, ControlPlane: f.controlplane, Environ: os.Environ(),
		CertTTL: f.certTTL, ReadyTimeout: f.timeout, StockDaprd: f.stockDaprd, Keep: f.keep, Persist: f.persist,
		ControlPlaneOnly: f.controlPlaneOnly,
		Components:       f.components, ComponentsFile: f.componentsFile,
		Output: cmd.OutOrStdout(), Verbose: f.verbose, Progress: cmd.ErrOrStderr(),
	}
	if opts.File == "" && !f.controlPlaneOnly {
		opts.File = "dapr.yaml"
	}
	for name, path := range map[string]*string{"daprd": &opts.Daprd, "controlplane": &opts.ControlPlane, componentsBinary: &opts.Components} {
		if *path == "" {
			if *path, err = besideMe(name); err != nil {
				return opts, err
			}
		}
	}
	for _, listen := range []struct {
		flag, value string
		port        *int
	}{
		{"listen-sentry", f.listenSentry, &opts.SentryPort},
		{"listen-placement", f.listenPlacement, &opts.PlacementPort},
		{"listen-scheduler", f.listenScheduler, &opts.SchedulerPort},
	} {
		switch {
		case f.controlPlaneOnly:
			if *listen.port, err = loopbackPort(listen.value); err != nil {
				return opts, fmt.Errorf("--%s: %w", listen.flag, err)
			}
		case cmd.Flags().Changed(listen.flag):
			return opts, fmt.Errorf("--%s needs --control-plane-only: with apps the ports are chosen", listen.flag)
		}
	}
	return opts, nil
}

// loopbackPort gives the port of an address that must be on 127.0.0.1.
func loopbackPort(addr string) (int, error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return 0, fmt.Errorf("%q is no address; write 127.0.0.1:PORT", addr)
	}
	port, err := strconv.Atoi(text)
	if err != nil || port < 0 || port > 65535 || host != "127.0.0.1" && host != "localhost" {
		return 0, fmt.Errorf("%q must be a port of 127.0.0.1, such as 127.0.0.1:50001", addr)
	}
	return port, nil
}

// up runs the domain until it ends or the user ends it.
func up(ctx context.Context, opts localdomain.Options, stdout, stderr io.Writer) error {
	began := time.Now()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// A second signal finds no handler and ends us at once; our children die
	// with us.
	context.AfterFunc(ctx, stop)
	// A reader of our output that goes away must not kill us in mid-run.
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	defer signal.Stop(broken)

	domain, err := localdomain.Start(ctx, opts)
	if err != nil {
		if errors.Is(err, context.Canceled) {
			return errors.New("stopped before everything was ready")
		}
		return err
	}
	run := domain.Info()
	fmt.Fprintf(stderr, "run %s is ready after %.1f s; Ctrl-C stops it\n", run.ID, time.Since(began).Seconds())
	if opts.ControlPlaneOnly {
		printControlPlane(stdout, domain, run)
	}
	if err = domain.Wait(); err != nil {
		return err
	}
	fmt.Fprintf(stderr, "run %s has ended\n", run.ID)
	return nil
}

// printControlPlane prints what a daprd needs to join, in the form of a shell.
func printControlPlane(w io.Writer, domain *localdomain.Domain, run localdomain.Run) {
	fmt.Fprintf(w, "# Sentry %s, Placement %s, Scheduler %s\n", run.Sentry, run.Placement, run.Scheduler)
	env := domain.ControlPlaneEnv()
	for _, name := range slices.Sorted(maps.Keys(env)) {
		fmt.Fprintf(w, "export %s='%s'\n", name, strings.ReplaceAll(env[name], "'", `'\''`))
	}
	for _, app := range run.Apps {
		fmt.Fprintf(w, "# %s in %s is %s\n#   DAPR_SENTRY_TOKEN_FILE='%s'\n", app.AppID, app.Namespace, app.SPIFFEID, app.TokenFile)
	}
	if path := domain.CLIRuntimePath(); path != "" {
		fmt.Fprintf(w, "# with the Dapr CLI: DAPR_RUNTIME_PATH='%s' dapr run -f '%s'\n", path, run.File)
	}
}
