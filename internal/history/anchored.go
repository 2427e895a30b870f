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
	run := lastRun(v.o.Anchors)
	if len(run) == 0 {
		return
	}
	highest := slices.Max(slices.Collect(indexes(run)))
	switch n := len(v.in.Signatures); {
	case len(v.in.Events) == 0 && n == 0:
		v.fault(Purged, "", "the log knows %d signatures of the instance, and nothing is stored of it", highest+1)
		return
	case highest >= n:
		v.fault(RolledBack, "", "the log knows %d signatures of the instance, and %d are there: an earlier copy was put back, or the end cut off", highest+1, n)
	}
	for i := range v.in.Signatures {
		v.anchor(i, run)
	}
}

// anchor holds one signature against the log. Several anchors of one signature come from saves that were tried again;
// one of them has to be it.
func (v *verifier) anchor(i int, run []Anchor) {
	s := v.in.Signatures[i]
	known := false
	for _, a := range run {
		if a.Index != i {
			continue
		}
		known = true
		if s.Raw == nil || a.Digest != receipt.Sum(s.Raw) {
			continue
		}
		v.report.Anchored++
		if der := v.signedWith(s); der != nil {
			if fault := v.checks.verify(der, a.At); fault != nil {
				fault.Row = numbered(rowSignature, i)
				fault.Detail = "when the log took the signature: " + fault.Detail
				v.report.Faults = append(v.report.Faults, fault)
			}
		}
		return
	}
	if known {
		v.fault(Replaced, numbered(rowSignature, i), "the log knows another signature %d of the instance: it was signed again, or an earlier copy was put back", i)
	}
}

func (v *verifier) signedWith(s Signature) []byte {
	if i := s.Proto.GetCertificateIndex(); s.Proto != nil && i < uint64(len(v.in.Certificates)) {
		return v.in.Certificates[i]
	}
	return nil
}

// lastRun gives the anchors from the last with index 0 on that begins another run than the one before it.
func lastRun(all []Anchor) []Anchor {
	begin, first := 0, receipt.Digest{}
	for i, a := range all {
		if a.Index == 0 && a.Digest != first {
			begin, first = i, a.Digest
		}
	}
	return all[begin:]
}

func indexes(run []Anchor) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for _, a := range run {
			if !yield(a.Index) {
				return
			}
		}
	}
}
