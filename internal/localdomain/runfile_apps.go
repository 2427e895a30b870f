// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"gopkg.in/yaml.v3"
)

const defaultNamespace = "default"

// maxAppID is what Sentry allows at most.
const maxAppID = 64

func (p *runFileParser) top(root *yaml.Node) {
	top := p.section("", root, map[string]fieldRule{"version": {}, "name": {}, "common": {}, "apps": {}}, false)
	switch version := p.text(top, "version"); {
	case top.values["version"] == nil:
		p.fail(top.line, "version", "missing; write version: 1")
	case version != "1":
		p.fail(top.lineOf("version"), "version", "%q is not known; write version: 1", version)
	}
	p.file.Name = p.text(top, "name")
	if p.file.Name == "" {
		p.file.Name = filepath.Base(p.file.Dir())
	}

	fields := runFileFields()
	common := &section{path: "common", values: map[string]*yaml.Node{}}
	if node := top.values["common"]; node != nil {
		common = p.section("common", node, fields, true)
	}
	list := top.values["apps"]
	if list == nil || list.Kind != yaml.SequenceNode || len(list.Content) == 0 {
		p.fail(top.lineOf("apps"), "apps", "missing; list at least one app with appDirPath and command")
		return
	}
	shared := p.shared(common)
	for i, node := range list.Content {
		p.app(p.section(fmt.Sprintf("apps[%d]", i), node, fields, false), common, shared)
	}
	p.distinct()
}

// sharedPaths are the values of the common section that are relative to the
// folder of the run file.
type sharedPaths struct {
	configFile string
	resources  []string
	env        map[string]string
}

func (p *runFileParser) shared(common *section) sharedPaths {
	return sharedPaths{
		configFile: p.existing(common, "configFilePath", p.file.Dir(), p.text(common, "configFilePath"), false),
		resources:  p.resources(common, p.file.Dir()),
		env:        p.env(common),
	}
}

func (p *runFileParser) app(s, common *section, shared sharedPaths) {
	if len(s.values) == 0 && len(p.problems) > 0 {
		return // its problem is told already
	}
	app := App{
		AppPort:      p.port(s, "appPort"),
		HTTPPort:     p.port(s, "daprHTTPPort"),
		GRPCPort:     p.port(s, "daprGRPCPort"),
		InternalPort: p.port(s, "daprInternalGRPCPort"),
		MetricsPort:  p.port(s, "metricsPort"),
		ProfilePort:  p.port(s, "profilePort"),
	}
	if s.values["appDirPath"] == nil {
		p.fail(s.line, s.field("appDirPath"), "missing; name the folder in which the app runs")
	} else {
		app.Dir = p.existing(s, "appDirPath", p.file.Dir(), p.text(s, "appDirPath"), true)
	}
	app.ID, app.line = p.appID(s, app.Dir), s.lineOf("appID")
	app.Command = p.command(s, app.Dir)

	app.Env = maps.Clone(shared.env)
	maps.Copy(app.Env, p.env(s))
	app.Namespace = p.namespace(s, app.Env)

	if app.Dir != "" {
		app.ConfigFile = p.configFile(s, app.Dir, shared.configFile)
		app.ResourcesPaths = p.resourcesPaths(s, app.Dir, shared.resources)
	}
	app.Protocol = p.oneOf(s, common, "appProtocol", "http", "https", "grpc", "grpcs", "h2c")
	app.AppLog = LogDestination(p.oneOf(s, common, "appLogDestination", "fileAndConsole", "file", "console"))
	app.DaprdLog = LogDestination(p.oneOf(s, common, "daprdLogDestination", "file", "console", "fileAndConsole"))
	p.loopback(s, s, "appChannelAddress")
	p.loopback(s, common, "apiListenAddresses")
	app.DaprdFlags = p.daprdFlags(s, common)
	p.file.Apps = append(p.file.Apps, app)
}

// pick gives the section that has the field: the app's own before the common.
func pick(s, common *section, name string) *section {
	if s.values[name] != nil {
		return s
	}
	return common
}

// oneOf reads a text that must be one of allowed; the first is the default.
func (p *runFileParser) oneOf(s, common *section, name string, allowed ...string) string {
	from := pick(s, common, name)
	value := p.text(from, name)
	if value == "" {
		return allowed[0]
	}
	if !slices.Contains(allowed, value) {
		p.fail(from.lineOf(name), from.field(name), "%q is not one of %s", value, strings.Join(allowed, ", "))
		return allowed[0]
	}
	return value
}

func (p *runFileParser) loopback(s, common *section, name string) {
	from := pick(s, common, name)
	switch value := p.text(from, name); value {
	case "", "127.0.0.1", "localhost":
	default:
		p.fail(from.lineOf(name), from.field(name), "%q is not supported: everything listens on 127.0.0.1; remove it", value)
	}
}

func (p *runFileParser) daprdFlags(s, common *section) []string {
	var flags []string
	fields := runFileFields()
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		rule := fields[name]
		from := pick(s, common, name)
		if rule.flag == "" || from.values[name] == nil {
			continue
		}
		var value string
		switch rule.kind {
		case boolValue:
			value = fmt.Sprint(p.boolean(from, name))
		case intValue:
			value = fmt.Sprint(p.integer(from, name))
		default:
			value = p.text(from, name)
		}
		flags = append(flags, rule.flag+"="+value)
	}
	return flags
}

