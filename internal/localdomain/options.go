// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package localdomain starts a trust domain on one machine: Sentry, Placement,
// Scheduler and, from a Dapr multi-app run file, every app with its own daprd.
//
// It guarantees: Sentry signs an identity only for the bearer of a token for
// exactly that SPIFFE ID, and each daprd is given the token of its own app and
// no other; everything listens on 127.0.0.1; no secret of the run is in the
// environment of an app; and when the run ends, however it ends, no process of
// it is left, save one case: if the leading process is killed with SIGKILL, its
// children die with it, but children of those live until Down is called.
//
// It does not separate apps that run as one user from each other: a program of
// that user can read the token files of the run and the memory of its
// processes. It runs on Linux only.
package localdomain

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

const (
	defaultCertTTL      = time.Hour
	minCertTTL          = 5 * time.Second
	defaultReadyTimeout = time.Minute
	stopGrace           = 5 * time.Second
)

// Options says what to start. Home, Daprd and ControlPlane are required.
type Options struct {
	// File is the run file, or a folder with a dapr.yaml in it. It may be empty
	// with ControlPlaneOnly.
	File string
	// Home is the folder below which the run gets its own; see DefaultHome.
	Home string
	// Daprd and ControlPlane are the paths of the two binaries.
	Daprd, ControlPlane string

	// Components is the path of the component server, and ComponentsFile that of its
	// ComponentServer document; empty means components.yaml beside the run file, if
	// there is one. Without a document no server is started.
	Components, ComponentsFile string

	// Environ is the environment that apps inherit, without what belongs to
	// Dapr, Sentry and Custody. Nil means an empty one.
	Environ []string
	// CertTTL is how long the certificates live; 0 means an hour.
	CertTTL time.Duration
	// ReadyTimeout is how long each part may take until it answers; 0 means a
	// minute.
	ReadyTimeout time.Duration
	// StockDaprd says that Daprd is Dapr's own binary, which cannot ask for a
	// trust domain: the apps are then in "public".
	StockDaprd bool
	// Persist is a folder in which the root, the issuer and the Scheduler's jobs
	// are kept and taken from at the next start, so that workflows in a store
	// that outlives the run go on in the next. It is made if it is not there, must
	// be the user's alone (0700), and one run at a time uses it. Empty means that
	// every run has a root of its own, whose key goes with it.
	Persist string
	// Keep leaves the run's folder, with its logs and keys, in place at the end.
	Keep bool

	// ControlPlaneOnly starts no app. With a File, tokens are made for its apps
	// and a folder for the Dapr CLI is written; see ControlPlaneEnv.
	ControlPlaneOnly bool
	// SentryPort, PlacementPort and SchedulerPort are where they listen; 0
	// chooses a free port.
	SentryPort, PlacementPort, SchedulerPort int

	// Output receives the output of the processes, whole lines with a prefix;
	// nil means that it is only logged. Without Verbose these are the apps that
	// do not log to file only, as their run file says.
	Output  io.Writer
	Verbose bool
	// Progress receives one line for each step; nil means none.
	Progress io.Writer

	// Apps changes single apps, by app ID. An ID that is not in the file is an
	// error.
	Apps map[string]AppOptions

	// Now is the clock for tokens; nil means time.Now.
	Now func() time.Time
}

// AppOptions changes how one app is started.
type AppOptions struct {
	// Env and DaprdEnv are added to the environment of the app and of its daprd,
	// after everything else.
	Env, DaprdEnv map[string]string
	// DaprdFlags are added to the flags of daprd, after everything else.
	DaprdFlags []string
	// External says that the app is not started because the caller serves it on
	// this port of 127.0.0.1 already; 0 means that it is started.
	External int
}

// validated gives a copy with the defaults filled in.
func (o Options) validated() (Options, error) {
	switch {
	case o.File == "" && !o.ControlPlaneOnly:
		return o, errors.New("a run file is required")
	case o.Home == "":
		return o, errors.New("a home folder is required")
	case o.CertTTL != 0 && o.CertTTL < minCertTTL:
		return o, fmt.Errorf("certificates must live at least %s, not %s", minCertTTL, o.CertTTL)
	case o.ReadyTimeout < 0:
		return o, fmt.Errorf("the time to get ready must be positive, not %s", o.ReadyTimeout)
	}
	if err := errors.Join(executable("--daprd", &o.Daprd), executable("--controlplane", &o.ControlPlane)); err != nil {
		return o, err
	}
	if o.Persist != "" {
		var err error
		if o.Persist, err = filepath.Abs(o.Persist); err != nil {
			return o, fmt.Errorf("--persist: %w", err)
		}
	}
	if o.CertTTL == 0 {
		o.CertTTL = defaultCertTTL
	}
	if o.ReadyTimeout == 0 {
		o.ReadyTimeout = defaultReadyTimeout
	}
	if o.Output == nil {
		o.Output = io.Discard
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o, nil
}

// executable makes the path of a program absolute: the processes start in other folders.
func executable(flag string, path *string) error {
	if info, err := os.Stat(*path); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
		return fmt.Errorf("no executable at %q; build it with make build, or name it with %s", *path, flag)
	}
	absolute, err := filepath.Abs(*path)
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	*path = absolute
	return nil
}
