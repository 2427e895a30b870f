// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package peer

// FolderOptions of a Folder.
type FolderOptions struct {
	// Changed is called after each change of the files: with the number of
	// registrations now in force, or with what is wrong with the files and the number
	// of the last good ones, which stay in force. The same fault is told once. It may be
	// nil, and must not call the Folder.
	Changed func(registrations int, err error)
}
