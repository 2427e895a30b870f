// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package history

// Kind says what is wrong.
type Kind string

// What can be wrong with a history.
const (
	// NoRows: nothing is stored of the instance. It was purged, or never was.
	NoRows Kind = "no-rows"
	// RowMissing: the counts in the metadata name a row that is not there, or the metadata itself is not.
	RowMissing Kind = "row-missing"
	// RowExtra: a row is there that the counts do not name, or that Dapr does not write.
	RowExtra Kind = "row-extra"
	// RowUnreadable: a row is not what its name says.
	RowUnreadable Kind = "row-unreadable"
	// OtherInstance: the history is of another instance than that under which it is stored.
	OtherInstance Kind = "other-instance"
	// Unsigned: no signature is over the event, although signatures are there or are demanded.
	Unsigned Kind = "unsigned"
	// EventsMissing: a signature is over more events than there are.
	EventsMissing Kind = "events-missing"
	// EventsChanged: events are not those that were signed.
	EventsChanged Kind = "events-changed"
	// SignatureOrder: a signature does not continue the one before it.
	SignatureOrder Kind = "signature-order"
	// SignatureInvalid: a signature is not one by the key of its certificate.
	SignatureInvalid Kind = "signature"
	// Certificate: a certificate is missing, not acceptable, or not valid at the time in question.
	Certificate Kind = "certificate"
	// TrustDomain: a certificate is of another trust domain than the history, or of one without a bundle.
	TrustDomain Kind = "trust-domain"
	// Signer: the history was signed by another app than that of the instance.
	Signer Kind = "signer"
	// AttestationMissing: the result of a task came without an attestation, in a signed history.
	AttestationMissing Kind = "attestation-missing"
	// Attestation: an attestation does not fit the result, the task or its signature.
	Attestation Kind = "attestation"
	// AttestationSigner: another app than that which the task was scheduled on attested its result.
	AttestationSigner Kind = "attestation-signer"
	// TaskUnknown: a result is of a task that was never scheduled.
	TaskUnknown Kind = "task-unknown"
	// TamperMarker: the history ends with the mark that Dapr writes when it finds tampering. Dapr verifies nothing of a
	// history that ends so, and the mark is not signed: whoever can write the store can set it.
	TamperMarker Kind = "tamper-marker"
	// RolledBack: the log knows later signatures than the store has: an earlier copy was put back, or the end cut off.
	RolledBack Kind = "rolled-back"
	// Replaced: a signature in the store is another than the one that the log knows.
	Replaced Kind = "replaced"
	// Purged: the log knows signatures of an instance of which nothing is stored.
	Purged Kind = "purged"
)

// Fault is one thing that is wrong with a history.
type Fault struct {
	Kind Kind `json:"kind"`
	// Row names the row; "" where it is about the whole history.
	Row    string `json:"row,omitempty"`
	Detail string `json:"detail"`
	// implied says that another fault tells it, that of a signature over the event.
	implied bool
}

// rank puts first what others follow from, and last what says least.
func (f *Fault) rank() int {
	switch f.Kind {
	case OtherInstance:
		return 0
	case NoRows:
		return 2
	}
	return 1
}

// Error gives the fault as one line.
func (f *Fault) Error() string {
	if f.Row == "" {
		return string(f.Kind) + ": " + f.Detail
	}
	return string(f.Kind) + " (" + f.Row + "): " + f.Detail
}
