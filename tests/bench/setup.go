// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"cmp"
	"debug/buildinfo"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"
)

// Setup is what was the same for all variants.
type Setup struct {
	Go        string `json:"go"`
	Platform  string `json:"platform"`
	Cores     int    `json:"cores"`
	Dapr      string `json:"dapr"`
	Contrib   string `json:"componentsContrib"`
	MCPServer string `json:"mcpServer"`
	Request   string `json:"request"`
	Disk      string `json:"journalDisk"`
}

// On is a variant and what was on in it.
type On struct {
	Variant string `json:"variant"`
	Says    string `json:"says"`
	Daprd   string `json:"daprd,omitempty"`
	Profile string `json:"profile,omitempty"`
	Go      string `json:"go,omitempty"`
}

// build is what a daprd binary says of itself.
type build struct {
	goVersion, profile, dapr, contrib string
}

func readBuild(path string) (build, error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return build{}, fmt.Errorf("%w; build it first", err)
	}
	b := build{goVersion: info.GoVersion}
	for _, setting := range info.Settings {
		if setting.Key == "-pgo" && setting.Value != "off" {
			b.profile = filepath.Base(setting.Value)
		}
	}
	for _, module := range info.Deps {
		switch module.Path {
		case "github.com/dapr/dapr":
			b.dapr = module.Version
		case "github.com/dapr/components-contrib":
			b.contrib = module.Version
		}
	}
	return b, nil
}

// describe says what will be on, from the binaries themselves, and gives the
// variants that can be measured. The one without a profile is left out as long
// as the others have none either.
func (r *Report) describe(s settings) ([]variant, error) {
	ours, err := readBuild(filepath.Join(s.bin, "daprd"))
	if err != nil {
		return nil, err
	}
	r.Setup = Setup{
		Go: ours.goVersion, Platform: runtime.GOOS + "/" + runtime.GOARCH, Cores: runtime.NumCPU(),
		Dapr: ours.dapr, Contrib: ours.contrib,
		MCPServer: "official Go SDK, stateless, JSON answers, a process of its own",
		Request:   fmt.Sprintf("tools/call %s, a body of %d bytes, keep-alive connections", allowedTool, bodyBytes),
	}
	if r.Setup.Disk, err = fileSystem(s.dir); err != nil {
		return nil, err
	}
	kept := slices.Clone(s.variants)
	if ours.profile == "" && !s.named {
		kept = slices.DeleteFunc(kept, func(v variant) bool { return v.name == noPGO })
		r.Notes = append(r.Notes, "daprd was built without a profile, so "+noPGO+" is left out; see --profile.")
	}
	for _, v := range kept {
		on := On{Variant: v.name, Says: v.says}
		if v.daprd != "" {
			b, err := readBuild(filepath.Join(s.bin, v.daprd))
			if err != nil {
				return nil, err
			}
			if v.name == noPGO && b.profile != "" {
				return nil, fmt.Errorf("%s was built with the profile %s; build it with -pgo=off", v.daprd, b.profile)
			}
			on.Daprd, on.Profile, on.Go = v.daprd, cmp.Or(b.profile, "none"), b.goVersion
		}
		r.Variants = append(r.Variants, on)
	}
	return kept, nil
}

// fileSystem names that on which the journals will be: on some of them a flush
// costs nothing.
func fileSystem(dir string) (string, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(cmp.Or(dir, os.TempDir()), &stat); err != nil {
		return "", fmt.Errorf("folder of the journals: %w", err)
	}
	switch int64(stat.Type) { //nolint:unconvert // its type depends on the platform
	case unix.EXT4_SUPER_MAGIC:
		return "ext4", nil
	case unix.XFS_SUPER_MAGIC:
		return "xfs", nil
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs", nil
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlayfs", nil
	case unix.TMPFS_MAGIC:
		return "tmpfs (memory: a flush costs nothing)", nil
	}
	return fmt.Sprintf("file system %#x", stat.Type), nil
}
