// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package receipt

import (
	"strconv"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// decodeCanonical reads a payload that is byte for byte what appendStatement writes, which almost every payload is; nil is
// for all others. It need not be strict, since what it has read is written again and compared. Parts that only receipts
// outside of chains have it leaves to the general decoder.
func decodeCanonical(payload []byte) *Receipt {
	s := scanner{rest: string(payload)}
	r := s.statement()
	if s.failed {
		return nil
	}
	if again := appendStatement(make([]byte, 0, len(payload)), r); string(again) != string(payload) {
		return nil
	}
	return r
}

// scanner takes a text apart from its front. Once it has failed, what it gives means nothing.
type scanner struct {
	rest   string
	failed bool
}

func (s *scanner) statement() *Receipt {
	r := &Receipt{}
	s.must(`{"_type":"` + StatementType + `","subject":[{"name":`)
	s.quoted() // what the subject says is said in the predicate again
	s.must(`,"digest":{"sha256":`)
	s.quoted()
	s.must(`}}],"predicateType":"` + PredicateType + `","predicate":{"id":`)
	r.ID = s.text()
	s.must(`,"door":{"spiffeID":`)
	r.Door = Door{SPIFFEID: s.id(), Name: s.optional(`,"name":`)}
	s.must(`}`)
	if s.is(`,"caller":{"spiffeID":`) {
		r.Caller = Caller{SPIFFEID: s.id(), Proof: s.optional(`,"proof":`), CertificateDigest: s.digest(`,"certificateDigest":`)}
		s.must(`}`)
	}
	if s.is(`,"txn":`) {
		r.Txn = s.text()
		for open := `,"actors":[`; s.is(open); open = `,` {
			r.Actors = append(r.Actors, s.id())
		}
		s.must(`]`)
	}
	s.must(`,"action":{"kind":`)
	r.Action = Action{Kind: s.text(), Server: s.optional(`,"server":`), Name: s.optional(`,"name":`)}
	s.must(`}`)
	if s.is(`,"to":`) {
		r.To = s.id()
	}
	r.RequestDigest, r.ArgumentsDigest = s.digest(`,"requestDigest":`), s.digest(`,"argumentsDigest":`)
	s.must(`,"decision":{"effect":`)
	r.Decision = Decision{
		Effect: s.text(), Policy: s.optional(`,"policy":`), Rule: s.optional(`,"rule":`), Reason: s.optional(`,"reason":`),
		SetDigest: s.digest(`,"setDigest":`),
	}
	s.must(`}`)
	s.links(r)
	s.must(`,"times":{"decided":`)
	r.Times.Decided = s.time()
	s.must(`,"settled":`)
	r.Times.Settled = s.time()
	s.must(`},"outcome":{"status":`)
	r.Outcome = Outcome{
		Status: s.text(), HTTPStatus: int(s.count(`,"httpStatus":`)), ResponseDigest: s.digest(`,"responseDigest":`),
		ResultDigest: s.digest(`,"resultDigest":`), Reason: s.optional(`,"reason":`),
	}
	s.must(`}}}`)
	return r
}

func (s *scanner) links(r *Receipt) {
	if s.is(`,"workflow":{`) {
		w := &Workflow{}
		if s.is(`"chain":{"app":`) {
			w.Chain = &Chain{App: s.id()}
			s.must(`,"instance":`)
			w.Chain.Instance = s.text()
			s.must(`,"started":`)
			w.Chain.Started = s.time()
			s.must(`},`)
		}
		s.must(`"instance":`)
		w.Instance, w.App, w.Name = s.text(), s.optional(`,"app":`), s.optional(`,"name":`)
		w.Generation, w.Task = uint32(s.count(`,"generation":`)), uint32(s.count(`,"task":`))
		w.Step = s.optional(`,"step":`)
		s.must(`}`)
		r.Workflow = w
	}
	if s.is(`,"prev":[`) {
		r.Prev = append(r.Prev, s.digest(``))
		for s.is(`,`) {
			r.Prev = append(r.Prev, s.digest(``))
		}
		s.must(`]`)
	}
	s.must(`,"journal":{"id":`)
	r.Journal = Journal{ID: s.text(), Seq: s.count(`,"seq":`), Chain: s.digest(`,"chain":`)}
	s.must(`}`)
}

// is takes what the text begins with, if it does.
func (s *scanner) is(start string) bool {
	rest, is := strings.CutPrefix(s.rest, start)
	s.rest = rest
	return is && !s.failed
}

func (s *scanner) must(start string) { s.failed = !s.is(start) }

// text takes a string, of which the payload is not kept.
func (s *scanner) text() string { return strings.Clone(s.quoted()) }

// quoted takes a string that needs no escapes.
func (s *scanner) quoted() string {
	s.must(`"`)
	text, rest, ok := strings.Cut(s.rest, `"`)
	if !ok || !plain(text) {
		s.failed = true
		return ""
	}
	s.rest = rest
	return text
}

func (s *scanner) optional(member string) string {
	if !s.is(member) {
		return ""
	}
	return s.text()
}

func (s *scanner) digest(member string) (d Digest) {
	if !s.is(member) {
		return d
	}
	digits, sha256 := strings.CutPrefix(s.quoted(), digestPrefix)
	s.failed = s.failed || !sha256 || len(digits) != digestHexSize || !d.decode(digits)
	return d
}

func (s *scanner) id() spiffeid.ID {
	id, err := spiffeid.FromString(s.text())
	s.failed = s.failed || err != nil
	return id
}

func (s *scanner) time() time.Time {
	t, err := time.Parse(timeLayout, s.quoted())
	s.failed = s.failed || err != nil
	return t
}

// count takes a number, which is 0 where the member is not there.
func (s *scanner) count(member string) uint64 {
	if !s.is(member) {
		return 0
	}
	end := 0
	for end < len(s.rest) && s.rest[end] >= '0' && s.rest[end] <= '9' {
		end++
	}
	n, err := strconv.ParseUint(s.rest[:end], 10, 64)
	s.failed = s.failed || err != nil
	s.rest = s.rest[end:]
	return n
}
