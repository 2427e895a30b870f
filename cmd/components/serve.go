// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/dapr-custody/custody/internal/serverfile"
)

const (
	socketsEnv       = "DAPR_COMPONENTS_SOCKETS_FOLDER"
	workloadAPIEnv   = "SPIFFE_ENDPOINT_SOCKET"
	journalSuffixEnv = "CUSTODY_JOURNAL_SUFFIX"
	// defaultSockets is where daprd looks if nothing is said (Dapr pkg/components/pluggable/discovery.go).
	defaultSockets = "/tmp/dapr-components-sockets"
)

const serveHelp = `usage: custody-components serve --config FILE [flags]

Serves the pluggable components state.custody and, where the file names
databases, bindings.custody-postgres, on Unix sockets that daprd discovers. Who
calls is found out of the kernel and of WorkloadRegistration documents
(--registrations), or is this process's own SVID where a SPIFFE Workload API is
there (SPIFFE_ENDPOINT_SOCKET).

The server itself needs an identity to sign with: from the Workload API, or from
Dapr's Sentry (--sentry-address, with DAPR_TRUST_ANCHORS or
DAPR_TRUST_ANCHORS_FILE, and DAPR_SENTRY_TOKEN_FILE).

  custody-components serve --config components.yaml --registrations registrations --sentry-address 127.0.0.1:50001
  SPIFFE_ENDPOINT_SOCKET=unix:///run/spire/agent.sock custody-components serve --config components.yaml

`

type serveFlags struct {
	config, sockets, registrations, instances, statusFile string
	registrationWait                                      time.Duration
	sentry                                                sentryFlags
}

func parseServe(args []string) (*serveFlags, error) {
	f := &serveFlags{}
	flags := flag.NewFlagSet("custody-components serve", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), serveHelp)
		flags.PrintDefaults()
	}
	flags.StringVar(&f.config, "config", "", "file with the ComponentServer document (required)")
	flags.StringVar(&f.sockets, "sockets", cmp.Or(os.Getenv(socketsEnv), defaultSockets), "folder of the sockets; daprd takes it from "+socketsEnv)
	flags.StringVar(&f.registrations, "registrations", "", "folder of the WorkloadRegistration documents")
	flags.StringVar(&f.instances, "instances", "", "folder in which initialised components are kept (default: beside the journal)")
	flags.StringVar(&f.statusFile, "status-file", "", "second file in which the server says which policy is in force")
	flags.DurationVar(&f.registrationWait, "registration-wait", 2*time.Second, "how long a new peer may go without a registration")
	f.sentry.register(flags)
	switch err := flags.Parse(args); {
	case err != nil:
		return nil, err
	case flags.NArg() > 0:
		return nil, fmt.Errorf("argument %q is not known", flags.Arg(0))
	case f.config == "":
		return nil, errors.New("--config is missing: name the file with the ComponentServer document")
	case os.Getenv(workloadAPIEnv) == "" && f.sentry.address == "":
		return nil, fmt.Errorf("the server has no identity to sign with: set %s, or name Sentry with --sentry-address", workloadAPIEnv)
	case os.Getenv(workloadAPIEnv) == "" && f.registrations == "":
		return nil, fmt.Errorf("nothing says who calls: name a folder with --registrations, or set %s", workloadAPIEnv)
	}
	return f, nil
}

func runServe(ctx context.Context, out io.Writer, args []string) error {
	f, err := parseServe(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	text, err := os.ReadFile(f.config)
	if err != nil {
		return err
	}
	config, err := serverfile.Parse(f.config, text)
	if err != nil {
		return err
	}
	suffix := os.Getenv(journalSuffixEnv)
	config.JournalDir += suffix
	if config.RateFile != "" {
		config.RateFile += suffix
	}
	f.instances = cmp.Or(f.instances, filepath.Clean(config.JournalDir)+".instances")
	return f.serve(ctx, out, config)
}

func (f *serveFlags) serve(ctx context.Context, out io.Writer, config *serverfile.File) (err error) {
	me, err := f.identity(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, me.close()) }()
	doors, err := openDoors(f, config, me)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, doors.close()) }()
	components, err := doors.server(f, me)
	if err != nil {
		return err
	}
	return me.while(ctx, func(ctx context.Context) error {
		return components.Serve(ctx, func() {
			if _, err := fmt.Fprintf(out, "%s serves %s in %s\n", me.id, config.Name, f.sockets); err != nil {
				doors.log("%v", err)
			}
		})
	})
}
