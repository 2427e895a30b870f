// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dossier

// VerifyWithin is Verify with so many bytes for packed links.
func (d *Dossier) VerifyWithin(o Options, unpacked int) *Report {
	return d.verify(o, &reader{left: unpacked})
}
