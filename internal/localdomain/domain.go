// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Domain is a running trust domain. Its methods are safe for concurrent use.
type Domain struct {
	opts       Options
	file       *RunFile // nil without one
	base       environment
	client     *http.Client
	console    *console
	spawner    *spawner
	issuer     *issuer
	ports      *ports
	plane      controlPlane
	members    []*member
	components *components
	// persisted is the lock of the folder that outlives the run; nil without one.
	persisted *os.File

	ctx      context.Context //nolint:containedctx // the life of the run
	cancel   context.CancelCauseFunc
	finished chan struct{}
	err      error // set before finished is closed

	mu         sync.Mutex
	run        Run
	processes  []*process
	appsToWait int
	launched   int
	stopping   bool
}

// Causes for which a run ends without an error.
var (
	errStopped   = errors.New("stopped")
	errCompleted = errors.New("all apps have completed")
)

// Start starts the domain and returns when every part of it is ready. It runs
// until ctx ends, Stop is called, one part dies, or every app has ended with
// status 0. If Start fails, nothing is left of what it started.
//
// Errors are *FileError for what is wrong in the user's files and *PartError for
// a part that failed.
func Start(ctx context.Context, opts Options) (*Domain, error) {
	opts, err := opts.validated()
	if err != nil {
		return nil, fmt.Errorf("localdomain: %w", err)
	}
	d, err := newDomain(ctx, opts)
	if err != nil {
		return nil, prefixed(err)
	}
	err = d.begin()
	if err == nil {
		d.update(func(r *Run) { r.Ready = true })
		go d.supervise()
		return d, nil
	}
	if cause := context.Cause(d.ctx); cause != nil {
		err = cause // what went wrong first
	}
	d.cancel(err)
	ended := d.end()
	return nil, prefixed(errors.Join(d.heard(err), ended))
}

// prefixed names the package, but for what is wrong in a file of the user, where
// the name of the file comes first.
func prefixed(err error) error {
	var wrong *FileError
	if errors.As(err, &wrong) {
		return err
	}
	return fmt.Errorf("localdomain: %w", err)
}

func newDomain(ctx context.Context, opts Options) (*Domain, error) {
	var file *RunFile
	name := "controlplane"
	if opts.File != "" {
		var err error
		if file, err = LoadRunFile(opts.File); err != nil {
			return nil, err
		}
		name = file.Name
	}
	var server *components
	if file != nil {
		var err error
		if server, err = findComponents(opts, file); err != nil {
			return nil, err
		}
		if server != nil {
			if err = executable("--components", &opts.Components); err != nil {
				return nil, fmt.Errorf("%s wants a component server: %w", server.file.Path, err)
			}
		}
	}
	if err := checkAppOptions(file, opts.Apps); err != nil {
		return nil, err
	}
	id, dir, err := newRunDir(opts.Home, name)
	if err != nil {
		return nil, err
	}
	d := &Domain{
		opts:       opts,
		file:       file,
		components: server,
		base:       inherited(opts.Environ).with(map[string]string{runVariable: id}),
		client:     &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		console:    &console{out: opts.Output},
		spawner:    newSpawner(),
		ports:      newPorts(),
		finished:   make(chan struct{}),
	}
	d.run = Run{
		ID: id, Name: name, Dir: dir, Started: opts.Now().UTC().Truncate(time.Millisecond),
		Custody: ProcessID{PID: os.Getpid()}, ControlPlaneTrustDomain: ControlPlaneTrustDomain,
		Apps: []RunApp{}, Journals: []Journal{}, Groups: []ProcessID{},
	}
	if file != nil {
		d.run.File = file.Path
	}
	d.ctx, d.cancel = context.WithCancelCause(ctx)
	return d, nil
}

func checkAppOptions(file *RunFile, apps map[string]AppOptions) error {
	for id := range apps {
		known := file != nil && slices.ContainsFunc(file.Apps, func(a App) bool { return a.ID == id })
		if !known {
			return fmt.Errorf("options for app %q, which is not in the run file", id)
		}
	}
	return nil
}

// begin starts everything, in the order in which the parts need one another.
func (d *Domain) begin() error {
	stat, err := readStat(os.Getpid())
	if err != nil {
		return err
	}
	d.run.Custody.StartTime = stat.startTime
	sentryID, err := controlPlaneID("dapr-sentry")
	if err != nil {
		return err
	}
	if d.issuer, err = newIssuer(d.run.Dir, sentryID, d.opts.Now); err != nil {
		return err
	}
	if err = d.openPersisted(); err != nil {
		return err
	}
	if err = d.planControlPlane(); err != nil {
		return err
	}
	if err = withRegistryLock(d.opts.Home, d.plan); err != nil {
		return err
	}
	go d.issuer.keepFresh(d.ctx, func(err error) { d.say("tokens could not be renewed: %s", err) })
	if err = d.startControlPlane(); err != nil {
		return err
	}
	if d.opts.ControlPlaneOnly {
		return d.writeCLIFolder()
	}
	if err = d.startComponents(); err != nil {
		return err
	}
	return d.startApps()
}

// plan chooses what the apps get and writes it down.
func (d *Domain) plan() error {
	if d.file != nil {
		for _, notice := range d.file.Notices {
			d.say("note: %s", notice)
		}
		if err := d.planApps(); err != nil {
			return err
		}
		if err := d.planComponents(); err != nil {
			return err
		}
	}
	return d.save()
}

