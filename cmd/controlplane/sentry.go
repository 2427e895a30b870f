// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/dapr/dapr/cmd/sentry/options"
	"github.com/dapr/dapr/pkg/healthz"
	"github.com/dapr/dapr/pkg/modes"
	"github.com/dapr/dapr/pkg/sentry"
	"github.com/dapr/dapr/pkg/sentry/config"
	"github.com/dapr/dapr/pkg/sentry/monitoring"
	"github.com/dapr/dapr/utils"
	"github.com/dapr/kit/concurrency"
	"github.com/dapr/kit/fswatcher"
	"github.com/dapr/kit/logger"
)

// reloadDelay gathers the file events of one change of the credentials.
const reloadDelay = 2 * time.Second

// runSentry runs the certificate authority. As in Dapr's own binary it starts
// anew when a file beside its credentials changes.
func runSentry(ctx context.Context, log logger.Logger, args []string) error {
	opts := options.New(args)
	if err := opts.Validate(); err != nil {
		return fmt.Errorf("options: %w", err)
	}
	if err := begin(log, "Sentry certificate authority", &opts.Logger); err != nil {
		return err
	}
	if err := utils.SetEnvVariables(map[string]string{utils.KubeConfigVar: opts.Kubeconfig}); err != nil {
		return fmt.Errorf("environment: %w", err)
	}
	if err := monitoring.InitMetrics(); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	cfg, err := sentryConfig(opts)
	if err != nil {
		return err
	}
	watcher, err := fswatcher.New(fswatcher.Options{Targets: watchedFolders(cfg, opts)})
	if err != nil {
		return fmt.Errorf("watch credentials: %w", err)
	}

	changed := make(chan struct{})
	return concurrency.NewRunnerManager(
		func(ctx context.Context) error { return watcher.Run(ctx, changed) },
		func(ctx context.Context) error {
			for ctx.Err() == nil {
				if err := serveSentry(ctx, log, opts, cfg, changed); err != nil {
					return err
				}
			}
			return nil
		},
	).Run(ctx)
}

// serveSentry runs one incarnation of the authority; it returns nil when the
// context ends or the credentials changed.
func serveSentry(
	ctx context.Context, log logger.Logger, opts *options.Options, cfg config.Config, changed <-chan struct{},
) error {
	hz := healthz.New()
	exporter := newExporter(log, hz, opts.Metrics)
	authority, err := sentry.New(ctx, sentry.Options{
		Config:  cfg,
		Healthz: hz,
		OIDC: sentry.OIDCOptions{
			Enabled:             opts.OIDC.Enabled,
			ServerListenAddress: opts.OIDC.ServerListenAddress,
			ServerListenPort:    opts.OIDC.ServerListenPort,
			JWKSURI:             opts.OIDC.JWKSURI,
			PathPrefix:          opts.OIDC.PathPrefix,
			Domains:             opts.OIDC.AllowedHosts,
			TLSCertPath:         opts.OIDC.TLSCertFile,
			TLSKeyPath:          opts.OIDC.TLSKeyFile,
		},
	})
	if err != nil {
		return fmt.Errorf("create authority: %w", err)
	}
	return concurrency.NewRunnerManager(
		newHealthServer(log, hz, opts.HealthzListenAddress, opts.HealthzPort).run,
		exporter.Start,
		authority.Start,
		func(ctx context.Context) error {
			select {
			case <-ctx.Done():
				return nil
			case <-changed:
			}
			monitoring.IssuerCertChanged()
			select {
			case <-ctx.Done():
			case <-time.After(reloadDelay):
				log.Warn("Issuer credentials changed; reloading")
			}
			return nil
		},
	).Run(ctx)
}

func sentryConfig(opts *options.Options) (config.Config, error) {
	if (opts.OIDC.TLSCertFile == nil) != (opts.OIDC.TLSKeyFile == nil) {
		return config.Config{}, errors.New("options: of the OIDC TLS certificate and key both must be given or none")
	}
	cfg, err := config.FromConfigName(opts.ConfigName, opts.Mode)
	if err != nil {
		return config.Config{}, fmt.Errorf("configuration: %w", err)
	}
	in := func(name, fallback string) string {
		if filepath.IsAbs(name) {
			return name
		}
		return filepath.Join(opts.IssuerCredentialsPath, fallback)
	}
	cfg.IssuerCertPath = in(opts.X509.IssuerCertFilename, opts.X509.IssuerCertFilename)
	cfg.IssuerKeyPath = in(opts.X509.IssuerKeyFilename, opts.X509.IssuerKeyFilename)
	cfg.RootCertPath = in(opts.X509.RootCAFilename, opts.X509.RootCAFilename)
	// Dapr's own main takes a relative name of these two for its default.
	cfg.JWT.SigningKeyPath = in(opts.JWT.SigningKeyFilename, config.DefaultJWTSigningKeyFilename)
	cfg.JWT.JWKSPath = in(opts.JWT.JWKSFilename, config.DefaultJWKSFilename)
	cfg.JWT.Enabled = opts.JWT.Enabled
	cfg.JWT.SigningAlgorithm = opts.JWT.SigningAlgorithm
	cfg.JWT.TTL = opts.JWT.TTL
	cfg.JWT.Issuer = opts.JWT.Issuer
	cfg.JWT.KeyID = opts.JWT.KeyID
	cfg.TrustDomain = opts.TrustDomain
	cfg.Port = opts.Port
	cfg.ListenAddress = opts.ListenAddress
	cfg.Mode = modes.DaprMode(opts.Mode)
	return cfg, nil
}

// watchedFolders lists, once each, the folders that hold credentials.
func watchedFolders(cfg config.Config, opts *options.Options) []string {
	files := []string{cfg.IssuerCertPath, cfg.IssuerKeyPath, cfg.RootCertPath, cfg.JWT.SigningKeyPath, cfg.JWT.JWKSPath}
	for _, file := range []*string{opts.OIDC.TLSCertFile, opts.OIDC.TLSKeyFile} {
		if file != nil {
			files = append(files, *file)
		}
	}
	seen := make(map[string]bool, len(files))
	var folders []string
	for _, file := range files {
		if dir := filepath.Dir(file); !seen[dir] {
			seen[dir] = true
			folders = append(folders, dir)
		}
	}
	return folders
}
