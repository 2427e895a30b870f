// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dossier

// journals holds the journals that were read against one another and against the links: what a sidecar signs stands in its
// journal before anybody gets it, so that a journal which was read and does not have it was cut off, put back or changed
// for another.
func (v *verifier) journals() {
	whole, known := map[string]Journal{}, map[string]bool{}
	for _, j := range v.d.Journals {
		for _, wrong := range j.Wrong {
			v.fault(&Fault{Kind: JournalWrong}, "%s", wrong)
		}
		if known[j.ID] {
			v.fault(&Fault{Kind: JournalWrong}, "two journals have the ID %s: one of them is a copy, or was put back", j.ID)
		}
		known[j.ID] = true
		if len(j.Wrong) == 0 {
			whole[j.ID] = j
		}
	}
	for _, f := range v.inOrder() {
		if f.receipt == nil || f.receipt.Workflow == nil || !f.receipt.Workflow.Chain.Equal(&v.report.Chain) || v.given[f.digest] {
			continue
		}
		r := f.receipt
		j, read := whole[r.Journal.ID]
		if !read {
			continue
		}
		v.fault(&Fault{Kind: JournalWrong, Instance: r.Workflow.Instance, Step: r.Workflow.Step, Link: f.digest},
			"journal %s was read up to record %d and does not have the link, which stands on record %d of it: its end was cut off, or it is another",
			j.ID, j.Seq, r.Journal.Seq)
	}
}