func (p *runFileParser) appID(s *section, dir string) string {
	id := p.text(s, "appID")
	if id == "" && dir != "" {
		id = filepath.Base(dir)
	}
	if id == "" {
		return ""
	}
	legal := regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	switch {
	case len(id) > maxAppID:
		p.fail(s.lineOf("appID"), s.field("appID"), "%q is longer than the %d characters that Sentry allows", id, maxAppID)
	case !legal.MatchString(id):
		p.fail(s.lineOf("appID"), s.field("appID"),
			"%q must consist of letters, digits, - and _ (it becomes the last part of a SPIFFE ID, and Dapr forbids dots)", id)
	case isControlPlane(id):
		p.fail(s.lineOf("appID"), s.field("appID"), "%q is the name of a control plane service; choose another", id)
	}
	return id
}

// isControlPlane tells the app IDs to which Dapr gives an identity in the trust
// domain of the control plane (dapr/dapr pkg/security/sentry.go).
func isControlPlane(id string) bool {
	return slices.Contains([]string{"dapr-operator", "dapr-placement", "dapr-injector", "dapr-sentry", "dapr-scheduler"}, id)
}

func (p *runFileParser) namespace(s *section, env map[string]string) string {
	ns, ok := env["NAMESPACE"]
	if !ok {
		return defaultNamespace
	}
	if !regexp.MustCompile(`^[A-Za-z0-9_-]+$`).MatchString(ns) {
		p.fail(s.lineOf("env"), s.field("env.NAMESPACE"), "%q must consist of letters, digits, - and _", ns)
	}
	return ns
}

func (p *runFileParser) command(s *section, dir string) []string {
	command := p.list(s, "command")
	line := s.lineOf("command")
	if len(command) == 0 || command[0] == "" {
		if node := s.values["command"]; node == nil || node.Kind == yaml.SequenceNode {
			p.fail(line, s.field("command"), "missing; write the program and its arguments as a list, such as [\"./server\"]")
		}
		return nil
	}
	if dir == "" {
		return command
	}
	program := command[0]
	if strings.Contains(program, "/") && !filepath.IsAbs(program) {
		program = filepath.Join(dir, program)
	}
	if _, err := exec.LookPath(program); err != nil {
		where := "in PATH"
		if strings.Contains(program, "/") {
			where = "at " + program
		}
		p.fail(line, s.field("command"), "no executable %q %s; build it first, or correct the name", command[0], where)
	}
	return command
}

func (p *runFileParser) configFile(s *section, dir, shared string) string {
	if own := p.existing(s, "configFilePath", dir, p.text(s, "configFilePath"), false); own != "" {
		return own
	}
	if local := filepath.Join(dir, ".dapr", "config.yaml"); isFile(local) {
		return local
	}
	return shared
}

func (p *runFileParser) resourcesPaths(s *section, dir string, shared []string) []string {
	if own := p.resources(s, dir); len(own) > 0 {
		return own
	}
	if local := filepath.Join(dir, ".dapr", "resources"); isDir(local) {
		return []string{local}
	}
	return shared
}

// resources gives resourcesPaths and the older resourcesPath as one list.
func (p *runFileParser) resources(s *section, base string) []string {
	var paths []string
	for _, path := range p.list(s, "resourcesPaths") {
		paths = append(paths, p.existing(s, "resourcesPaths", base, path, true))
	}
	if path := p.text(s, "resourcesPath"); path != "" {
		paths = append(paths, p.existing(s, "resourcesPath", base, path, true))
	}
	return paths
}

// existing resolves a path that must name a folder or a file; "" stays "".
func (p *runFileParser) existing(s *section, name, base, path string, folder bool) string {
	if path == "" {
		return ""
	}
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			p.fail(s.lineOf(name), s.field(name), "%q: the home folder is not known; write the path out", path)
			return ""
		}
		path = filepath.Join(home, rest)
	}
	abs := path
	if !filepath.IsAbs(abs) {
		abs = filepath.Join(base, path)
	}
	kind := "file"
	if folder {
		kind = "folder"
	}
	switch info, err := os.Stat(abs); {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		p.fail(s.lineOf(name), s.field(name), "no %s %s; create it or correct the path", kind, abs)
	case err != nil:
		p.fail(s.lineOf(name), s.field(name), "%s; let this user read it", err)
	case folder && !info.IsDir(), !folder && !info.Mode().IsRegular():
		p.fail(s.lineOf(name), s.field(name), "%s is no %s; correct the path", abs, kind)
	}
	return abs
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// distinct checks what must differ between the apps.
func (p *runFileParser) distinct() {
	ids := map[string]int{}
	ports := map[int]string{}
	for i, app := range p.file.Apps {
		if first, ok := ids[app.ID]; ok && app.ID != "" {
			p.fail(app.line, fmt.Sprintf("apps[%d].appID", i), "%q is also the ID of apps[%d]; each app needs its own", app.ID, first)
		} else {
			ids[app.ID] = i
		}
		for _, port := range app.ports() {
			if port.Number == 0 {
				continue
			}
			field := fmt.Sprintf("apps[%d].%s", i, port.field)
			if other, ok := ports[port.Number]; ok {
				p.fail(port.Line, field, "port %d is also given as %s; change one", port.Number, other)
				continue
			}
			ports[port.Number] = field
		}
	}
}

type namedPort struct {
	Port
	field string
}

func (a *App) ports() []namedPort {
	return []namedPort{
		{a.AppPort, "appPort"},
		{a.HTTPPort, "daprHTTPPort"},
		{a.GRPCPort, "daprGRPCPort"},
		{a.InternalPort, "daprInternalGRPCPort"},
		{a.MetricsPort, "metricsPort"},
		{a.ProfilePort, "profilePort"},
	}
}
