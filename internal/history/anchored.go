// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package history

import (
	"slices"

	"github.com/dapr-custody/custody/internal/receipt"
)

// anchors holds the signatures in the store against those that the log knows.
func (v *verifier) anchors() {
	if v.o.Anchors == nil {
		return
	}
	v.report.Anchored = 0
	all := slices.DeleteFunc(slices.Clone(v.o.Anchors), v.foreign)
	known := expect(all)
	there, highest := len(v.in.Signatures), known.highest()
	for i, may := range known.rows {
		if i >= there && slices.ContainsFunc(may, expectation.taken) && !slices.ContainsFunc(may, expectation.firm) {
			v.report.Doubtful++
		}
	}
	switch {
	case len(all) == 0:
		return
	case len(v.in.Events) == 0 && there == 0:
		if highest >= 0 {
			v.fault(Purged, "", "the log knows %d signatures of the instance, and nothing is stored of it", highest+1)
		}
		return
	case known.deleted && there > 0:
		v.fault(RolledBack, "", "the log knows that the instance was deleted: an earlier copy was put back")
		return
	case highest >= there:
		v.fault(RolledBack, "", "the log knows %d signatures of the instance, and %d are there: an earlier copy was put back, or the end cut off",
			highest+1, there)
	}
	for i := range v.in.Signatures {
		v.anchor(i, known.rows[i])
	}
}

// foreign says whether an anchor is by another trust domain than the history.
func (v *verifier) foreign(a Anchor) bool {
	td := v.report.TrustDomain
	return !td.IsZero() && !a.TrustDomain.IsZero() && a.TrustDomain != td
}

// anchor holds one signature against what the log says it may be.
func (v *verifier) anchor(i int, may []expectation) {
	s := v.in.Signatures[i]
	at := -1
	for j, a := range may {
		if s.Raw != nil && a.Digest == receipt.Sum(s.Raw) && (at < 0 || !may[at].signed) {
			at = j
		}
	}
	switch {
	case at >= 0:
		if may[at].signed { // an intent alone is nobody's word
			v.report.Anchored++
		} else if slices.ContainsFunc(may, expectation.taken) {
			v.report.Doubtful++
		}
		v.vouched(i, may[at].Anchor)
	case slices.ContainsFunc(may, expectation.firm):
		v.fault(Replaced, numbered(rowSignature, i),
			"the log knows another signature %d of the instance: it was signed again, or an earlier copy was put back", i)
	}
}

// vouched verifies the certificate for the time at which the log took the signature.
func (v *verifier) vouched(i int, a Anchor) {
	p := v.in.Signatures[i].Proto
	if p == nil || p.GetCertificateIndex() >= uint64(len(v.in.Certificates)) {
		return // which is a fault already
	}
	if fault := v.checks.verify(v.in.Certificates[p.GetCertificateIndex()], a.At); fault != nil {
		fault.Row = numbered(rowSignature, i)
		fault.Detail = "when the log took the signature: " + fault.Detail
		v.report.Faults = append(v.report.Faults, fault)
	}
}

// expected is what the store should have by the log: for each row what it may be.
type expected struct {
	rows map[int][]expectation
	// deleted says that the last thing that happened was that all was deleted.
	deleted bool
}

// expectation is what one row may be.
type expectation struct {
	Anchor

	signed bool // the log took it; it may have been deleted since
}

func (e expectation) firm() bool  { return !e.Tentative }
func (e expectation) taken() bool { return e.signed }

func expect(all []Anchor) expected {
	e := expected{rows: map[int][]expectation{}}
	for _, a := range all {
		switch may := e.rows[a.Index]; {
		case a.Removed && a.Tentative:
			for i := range may {
				may[i].Tentative = true
			}
		case a.Removed:
			delete(e.rows, a.Index)
			e.deleted = len(e.rows) == 0
		case a.Tentative:
			e.rows[a.Index] = append(may, expectation{Anchor: a})
		case a.Index == 0 && !slices.ContainsFunc(may, func(b expectation) bool { return b.Digest == a.Digest }):
			e.rows = map[int][]expectation{0: {{a, true}}}
			e.deleted = false
		default:
			// A save that failed and was tried again may have been done the first time.
			e.rows[a.Index] = append(may, expectation{a, true})
			e.deleted = false
		}
	}
	return e
}

// highest is the number of the last row that has to be there; -1 if none has.
func (e expected) highest() int {
	highest := -1
	for i, may := range e.rows {
		if slices.ContainsFunc(may, expectation.firm) {
			highest = max(highest, i)
		}
	}
	return highest
}
