// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dapr/durabletask-go/api/protos"
	"github.com/dapr/durabletask-go/workflow"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/dapr-custody/custody/internal/history"
	"github.com/dapr-custody/custody/internal/localdomain"
)

// flowServer is the app ID of the guarded server, and the name that its guard has for it.
const flowServer = "bench"

// flowApp is one app with its sidecar and worker, which run.
type flowApp struct {
	flow

	sidecarPID int
	worker     *serverProcess
	conn       *grpc.ClientConn
	client     *workflow.Client
	// spent is the CPU time of sidecar, worker and the server's sidecar.
	spent [3]time.Duration
}

// flowBench is everything that runs for the workflows.
type flowBench struct {
	folder, bin string
	server      *serverProcess
	domain      *localdomain.Domain
	serverPID   int
	flows       []*flowApp
}

const (
	flowFeatures = "  features: [{name: WorkflowHistorySigning, enabled: true}]\n"
	flowPipeline = "  httpPipeline:\n    handlers: [{name: caller, type: middleware.http.mcpcaller}]\n"
)

// addFlow writes what the sidecar of an app reads.
func (d *daprdFolder) addFlow(f flow) {
	spec := flowFeatures
	if f.signs {
		spec += flowPipeline
		d.files["resources-"+f.name+"/caller.yaml"] = component("caller", "middleware.http.mcpcaller",
			"  - {name: journalDir, value: "+filepath.Join(d.path, "links-"+f.name)+"}\n")
	}
	store := "  - {name: connectionString, value: " + filepath.Join(d.path, f.name+".db") + "}\n  - {name: actorStateStore, value: \"true\"}\n"
	kind := "state.sqlite"
	if f.anchor {
		kind = "state.custody"
		store += "  - {name: backend, value: sqlite}\n  - {name: journalDir, value: " + filepath.Join(d.path, "anchors-"+f.name) + "}\n"
	}
	d.files["resources-"+f.name+"/store.yaml"] = component("store", kind, store)
	d.files[f.name+".yaml"] = configuration(f.name, spec)
	d.addApp(f.name, "resources-"+f.name)
}

// flowFolder is what all sidecars of the workflows read.
func flowFolder(path string) *daprdFolder {
	d := &daprdFolder{path: path, files: map[string]string{"dapr.yaml": "version: 1\nname: bench-workflow\napps:\n"}}
	var callers []string
	for _, f := range flows() {
		d.addFlow(f)
		callers = append(callers, f.name)
	}
	d.files["policies/bench.yaml"] = strings.Replace(guardPolicy, "["+callerApp+"]", "["+strings.Join(callers, ", ")+"]", 1)
	d.addCallee(variant{name: flowServer, middleware: guardType, metadata: fmt.Sprintf(guardMetadata, "group")})
	return d
}

// startFlows starts everything. If it fails, nothing is left.
func startFlows(ctx context.Context, s settings, progress io.Writer) (_ *flowBench, err error) {
	b := &flowBench{bin: s.bin}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.stop())
		}
	}()
	if b.folder, err = s.makeFolder(); err != nil {
		return nil, err
	}
	if b.server, err = startServer(progress); err != nil {
		return nil, err
	}
	port, err := b.server.port()
	if err != nil {
		return nil, err
	}
	if err = flowFolder(b.folder).write(); err != nil {
		return nil, err
	}
	if b.domain, err = localdomain.Start(ctx, localdomain.Options{
		File: filepath.Join(b.folder, "dapr.yaml"), Home: filepath.Join(b.folder, "home"), Environ: os.Environ(),
		Daprd: filepath.Join(s.bin, "daprd"), ControlPlane: filepath.Join(s.bin, "controlplane"),
		Apps: map[string]localdomain.AppOptions{flowServer: {External: port}},
	}); err != nil {
		return nil, err
	}
	return b, b.startWorkers(progress)
}

