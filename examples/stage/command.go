// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package stage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Command runs a custody command to its end and returns what it printed.
func (s *Stage) Command(ctx context.Context, arguments ...string) (string, error) {
	cmd := exec.CommandContext(ctx, s.custody, arguments...)
	cmd.Env = s.environment()
	cmd.Dir = s.Example
	var problems bytes.Buffer
	cmd.Stderr = &problems
	output, err := cmd.Output()
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err != nil {
		return string(output), fmt.Errorf("custody %s: %w: %s", strings.Join(arguments[:min(2, len(arguments))], " "),
			err, strings.TrimSpace(problems.String()))
	}
	return string(output), nil
}

// Receipts decodes what custody lists of journals into a slice of structs with the members that a demo uses.
func (s *Stage) Receipts(ctx context.Context, into any, journals ...string) error {
	text, err := s.Command(ctx, ofJournals([]string{"receipts", "list", "-o", "json"}, journals)...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return fmt.Errorf("custody receipts list: %w", err)
	}
	return nil
}

// VerifyReceipts verifies journals with what Stop leaves, and returns what custody printed.
func (s *Stage) VerifyReceipts(ctx context.Context, journals ...string) (string, error) {
	return s.Command(ctx, ofJournals([]string{"receipts", "verify", "--trust-bundle", s.Bundle(), "--trust-domain", TrustDomain}, journals)...)
}

func ofJournals(command, journals []string) []string {
	for _, journal := range journals {
		command = append(command, "--journal", journal)
	}
	return command
}

func (s *Stage) environment() []string {
	return append(append(os.Environ(), "CUSTODY_HOME="+filepath.Join(s.Dir, "home")), s.Env...)
}

// look reads how the run is from custody ps.
func (s *Stage) look(ctx context.Context) (ready bool, err error) {
	output, err := s.Command(ctx, "ps", "-o", "json")
	if err != nil {
		return false, err
	}
	var runs []Run
	if err := json.Unmarshal([]byte(output), &runs); err != nil {
		return false, fmt.Errorf("custody ps: %w", err)
	}
	if len(runs) != 1 || !runs[0].Ready {
		return false, nil
	}
	s.Run = runs[0]
	return true, nil
}

// end ends the run as Ctrl-C would.
func (s *Stage) end() error {
	if s.cmd == nil || s.cmd.Process == nil {
		return nil
	}
	select {
	case <-s.ended:
		return nil
	default:
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop custody: %w", err)
	}
	timer := time.NewTimer(stopPatience)
	defer timer.Stop()
	select {
	case <-s.ended:
		return nil
	case <-timer.C:
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	_, err := s.Command(ctx, "down")
	return errors.Join(errors.New("custody up did not stop in time"), err)
}

// CopyFile writes the text of one file to another.
func CopyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o644)
}

// lockedBuffer gathers the output of custody for an error message.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
