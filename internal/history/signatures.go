// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package history

import (
	"bytes"

	"github.com/dapr/durabletask-go/api/protos"
	"github.com/dapr/durabletask-go/backend/historysigning"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// signatures verifies Dapr's chain of signatures and who made it, and gives the events their signers.
func (v *verifier) signatures() {
	n := len(v.in.Events)
	if len(v.in.Signatures) == 0 {
		if v.o.Signed && n > 0 {
			v.fault(Unsigned, "", "nothing of the history is signed")
		}
		return
	}
	whole := v.whole()
	var before *Signature
	for i := range v.in.Signatures {
		s := &v.in.Signatures[i]
		if s.Proto != nil {
			v.signature(i, s, before, whole)
		}
		before = s
	}
	for i := v.covered; i < n; i++ {
		if i == n-1 && IsTamperMarker(v.in.Events[i].Proto) {
			continue // told as that
		}
		v.eventFault(i, Unsigned, "the signatures end before it, with event %d", v.covered-1)
	}
	if whole != nil && v.report.First() == nil {
		v.fault(SignatureInvalid, "", "%s", whole) // Dapr's verifier has the last word
	}
}

// whole asks Dapr's own verifier about all events that the last signature reaches.
func (v *verifier) whole() error {
	opts := historysigning.VerifyChainOptions{Signer: v.checks.signer}
	reach := uint64(0)
	for _, s := range v.in.Signatures {
		opts.RawSignatures = append(opts.RawSignatures, s.Raw)
		reach = s.Proto.GetStartEventIndex() + s.Proto.GetEventCount()
	}
	for _, der := range v.in.Certificates {
		opts.Certs = append(opts.Certs, &protos.SigningCertificate{Certificate: der})
	}
	for i, e := range v.in.Events {
		if uint64(i) < reach {
			opts.AllRawEvents = append(opts.AllRawEvents, e.Raw)
		}
	}
	_, err := historysigning.VerifyChain(opts)
	return err
}

// signature finds what is wrong with one signature. Whole is what Dapr's verifier says of all; if that is nil, nothing
// is computed twice.
func (v *verifier) signature(i int, s, before *Signature, whole error) {
	row := numbered(rowSignature, i)
	first, last, ok := v.span(i, s.Proto)
	if !ok {
		return
	}
	v.covered = last + 1
	if prev := s.Proto.GetPreviousSignatureDigest(); before == nil && s.Proto.PreviousSignatureDigest != nil {
		v.fault(SignatureOrder, row, "it continues another signature, though it is the first")
	} else if before != nil && !bytes.Equal(prev, historysigning.SignatureDigest(before.Raw)) {
		v.fault(SignatureOrder, row, "it does not continue the signature before it")
	}
	der, id, fault := v.certificate(s.Proto, last)
	if fault == nil && whole != nil {
		fault = v.content(s.Proto, first, last, der)
	}
	if fault != nil {
		fault.Row = row
		v.report.Faults = append(v.report.Faults, fault)
		for e := first; e <= last; e++ {
			v.eventFault(e, fault.Kind, "signature %d over it does not hold", i)
			faults := v.report.Events[e].Faults
			faults[len(faults)-1].implied = true
		}
		return
	}
	for e := first; e <= last; e++ {
		v.report.Events[e].Signer = id
	}
	v.report.Signed += last - first + 1
}

// span gives the events that a signature is over; ok is false if they are not those that it should be over.
func (v *verifier) span(i int, s *protos.HistorySignature) (first, last int, ok bool) {
	row := numbered(rowSignature, i)
	start, count, n := s.GetStartEventIndex(), s.GetEventCount(), uint64(len(v.in.Events))
	switch {
	case count == 0 || start != uint64(v.covered):
		v.fault(SignatureOrder, row, "it is over %d events from event %d on, and event %d is next", count, start, v.covered)
		if count == 0 || start > n || count > n-start {
			return 0, 0, false
		}
	case count > n-start:
		v.fault(EventsMissing, row, "it is over events %d to %d, and the history ends with event %d", start, start+count-1, int(n)-1)
		return 0, 0, false
	}
	return int(start), int(start + count - 1), true
}

// certificate verifies that of a signature for the time of the last event that it is over, as Dapr does.
func (v *verifier) certificate(s *protos.HistorySignature, last int) ([]byte, spiffeid.ID, *Fault) {
	if s.GetCertificateIndex() >= uint64(len(v.in.Certificates)) {
		return nil, spiffeid.ID{}, &Fault{Kind: Certificate, Detail: "its certificate is missing"}
	}
	der := v.in.Certificates[s.GetCertificateIndex()]
	if fault := v.checks.verify(der, v.in.Events[last].Time()); fault != nil {
		return nil, spiffeid.ID{}, fault
	}
	id, err := v.checks.identity(der)
	switch {
	case err != nil:
		return nil, spiffeid.ID{}, &Fault{Kind: Certificate, Detail: err.Error()}
	case !names(id, v.in.Namespace, v.in.App):
		return nil, spiffeid.ID{}, &Fault{Kind: Signer, Detail: "it is by " + id.String() + ", and the instance is of app " +
			v.in.App + " in namespace " + v.in.Namespace}
	case v.report.TrustDomain.IsZero():
		v.report.TrustDomain = id.TrustDomain()
	case id.TrustDomain() != v.report.TrustDomain:
		return nil, spiffeid.ID{}, &Fault{Kind: TrustDomain, Detail: "it is by " + id.String() +
			", and the history began in trust domain " + v.report.TrustDomain.Name()}
	}
	return der, id, nil
}

func (v *verifier) content(s *protos.HistorySignature, first, last int, der []byte) *Fault {
	raw := make([][]byte, 0, last-first+1)
	for _, e := range v.in.Events[first : last+1] {
		raw = append(raw, e.Raw)
	}
	if !bytes.Equal(historysigning.EventsDigest(raw), s.GetEventsDigest()) {
		return &Fault{Kind: EventsChanged, Detail: "the events " + span(first, last) + " are not those that were signed"}
	}
	input := historysigning.SignatureInput(s.GetPreviousSignatureDigest(), s.GetEventsDigest(), nil)
	if err := v.checks.signer.VerifySignature(input, s.GetSignature(), der); err != nil {
		return &Fault{Kind: SignatureInvalid, Detail: "it is not by the key of its certificate: " + err.Error()}
	}
	return nil
}
