// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Run is what run.json says of one run: where its parts are and how to find
// its processes. It holds no secret.
type Run struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// File is the absolute path of the run file; "" if there was none.
	File string `json:"file,omitempty"`
	// Dir is the run's folder.
	Dir string `json:"dir"`
	// Custody is the process that leads the run.
	Custody ProcessID `json:"custody"`
	Started time.Time `json:"started"`
	// Ready says that every part answered; Ended is set when the run is over
	// and its folder was kept.
	Ready bool       `json:"ready"`
	Ended *time.Time `json:"ended,omitempty"`

	ControlPlaneTrustDomain string `json:"controlPlaneTrustDomain"`
	// TrustBundle is the path of Sentry's root certificates in PEM.
	TrustBundle string `json:"trustBundle"`
	// The addresses are host:port.
	Sentry    string `json:"sentry"`
	Placement string `json:"placement"`
	Scheduler string `json:"scheduler"`

	Apps     []RunApp  `json:"apps"`
	Journals []Journal `json:"journals"`
	// Server is the component server, in the form of an app that does not listen; nil if there is none.
	Server *RunApp `json:"componentServer,omitempty"`
	// Sockets is the folder of the component server's sockets, which may be elsewhere than the run's folder; "" if there
	// is no server.
	Sockets string `json:"sockets,omitempty"`

	// Groups are the leaders of the process groups which the run started.
	Groups []ProcessID `json:"groups"`
}

// Workloads are the apps and, where there is one, the component server: all that has an identity and keeps a journal.
func (r Run) Workloads() []RunApp {
	if r.Server == nil {
		return r.Apps
	}
	return append(slices.Clone(r.Apps), *r.Server)
}

// RunApp is one app of a run.
type RunApp struct {
	AppID       string `json:"appID"`
	Namespace   string `json:"namespace"`
	TrustDomain string `json:"trustDomain"`
	SPIFFEID    string `json:"spiffeID"`

	// PID and DaprdPID are 0 as long as the process was not started.
	PID      int `json:"pid"`
	DaprdPID int `json:"daprdPid"`
	// Completed says that the app's command ended with status 0.
	Completed bool `json:"completed"`

	AppPort              int    `json:"appPort"` // 0: the app does not listen
	DaprHTTPPort         int    `json:"daprHTTPPort"`
	DaprGRPCPort         int    `json:"daprGRPCPort"`
	DaprInternalGRPCPort int    `json:"daprInternalGRPCPort"`
	DaprMetricsPort      int    `json:"daprMetricsPort"`
	TokenFile            string `json:"tokenFile"`
	GuardStatusFile      string `json:"guardStatusFile"`
	AppLog               string `json:"appLog"`
	DaprdLog             string `json:"daprdLog"`
}

// DefaultHome gives the folder in which runs are kept: what the variable
// CUSTODY_HOME names, else .custody in the user's home folder.
func DefaultHome(getenv func(string) string) (string, error) {
	if home := getenv("CUSTODY_HOME"); home != "" {
		abs, err := filepath.Abs(home)
		if err != nil {
			return "", fmt.Errorf("localdomain: CUSTODY_HOME: %w", err)
		}
		return abs, nil
	}
	user, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("localdomain: home folder: %w; set CUSTODY_HOME", err)
	}
	return filepath.Join(user, ".custody"), nil
}

// newRunDir creates a folder <home>/runs/<id> that nobody else can enter.
func newRunDir(home, name string) (id, dir string, err error) {
	if strings.Contains(home, "$") {
		return "", "", fmt.Errorf("the home folder %s must not contain a $, which Dapr expands in its files; set CUSTODY_HOME", home)
	}
	runs := filepath.Join(home, "runs")
	if err = os.MkdirAll(runs, 0o700); err != nil {
		return "", "", fmt.Errorf("create run folder: %w; set CUSTODY_HOME to a folder that this user can write to", err)
	}
	if err = errors.Join(owned(home), owned(runs)); err != nil {
		return "", "", fmt.Errorf("create run folder: %w", err)
	}
	random := make([]byte, 4)
	if _, err = rand.Read(random); err != nil {
		return "", "", fmt.Errorf("create run folder: %w", err)
	}
	id = plainName(name) + "-" + hex.EncodeToString(random)
	dir = filepath.Join(runs, id)
	if err = os.Mkdir(dir, 0o700); err != nil {
		return "", "", fmt.Errorf("create run folder: %w", err)
	}
	for _, folder := range []string{"logs", "guards", "config", "sentry", "scheduler"} {
		if err = os.Mkdir(filepath.Join(dir, folder), 0o700); err != nil {
			return "", "", fmt.Errorf("create run folder: %w", err)
		}
	}
	return id, dir, nil
}

// owned refuses a folder in which everybody can rename: runs, keys and roots of
// others would be put in the place of ours. Whom a group has in it is the user's word.
func owned(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return err
	case info.Sys().(*syscall.Stat_t).Uid != uint32(os.Geteuid()): //nolint:gosec // a user ID fits
		return fmt.Errorf("%s belongs to another user: set CUSTODY_HOME to a folder of your own", dir)
	case info.Mode().Perm()&0o002 != 0:
		return fmt.Errorf("%s may be written to by everybody (mode %04o): chmod o-w it, or set CUSTODY_HOME to a folder of your own", dir, info.Mode().Perm())
	}
	return nil
}

// plainName keeps the letters, digits, - and _ of a name.
func plainName(name string) string {
	plain := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return -1
	}, name)
	return cmp.Or(plain[:min(len(plain), 40)], "run")
}

// save writes run.json in one step.
func (r *Run) save() error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("run.json: %w", err)
	}
	return writeFile(filepath.Join(r.Dir, "run.json"), append(text, '\n'))
}

// Alive says whether the process that leads the run still lives.
func (r *Run) Alive() bool { return r.Custody.alive() }

// Status is "running", "starting", "kept" (ended, its folder was kept) or
// "left" (the leading process is gone without having cleaned up).
func (r *Run) Status() string {
	switch {
	case r.Ended != nil:
		return "kept"
	case !r.Alive():
		return "left"
	case !r.Ready:
		return "starting"
	}
	return "running"
}

// Runs lists the runs of a home folder, oldest first. A folder whose run.json
// is not there yet or no longer is left out.
func Runs(home string) ([]Run, error) {
	entries, err := os.ReadDir(filepath.Join(home, "runs"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = errors.Join(owned(home), owned(filepath.Join(home, "runs")))
	}
	if err != nil {
		return nil, fmt.Errorf("localdomain: runs: %w", err)
	}
	var runs []Run
	for _, entry := range entries {
		dir := filepath.Join(home, "runs", entry.Name())
		run, err := loadRun(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("localdomain: %w", err)
		}
		runs = append(runs, *run)
	}
	slices.SortFunc(runs, func(a, b Run) int { return a.Started.Compare(b.Started) })
	return runs, nil
}

func loadRun(dir string) (*Run, error) {
	file := filepath.Join(dir, "run.json")
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("run: %w", err)
	}
	var run Run
	if err = json.Unmarshal(text, &run); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w; stop what runs by hand and remove the folder", file, err)
	}
	if run.Dir != dir || run.ID != filepath.Base(dir) {
		return nil, fmt.Errorf("%s belongs to another folder: %s", file, run.Dir)
	}
	return &run, nil
}