func controlPlaneID(service string) (spiffeid.ID, error) {
	td, err := spiffeid.TrustDomainFromString(ControlPlaneTrustDomain)
	if err != nil {
		return spiffeid.ID{}, err
	}
	return spiffeid.FromSegments(td, "ns", controlPlaneNamespace, service)
}

// Info gives what is known of the run now.
func (d *Domain) Info() Run {
	d.mu.Lock()
	defer d.mu.Unlock()
	run := d.run
	run.Apps = slices.Clone(run.Apps)
	run.Journals = slices.Clone(run.Journals)
	run.Groups = slices.Clone(run.Groups)
	if run.Server != nil {
		server := *run.Server
		run.Server = &server
	}
	return run
}

// Wait returns when the run is over and nothing of it is left: nil if it was
// stopped, its context ended or every app completed, *PartError if a part died.
func (d *Domain) Wait() error {
	<-d.finished
	return d.err
}

// Done is closed when the run is over and nothing of it is left.
func (d *Domain) Done() <-chan struct{} { return d.finished }

// Stop ends the run and returns when nothing of it is left. The error is that
// of Wait.
func (d *Domain) Stop() error {
	d.cancel(errStopped)
	return d.Wait()
}

// say tells progress. It is for the eyes only: a reader that went away must not
// stop the run.
func (d *Domain) say(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := fmt.Fprintf(d.opts.Progress, format+"\n", args...); err != nil {
		return
	}
}

// update changes what is known of the run and saves it. A run that cannot be
// saved could not be found by Down, so it ends.
func (d *Domain) update(change func(*Run)) {
	d.mu.Lock()
	change(&d.run)
	err := d.run.save()
	d.mu.Unlock()
	if err != nil {
		d.cancel(err)
	}
}

func (d *Domain) save() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.run.save()
}

// startPart starts a process, writes it down and has it watched: whatever ends
// before the run does ends the run, unless ended says otherwise.
func (d *Domain) startPart(spec processSpec, ended func(*process) bool) (*process, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopping {
		return nil, errStopped
	}
	p, err := d.spawner.startProcess(spec, d.console)
	if err != nil {
		return nil, err
	}
	d.processes = append(d.processes, p)
	d.run.Groups = append(d.run.Groups, p.id)
	go func() {
		<-p.done
		if ended == nil || !ended(p) {
			d.cancel(p.failure(p.outcome()))
		}
	}()
	return p, d.run.save()
}

// supervise waits for the end of the run.
func (d *Domain) supervise() {
	<-d.ctx.Done()
	cause := context.Cause(d.ctx)
	err := d.end()
	var part *PartError
	if errors.As(cause, &part) || !isQuietEnd(cause) {
		err = errors.Join(d.heard(cause), err)
	}
	if err != nil {
		d.err = prefixed(err)
	}
	close(d.finished)
}

func isQuietEnd(cause error) bool {
	return errors.Is(cause, errStopped) || errors.Is(cause, errCompleted) ||
		errors.Is(cause, context.Canceled) || errors.Is(cause, context.DeadlineExceeded)
}

// end stops every process, apps first and Sentry last, and removes the folder.
func (d *Domain) end() error {
	d.mu.Lock()
	d.stopping = true
	processes := slices.Clone(d.processes)
	d.mu.Unlock()

	defer d.tellIfSlow("stopping; what does not end within %s is killed", stopGrace)()
	errs := []error{d.stopProcesses(processes)}
	d.spawner.close()
	limit, cancel := context.WithTimeout(context.WithoutCancel(d.ctx), 2*killGrace)
	defer cancel()
	// What left its process group is found by its mark.
	errs = append(errs, killLeftovers(limit, d.run.ID, nil), d.ports.releaseAll(), d.closePersisted())
	for _, p := range processes {
		if p.outputErr != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.part, p.outputErr))
		}
	}
	if d.run.Sockets != "" {
		errs = append(errs, os.RemoveAll(d.run.Sockets))
	}
	if d.opts.Keep {
		ended := d.opts.Now().UTC().Truncate(time.Millisecond)
		d.run.Ended, d.run.Ready = &ended, false
		errs = append(errs, d.save())
		d.say("the folder of the run was kept: %s", d.run.Dir)
	} else {
		errs = append(errs, os.RemoveAll(d.run.Dir))
	}
	return errors.Join(errs...)
}

// stopProcesses asks the processes to end, the youngest stage first, and kills
// what is still there when the grace is over.
func (d *Domain) stopProcesses(processes []*process) error {
	var errs []error
	grace := time.NewTimer(stopGrace)
	defer grace.Stop()
	stages := map[int][]*process{}
	for _, p := range processes {
		stages[p.stage] = append(stages[p.stage], p)
	}
	over := false
	for _, stage := range slices.Backward(slices.Sorted(maps.Keys(stages))) {
		sig := sigTerm
		if over {
			sig = sigKill
		}
		for _, p := range stages[stage] {
			errs = append(errs, p.signal(sig))
		}
		for _, p := range stages[stage] {
			if over {
				<-p.done
				continue
			}
			select {
			case <-p.done:
			case <-grace.C:
				over = true
				for _, late := range stages[stage] {
					errs = append(errs, late.signal(sigKill))
				}
				<-p.done
			}
		}
	}
	return errors.Join(errs...)
}

// address gives the loopback address of a port.
func address(port int) string { return net.JoinHostPort(loopback, strconv.Itoa(port)) }
