// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package peer

import (
	"bytes"
	"fmt"
	"strings"
)

const (
	appIDFlag         = "--app-id"
	namespaceVariable = "NAMESPACE"
	defaultNamespace  = "default"
)

// appID is the value of --app-id in the arguments of a process, each ended by a
// zero byte, as daprd reads it: with one or two dashes (cmd/daprd/options/options.go
// doubles the first), and the value behind "=" or as the next argument. Empty
// means that it is not given. What could be meant in two ways is refused: the flag
// twice, of which daprd takes the last, and the flag without a value.
func appID(cmdline []byte) (string, error) {
	arguments := split(cmdline)
	found := false
	var value string
	for i := 1; i < len(arguments); i++ {
		argument := arguments[i]
		if argument == "--" {
			break
		}
		if len(argument) > 2 && argument[0] == '-' && argument[1] != '-' {
			argument = "-" + argument
		}
		name, given, inline := strings.Cut(argument, "=")
		if name != appIDFlag {
			continue
		}
		if !inline && i+1 < len(arguments) {
			i++
			given = arguments[i]
		}
		switch {
		case found:
			return "", fmt.Errorf("%w: it was started with --app-id twice: start it with one", ErrAmbiguous)
		case given == "" || strings.HasPrefix(given, "-"):
			return "", fmt.Errorf("%w: its --app-id has no value: give it one", ErrAmbiguous)
		}
		found, value = true, given
	}
	return value, nil
}

// namespace is NAMESPACE in the environment of a process, each variable ended by a
// zero byte, as daprd reads it (pkg/security/security.go, CurrentNamespace). Twice,
// or empty, for which parts of daprd differ, is refused.
func namespace(environ []byte) (string, error) {
	found := false
	value := defaultNamespace
	for pair := range bytes.SplitSeq(environ, []byte{0}) {
		name, given, ok := bytes.Cut(pair, []byte("="))
		if !ok || string(name) != namespaceVariable {
			continue
		}
		switch {
		case found:
			return "", fmt.Errorf("%w: its environment holds NAMESPACE twice: set it once", ErrAmbiguous)
		case len(given) == 0:
			return "", fmt.Errorf("%w: NAMESPACE is empty in its environment: unset it, or give it a value", ErrAmbiguous)
		}
		found, value = true, string(given)
	}
	return value, nil
}

func split(cmdline []byte) []string {
	return strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
}
