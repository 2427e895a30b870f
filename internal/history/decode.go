// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package history

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/dapr/durabletask-go/api/protos"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Instance is a workflow instance as its rows tell it. Nothing in it is verified.
type Instance struct {
	App, Namespace, ID string
	// Metadata is nil if the row is missing or unreadable.
	Metadata *protos.BackendWorkflowStateMetadata
	Events   []Event
	// Signatures, Certificates and External are in the order of their rows.
	Signatures   []Signature
	Certificates [][]byte // chains in DER, leaf first
	External     [][]byte
	// CustomStatus is "" if there is none.
	CustomStatus string
	// Faults are what is wrong with the rows themselves.
	Faults []*Fault
}

// Event is one row of the history. Its Proto is nil where the row is missing or unreadable.
type Event struct {
	Raw   []byte
	Proto *protos.HistoryEvent
}

// Signature is one signature row. Its Proto is nil where the row is missing or unreadable.
type Signature struct {
	Raw   []byte
	Proto *protos.HistorySignature
}

// Created is when Dapr took the workflow on, which names the run of the instance: the time of the event ExecutionStarted;
// zero if it is not known.
func (in *Instance) Created() time.Time {
	for _, e := range in.Events {
		if e.Proto.GetExecutionStarted() != nil {
			return e.Time()
		}
	}
	return time.Time{}
}

// Started is the time of the first event; zero if it is not known.
func (in *Instance) Started() time.Time {
	if len(in.Events) == 0 {
		return time.Time{}
	}
	return in.Events[0].Time()
}

// Time is when the event happened, as Dapr states it; zero if it is not known.
func (e Event) Time() time.Time {
	if e.Proto.GetTimestamp().CheckValid() != nil {
		return time.Time{}
	}
	return e.Proto.GetTimestamp().AsTime()
}

// Decode reads the rows of an instance. What is wrong with single rows stands in Faults; an error wraps ErrRows.
func Decode(r Rows) (*Instance, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	d := decoder{in: &Instance{App: r.App, Namespace: r.Namespace, ID: r.Instance}, rows: r.Rows, numbers: map[string]int{}}
	if len(r.Rows) == 0 {
		d.fault(NoRows, "", "nothing is stored of instance %s of app %s", r.Instance, r.App)
		return d.in, nil
	}
	d.names()
	d.metadata()
	d.all()
	return d.in, nil
}

// maxMissing is after how many missing rows of one prefix the later ones are not read.
const maxMissing = 16

type decoder struct {
	in   *Instance
	rows map[string][]byte
	// numbers counts, for each prefix, the rows from the first to the last that is there.
	numbers map[string]int
}

func (d *decoder) fault(kind Kind, row, format string, args ...any) {
	d.in.Faults = append(d.in.Faults, &Fault{Kind: kind, Row: row, Detail: fmt.Sprintf(format, args...)})
}

func (d *decoder) names() {
	for _, name := range slices.Sorted(maps.Keys(d.rows)) {
		switch name {
		case rowMetadata, rowCustomStatus, rowPropagated:
			continue
		}
		switch prefix, i, ok := splitRow(name); {
		case ok && slices.Contains([]string{rowInbox, rowHistory, rowSignature, rowCertificate, rowExternal}, prefix):
			d.numbers[prefix] = max(d.numbers[prefix], i+1)
		default:
			d.fault(RowExtra, name, "Dapr writes no row of this name")
		}
	}
}

func (d *decoder) metadata() {
	raw, ok := d.rows[rowMetadata]
	if !ok {
		d.fault(RowMissing, rowMetadata, "the row that counts the others is missing")
		return
	}
	md := &protos.BackendWorkflowStateMetadata{}
	if err := proto.Unmarshal(raw, md); err != nil {
		d.fault(RowUnreadable, rowMetadata, "it holds no counts: %s", err)
		return
	}
	d.in.Metadata = md
}

func (d *decoder) all() {
	md := d.in.Metadata
	for i, raw := range d.take(rowHistory, md.GetHistoryLength()) {
		d.in.Events = append(d.in.Events, d.event(numbered(rowHistory, i), raw))
	}
	for i, raw := range d.take(rowSignature, md.GetSignatureLength()) {
		s := Signature{Raw: raw}
		if raw != nil {
			s.Proto = &protos.HistorySignature{}
			if err := proto.Unmarshal(raw, s.Proto); err != nil {
				d.fault(RowUnreadable, numbered(rowSignature, i), "it holds no signature: %s", err)
				s.Proto = nil
			}
		}
		d.in.Signatures = append(d.in.Signatures, s)
	}
	for i, raw := range d.take(rowCertificate, md.GetSigningCertificateLength()) {
		c := &protos.SigningCertificate{}
		if err := proto.Unmarshal(raw, c); err != nil {
			d.fault(RowUnreadable, numbered(rowCertificate, i), "it holds no certificate: %s", err)
		}
		d.in.Certificates = append(d.in.Certificates, c.GetCertificate())
	}
	for i, raw := range d.take(rowExternal, md.GetExternalSigningCertificateLength()) {
		c := &protos.ExternalSigningCertificate{}
		if err := proto.Unmarshal(raw, c); err != nil {
			d.fault(RowUnreadable, numbered(rowExternal, i), "it holds no certificate: %s", err)
		}
		d.in.External = append(d.in.External, c.GetCertificate())
	}
	if raw := d.rows[rowCustomStatus]; len(raw) > 0 {
		status := &wrapperspb.StringValue{}
		if err := proto.Unmarshal(raw, status); err != nil {
			d.fault(RowUnreadable, rowCustomStatus, "it holds no text: %s", err)
		}
		d.in.CustomStatus = status.GetValue()
	}
}

// take gives the rows of one prefix: as many as the metadata counts or, without metadata, as are there. A row that is
// missing is nil.
func (d *decoder) take(prefix string, declared uint64) [][]byte {
	there := d.numbers[prefix]
	count := there
	if d.in.Metadata != nil {
		if declared > MaxRows {
			d.fault(RowMissing, rowMetadata, "it counts %d rows %s, which is more than the %d that are read", declared, prefix, MaxRows)
			declared = uint64(there)
		}
		count = int(declared)
	}
	rows := make([][]byte, 0, min(count, len(d.rows)))
	missing := 0
	for i := range count {
		raw, ok := d.rows[numbered(prefix, i)]
		switch {
		case ok && raw == nil:
			raw = []byte{}
		case !ok && i >= there:
			d.fault(RowMissing, numbered(prefix, i), "the metadata counts %d rows %s, and %d are there", count, prefix, there)
			return rows
		case !ok:
			d.fault(RowMissing, numbered(prefix, i), "the row is missing, later ones are there")
			if missing++; missing == maxMissing {
				return rows // more of it says nothing more
			}
		}
		rows = append(rows, raw)
	}
	if there > count {
		d.fault(RowExtra, numbered(prefix, count), "the metadata counts %d rows %s, and row %d is there too", count, prefix, there-1)
	}
	return rows
}

func (d *decoder) event(row string, raw []byte) Event {
	e := Event{Raw: raw}
	if raw == nil {
		return e
	}
	p := &protos.HistoryEvent{}
	switch err := proto.Unmarshal(raw, p); {
	case err != nil:
		d.fault(RowUnreadable, row, "it holds no event: %s", err)
		return e
	case p.GetEventType() == nil:
		d.fault(RowUnreadable, row, "the event has no type that is known")
	case p.GetTimestamp() == nil || p.GetTimestamp().CheckValid() != nil:
		d.fault(RowUnreadable, row, "the event has no time")
	}
	e.Proto = p
	return e
}
