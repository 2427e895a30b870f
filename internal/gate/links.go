// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package gate

import (
	"bytes"
	"crypto/x509"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/dapr-custody/custody/internal/journal"
	"github.com/dapr-custody/custody/internal/receipt"
)

const (
	defaultRemember = 10_000
	// recallSegments is how many segments of a journal, the newest, are read for links. It bounds the work of a start; only
	// the certificates of those links are looked for further back, and mostly stand in the same segments.
	recallSegments = 2
)

// stepKey names what has one link.
type stepKey struct {
	chainApp, chainInstance string
	started                 time.Time
	instance                string
	generation, task        uint32
	kind                    string
}

func keyOf(r *receipt.Receipt) stepKey {
	w := r.Workflow
	return stepKey{
		chainApp: w.Chain.App.String(), chainInstance: w.Chain.Instance, started: w.Chain.Started.UTC(),
		instance: w.Instance, generation: w.Generation, task: w.Task, kind: r.Action.Kind,
	}
}

// links remembers the newest links by their step.
type links struct {
	most int

	mu    sync.Mutex
	byKey map[stepKey]*entry
	order []stepKey // as they were made; a ring once it is full
	next  int       // where in the ring the next one goes
}

// entry is a link that is there, or that is being made: then made is closed when it is there or has failed.
type entry struct {
	made chan struct{}
	link *Link
	err  error
}

func newLinks(most int) links { return links{most: most, byKey: map[stepKey]*entry{}} }

// once gives the link of the step of r. Where there is none it is made by sign, for one of those who ask at that moment.
func (l *links) once(r *receipt.Receipt, sign func() (*Link, error)) (*Link, error) {
	key := keyOf(r)
	l.mu.Lock()
	if known := l.byKey[key]; known != nil {
		l.mu.Unlock()
		<-known.made
		if known.err != nil {
			return nil, known.err
		}
		return known.link, known.link.says(r)
	}
	own := &entry{made: make(chan struct{})}
	l.byKey[key] = own
	l.mu.Unlock()

	own.link, own.err = sign()
	l.mu.Lock()
	defer l.mu.Unlock()
	if own.err != nil {
		delete(l.byKey, key) // so that it can be tried again
	} else {
		l.keep(key)
	}
	close(own.made)
	return own.link, own.err
}

// keep is called with mu; the oldest link is forgotten for it.
func (l *links) keep(key stepKey) {
	if len(l.order) < l.most {
		l.order = append(l.order, key)
		return
	}
	delete(l.byKey, l.order[l.next])
	l.order[l.next] = key
	l.next = (l.next + 1) % l.most
}

// says reports whether the link says what r says.
func (k *Link) says(r *receipt.Receipt) error {
	stored, err := k.Envelope.UnsafeReceipt()
	if err != nil {
		return err
	}
	differs := ""
	switch {
	case stored.Door.SPIFFEID != r.Door.SPIFFEID:
		differs = "identity of the app"
	case stored.Action != r.Action:
		differs = "action"
	case stored.To != r.To:
		differs = "to"
	case stored.RequestDigest != r.RequestDigest:
		differs = "content"
	case !slices.Equal(stored.Prev, r.Prev):
		differs = "prev"
	case !sameStep(stored.Workflow, r.Workflow):
		differs = "workflow"
	}
	if differs != "" {
		return &OtherContentError{Digest: k.Digest, Differs: differs}
	}
	return nil
}

// sameStep compares what the key does not.
func sameStep(a, b *receipt.Workflow) bool {
	return a.App == b.App && a.Name == b.Name && a.Step == b.Step
}

// recall reads the newest links of the journal in dir.
func (l *links) recall(dir string) error {
	past := recalled{most: l.most, certificates: map[string][]*x509.Certificate{}}
	if err := journal.ReadTail(dir, recallSegments, past.record); err != nil {
		return err
	}
	envelopes, err := past.envelopes()
	if err != nil {
		return err
	}
	if err := past.findCertificates(dir, envelopes); err != nil {
		return err
	}
	for _, envelope := range envelopes {
		if err := l.remember(envelope, past.certificates); err != nil {
			return err
		}
	}
	return nil
}

func (l *links) remember(envelope *receipt.Envelope, certificates map[string][]*x509.Certificate) error {
	full, err := envelope.WithCertificates(func(keyID string) []*x509.Certificate { return certificates[keyID] })
	if errors.Is(err, receipt.ErrCertificate) {
		return nil // Cut off with the beginning of the journal: it is as one that is no longer remembered.
	} else if err != nil {
		return err
	}
	r, err := full.UnsafeReceipt()
	if err != nil {
		return err
	}
	if r.Workflow == nil || r.Workflow.Chain == nil || !said(r.Outcome.Status) {
		return nil
	}
	key := keyOf(r)
	if l.byKey[key] != nil {
		return nil // The first link of a step is its link.
	}
	known := &entry{made: make(chan struct{}), link: &Link{Envelope: full, Digest: full.PayloadDigest()}}
	close(known.made)
	l.byKey[key] = known
	l.keep(key)
	return nil
}

func said(status string) bool {
	return status == receipt.StatusAsked || status == receipt.StatusStated || status == receipt.StatusApproved
}

// recalled is what was read of a journal: the newest receipts in a ring, and certificates.
type recalled struct {
	most         int
	ring         [][]byte
	oldest       int
	certificates map[string][]*x509.Certificate
}

func (p *recalled) record(record journal.Record) error {
	switch record.Kind {
	case journal.KindCertificates:
		return p.certificate(record.Payload)
	case journal.KindReceipt:
		p.receipt(record.Payload)
	}
	return nil
}

func (p *recalled) receipt(payload []byte) {
	if len(p.ring) < p.most {
		p.ring = append(p.ring, bytes.Clone(payload))
		return
	}
	p.ring[p.oldest] = append(p.ring[p.oldest][:0], payload...)
	p.oldest = (p.oldest + 1) % p.most
}

func (p *recalled) certificate(payload []byte) error {
	chain, err := receipt.DecodeCertificates(payload)
	if err != nil {
		return err
	}
	p.certificates[receipt.KeyID(chain[0])] = chain
	return nil
}

// envelopes are the receipts of the ring, oldest first.
func (p *recalled) envelopes() ([]*receipt.Envelope, error) {
	envelopes := make([]*receipt.Envelope, len(p.ring))
	for i := range envelopes {
		var err error
		if envelopes[i], err = receipt.DecodeEnvelope(p.ring[(p.oldest+i)%len(p.ring)]); err != nil {
			return nil, err
		}
	}
	return envelopes, nil
}

// findCertificates looks through the whole journal for those that are not in its tail.
func (p *recalled) findCertificates(dir string, envelopes []*receipt.Envelope) error {
	missing := map[string]bool{}
	for _, envelope := range envelopes {
		for _, signature := range envelope.Signatures {
			if p.certificates[signature.KeyID] == nil {
				missing[signature.KeyID] = true
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	var failed error
	err := journal.Find(dir, journal.KindCertificates, func(_ journal.Place, payload []byte) bool {
		chain, err := receipt.DecodeCertificates(payload)
		if err != nil {
			failed = err
			return true
		}
		id := receipt.KeyID(chain[0])
		p.certificates[id] = chain
		delete(missing, id)
		return len(missing) == 0
	})
	return errors.Join(failed, err)
}