func (b *flowBench) startWorkers(progress io.Writer) error {
	apps := map[string]localdomain.RunApp{}
	for _, app := range b.domain.Info().Apps {
		apps[app.AppID] = app
	}
	b.serverPID = apps[flowServer].DaprdPID
	for _, f := range flows() {
		app := apps[f.name]
		a := &flowApp{flow: f, sidecarPID: app.DaprdPID}
		b.flows = append(b.flows, a)
		var err error
		if a.worker, err = startSelf(progress, workerArgument, f.name, strconv.Itoa(app.DaprHTTPPort), strconv.Itoa(app.DaprGRPCPort)); err != nil {
			return err
		}
		if a.conn, err = sidecarConn(strconv.Itoa(app.DaprGRPCPort)); err != nil {
			return err
		}
		a.client = workflow.NewClient(a.conn)
	}
	return nil
}

func sidecarConn(port string) (*grpc.ClientConn, error) {
	return grpc.NewClient("127.0.0.1:"+port, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// stop ends every process and removes the folder.
func (b *flowBench) stop() error {
	var errs []error
	for _, f := range b.flows {
		if f.conn != nil {
			errs = append(errs, f.conn.Close())
		}
		if f.worker != nil {
			errs = append(errs, f.worker.stop())
		}
	}
	if b.domain != nil {
		errs = append(errs, b.domain.Stop())
	}
	if b.server != nil {
		errs = append(errs, b.server.stop())
	}
	if b.folder != "" {
		errs = append(errs, os.RemoveAll(b.folder))
	}
	return errors.Join(errs...)
}

// cpu gives the CPU time of the app's sidecar, its worker, and the server's sidecar.
func (f *flowApp) cpu(server int) ([3]time.Duration, error) {
	two, err := cpuTimes(&target{callee: f.sidecarPID, caller: f.worker.cmd.Process.Pid})
	if err != nil {
		return [3]time.Duration{}, err
	}
	one, err := cpuTimes(&target{callee: server})
	return [3]time.Duration{two[0], two[1], one[0]}, err
}

func (b *flowBench) journal(kind, app string) string {
	return filepath.Join(b.folder, kind+"-"+app)
}

// receipts counts those of a journal. One that is not said to be there must not be.
func receipts(dir string, there bool) (int, error) {
	if _, err := os.Stat(dir); !there {
		if err == nil {
			return 0, fmt.Errorf("%s is there", dir)
		}
		return 0, nil
	}
	_, n, err := countRecords(dir)
	return n, err
}

// keptRows is what the store has of one instance: bytes of all rows and of those
// of events, the number of signatures, and when the results of activities came.
type keptRows struct {
	bytes, events, signatures int
	results                   []time.Time
}

// rows reads what the store of an app has, by instance, with the reader that custody uses.
func (b *flowBench) rows(ctx context.Context, f *flowApp) (map[string]keptRows, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(b.bin, "custody-components"), "history",
		"--component", filepath.Join(b.folder, "resources-"+f.name, "store.yaml"), "--app", f.name)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("custody-components: %w", err)
	}
	return readRows(bytes.NewReader(out))
}

// readRows reads what custody-components history prints.
func readRows(printed io.Reader) (map[string]keptRows, error) {
	all := map[string]keptRows{}
	for decoder := json.NewDecoder(printed); ; {
		var instance history.Rows
		switch err := decoder.Decode(&instance); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("rows of a history: %w", err)
		}
		var k keptRows
		for _, name := range slices.Sorted(maps.Keys(instance.Rows)) {
			value := instance.Rows[name]
			k.bytes += len(value)
			switch kind, _, _ := strings.Cut(name, "-"); kind {
			case "signature":
				k.signatures++
			case "history":
				k.events += len(value)
				var event protos.HistoryEvent
				if err := proto.Unmarshal(value, &event); err != nil {
					return nil, fmt.Errorf("%s of %s: %w", name, instance.Instance, err)
				}
				if event.GetTaskCompleted() != nil {
					k.results = append(k.results, event.GetTimestamp().AsTime())
				}
			}
		}
		all[instance.Instance] = k
	}
}

// loadAverage is what the system says of the last minute.
func loadAverage() (string, error) {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "", err
	}
	one, _, _ := strings.Cut(string(text), " ")
	return one, nil
}
