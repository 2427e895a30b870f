// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"maps"
	"slices"
	"strings"
)

// postgresVariable names the user's own database server to the apps. It is a
// setting of the apps and not ours, so they inherit it.
const postgresVariable = "CUSTODY_POSTGRES_URL"

// runVariable marks every process of a run, however it detaches itself, so
// that the end of the run finds it. Its value is no secret.
const runVariable = "CUSTODY_RUN"

// environment is what a child is started with.
type environment map[string]string

// inherited is the parent's environment without anything that belongs to
// Dapr, to Sentry or to us: neither tokens nor settings of an outer run get
// into a child by accident.
func inherited(parent []string) environment {
	env := make(environment, len(parent))
	for _, pair := range parent {
		name, value, ok := strings.Cut(pair, "=")
		if ok && name != "" && !reserved(name) {
			env[name] = value
		}
	}
	return env
}

func reserved(name string) bool {
	if name == postgresVariable {
		return false
	}
	for _, prefix := range []string{"DAPR_", "CUSTODY_", "SENTRY_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	switch name {
	case "NAMESPACE", "APP_ID", "APP_PORT", "APP_PROTOCOL", "APP_API_TOKEN", "APP_CHANNEL_ADDRESS":
		return true
	}
	return false
}

// with gives a copy that has the variables of more as well; they win.
func (e environment) with(more map[string]string) environment {
	merged := maps.Clone(e)
	maps.Copy(merged, more)
	return merged
}

func (e environment) get(name string) string { return e[name] }

// list gives the sorted NAME=value form.
func (e environment) list() []string {
	pairs := make([]string, 0, len(e))
	for _, name := range slices.Sorted(maps.Keys(e)) {
		pairs = append(pairs, name+"="+e[name])
	}
	return pairs
}
