// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dbsetup

import (
	"context"
	"errors"
	"fmt"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/dbca"
)

// Rotate replaces the authority of databases: it makes the next one, has every server trust both, tries the next one at
// each, and only then lets it sign and drops the old. Where a server does not let the next one in, nothing has changed for
// it, and Rotate goes on from there when it is run again. All options name the same CA.
func Rotate(ctx context.Context, ca *dbca.CA, all []Options) (Result, error) {
	next, err := ca.Next()
	if err != nil {
		return Result{}, err
	}
	trusted, err := ca.Trusted()
	if err != nil {
		return Result{}, err
	}
	if next != nil || len(trusted) == 1 {
		if len(all) == 0 {
			return Result{}, errors.New("no database is named, so the next authority cannot be tried")
		}
		if result, err := introduce(ctx, ca, all); err != nil || len(result.Left) > 0 {
			return result, err
		}
		if err := ca.Switch(); err != nil {
			return Result{}, err
		}
	}
	if err := ca.Drop(); err != nil {
		return Result{}, err
	}
	return trust(ctx, all)
}

// introduce makes the next authority known to all and tries it.
func introduce(ctx context.Context, ca *dbca.CA, all []Options) (Result, error) {
	if err := ca.Prepare(all[0].Now()); err != nil {
		return Result{}, err
	}
	result, err := trust(ctx, all)
	if err != nil || len(result.Left) > 0 {
		return result, err
	}
	next, err := ca.Next()
	if err != nil {
		return Result{}, err
	}
	for _, o := range all {
		for _, role := range o.Database.Names() {
			cert, err := next.Mint(role, nobody, spiffeid.ID{}, o.Now())
			if err != nil {
				return Result{}, err
			}
			conn, err := enter(ctx, o.Database, entry{role: role, cert: &cert})
			if err != nil {
				return Result{}, fmt.Errorf("database %s does not let role %s in with the next authority: %w; the old one still signs, run the command again",
					o.Database.Name, role, err)
			}
			if err := conn.Close(ctx); err != nil {
				return Result{}, err
			}
		}
	}
	return result, nil
}

// trust has every server trust what is in the bundle.
func trust(ctx context.Context, all []Options) (Result, error) {
	var total Result
	for _, o := range all {
		result, err := run(ctx, o, func(ctx context.Context, s *server) (*plan, error) {
			p := &plan{}
			lines := map[string][]string{}
			if err := s.planTrust(ctx, p, lines); err != nil {
				return nil, err
			}
			put := func(text string, lines []string) (string, error) { return withBlock(text, o.Database.Name, lines) }
			return p, s.planFiles(ctx, p, lines, put, "put these lines first", "authorities of "+o.Database.Name+" replaced")
		})
		if err != nil {
			return total, err
		}
		total.Changed = total.Changed || result.Changed
		total.Left = append(total.Left, result.Left...)
	}
	return total, nil
}
