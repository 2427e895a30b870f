// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// RootsFile is the file below the home folder that holds the roots of all runs,
// in PEM. Each run has an authority of its own, whose key goes with the run;
// its root stays here, so that the receipts of the run can be verified later.
const RootsFile = "trust-bundle.pem"

// keepRoots adds the roots of a run to the RootsFile, and drops those that have
// expired.
func keepRoots(home string, anchors []byte, now time.Time) error {
	path := filepath.Join(home, RootsFile)
	lock, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("roots: %w", err)
	}
	defer lock.Close()
	if err = unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("roots: %w", err)
	}
	kept, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("roots: %w", err)
	}
	merged, err := mergeRoots(kept, anchors, now)
	if err != nil {
		return fmt.Errorf("roots: %s: %w", path, err)
	}
	return writeFile(path, merged)
}

// mergeRoots gives the certificates of both, each once, without the expired.
func mergeRoots(kept, more []byte, now time.Time) ([]byte, error) {
	var merged bytes.Buffer
	seen := map[string]bool{}
	for rest := append(bytes.Clone(kept), more...); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			if len(bytes.TrimSpace(rest)) > 0 {
				return nil, errors.New("the file holds something else than certificates in PEM")
			}
			return merged.Bytes(), nil
		}
		root, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		if seen[string(root.Raw)] || now.After(root.NotAfter) {
			continue
		}
		seen[string(root.Raw)] = true
		if err := pem.Encode(&merged, &pem.Block{Type: "CERTIFICATE", Bytes: root.Raw}); err != nil {
			return nil, err
		}
	}
}
