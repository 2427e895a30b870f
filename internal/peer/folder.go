// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package peer

import "time"

// FolderGrace is how long registrations stay in force while their folder cannot be read,
// counted from when it last could: editors and tools may move it for a moment.
const FolderGrace = 5 * time.Second

// FolderOptions of a Folder.
type FolderOptions struct {
	// Changed is called after each change of the files: with the number of
	// registrations now in force, or with what is wrong with the files and the number
	// of the last good ones, which stay in force. The same fault is told once, and a
	// folder that cannot be read once more when nothing is in force any more. It may be
	// nil, and must not call the Folder.
	Changed func(registrations int, err error)
	// Now is the clock for FolderGrace. nil means the system's.
	Now func() time.Time
}
