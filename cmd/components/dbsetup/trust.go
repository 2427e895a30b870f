// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dbsetup

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
)

// planTrust has the server trust the authority. A file of authorities that is not setup's own is left to whoever keeps it.
func (s *server) planTrust(ctx context.Context, p *plan, lines map[string][]string) error {
	if s.o.CA == nil {
		p.notes = append(p.notes, "the authority would be made, and its certificate put into ssl_ca_file")
		return nil
	}
	bundle, err := s.o.CA.Bundle()
	if err != nil {
		return err
	}
	if own := s.ownCAFile(); own != "" {
		lines[own] = strings.Split(strings.TrimSpace(string(bundle)), "\n")
		if s.facts.CAFile == "" && (s.o.Print || s.local && writable(own) == nil) {
			p.system = append(p.system, "ALTER SYSTEM SET ssl_ca_file = "+literal(caFile))
		} else if s.facts.CAFile == "" {
			p.left = append(p.left, fmt.Sprintf("after %s is made: ALTER SYSTEM SET ssl_ca_file = %s; SELECT pg_reload_conf()", own, literal(caFile)))
		}
	}
	missing, strangers, err := s.trusted(ctx)
	if err != nil {
		return err
	}
	if len(missing) > 0 && s.ownCAFile() == "" {
		p.left = append(p.left, fmt.Sprintf("add to %s what custody's authority is known by, and then SELECT pg_reload_conf():\n%s",
			s.caPath(), strings.TrimSpace(string(encode(missing)))))
	}
	if len(strangers) > 0 {
		p.notes = append(p.notes, fmt.Sprintf("%s trusts other authorities too, which can sign for these roles: %s", s.caPath(), strings.Join(strangers, "; ")))
	}
	return nil
}

// trusted compares the server's file of authorities with ours: what it lacks, and whom else it trusts.
func (s *server) trusted(ctx context.Context) (missing []*x509.Certificate, strangers []string, err error) {
	ours, err := s.o.CA.Trusted()
	if err != nil {
		return nil, nil, err
	}
	if s.caPath() == "" {
		return ours, nil, nil
	}
	text, err := s.read(ctx, s.caPath())
	if err != nil {
		return nil, nil, err
	}
	theirs, err := decode(text)
	if err != nil {
		return nil, nil, fmt.Errorf("%s of the server: %w", s.caPath(), err)
	}
	same := func(list []*x509.Certificate, c *x509.Certificate) bool { return slices.ContainsFunc(list, c.Equal) }
	for _, c := range ours {
		if !same(theirs, c) {
			missing = append(missing, c)
		}
	}
	for _, c := range theirs {
		if name := c.Subject.String(); !same(ours, c) && !slices.Contains(strangers, name) {
			strangers = append(strangers, name)
		}
	}
	return missing, strangers, nil
}

func decode(text string) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, cert)
	}
	return certs, nil
}

func encode(certs []*x509.Certificate) []byte {
	var text []byte
	for _, c := range certs {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return text
}

// planDistrust takes the file of authorities away once no document's block is in it.
func (s *server) planDistrust(p *plan) {
	for i, f := range p.files {
		if f.path == s.ownCAFile() && strings.TrimSpace(f.new) == "" {
			p.files = slices.Delete(p.files, i, i+1)
			if s.facts.CAFile != "" {
				p.system = append(p.system, "ALTER SYSTEM RESET ssl_ca_file")
			}
			// Only then: a server that starts without the file that it is told to read does not start.
			p.remove = append(p.remove, f.path)
			return
		}
	}
}
