// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard

import (
	"container/list"
	"errors"
	"sync"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// maxSessions bounds what one guard remembers. The session that was unused for
// the longest time is forgotten first; its client is told, as the protocol
// foresees, that it is gone, and opens another.
const maxSessions = 100_000

// maxSessionID bounds the length of a session ID that a server gives.
const maxSessionID = 1024

var (
	errSessionUnknown = errors.New("the session is not known here")
	errSessionForeign = errors.New("the session belongs to another caller")
)

// sessions remembers which caller opened which MCP session (revisions before
// 2026-07-28). It lives as long as the process: after a restart every session
// is unknown.
type sessions struct {
	mu     sync.Mutex
	byID   map[string]*list.Element
	recent *list.List
	most   int
}

type session struct {
	id    string
	owner spiffeid.ID
}

func newSessions(most int) *sessions {
	return &sessions{byID: map[string]*list.Element{}, recent: list.New(), most: most}
}

// check reports whether the caller may use the session.
func (s *sessions) check(id string, caller spiffeid.ID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	element, ok := s.byID[id]
	if !ok {
		return errSessionUnknown
	}
	if element.Value.(session).owner != caller {
		return errSessionForeign
	}
	s.recent.MoveToFront(element)
	return nil
}

// open gives the session to the caller. A session that another caller holds
// already is not given away.
func (s *sessions) open(id string, caller spiffeid.ID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if element, ok := s.byID[id]; ok {
		if element.Value.(session).owner != caller {
			return errSessionForeign
		}
		return nil
	}
	s.byID[id] = s.recent.PushFront(session{id: id, owner: caller})
	if s.recent.Len() > s.most {
		oldest := s.recent.Back()
		s.recent.Remove(oldest)
		delete(s.byID, oldest.Value.(session).id)
	}
	return nil
}

// end forgets the session.
func (s *sessions) end(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if element, ok := s.byID[id]; ok {
		s.recent.Remove(element)
		delete(s.byID, id)
	}
}
