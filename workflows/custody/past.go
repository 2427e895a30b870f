// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody

import (
	"container/list"
	"strconv"
	"sync"
)

// maxPast bounds the links that a worker keeps for its activities, in bytes of envelopes. The chain that was unused for
// the longest time is forgotten first; what was forgotten, the workflow gives with the next attempt.
const maxPast = 64 << 20

// past is what a worker remembers of chains, so that an activity can show the links to a server that wants them although
// they are not in its input. Workflows fill it in as they are executed and replayed.
type past struct {
	mu     sync.Mutex
	chains map[string]*list.Element
	recent *list.List
	size   int
}

type pastChain struct {
	key   string
	links []Link
	known map[string]bool
	size  int
}

func newPast() *past { return &past{chains: map[string]*list.Element{}, recent: list.New()} }

// key leaves the app out, which the first steps do not know.
func (n chainName) key() string {
	return strconv.FormatInt(n.Started.UnixNano(), 36) + " " + n.Instance
}

func (p *past) add(chain chainName, links []Link) {
	if len(links) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	element, ok := p.chains[chain.key()]
	if !ok {
		element = p.recent.PushFront(&pastChain{key: chain.key(), known: map[string]bool{}})
		p.chains[chain.key()] = element
	}
	p.recent.MoveToFront(element)
	of := element.Value.(*pastChain)
	for _, link := range links {
		if !of.known[link.Digest] {
			of.known[link.Digest] = true
			of.links = append(of.links, link)
			of.size += len(link.Envelope)
			p.size += len(link.Envelope)
		}
	}
	for p.size > maxPast && p.recent.Len() > 1 {
		p.drop(p.recent.Back())
	}
}

// of gives the links of a chain, oldest first. They must not be changed.
func (p *past) of(chain chainName) []Link {
	p.mu.Lock()
	defer p.mu.Unlock()
	element, ok := p.chains[chain.key()]
	if !ok {
		return nil
	}
	p.recent.MoveToFront(element)
	links := element.Value.(*pastChain).links
	return links[:len(links):len(links)]
}

func (p *past) forget(chain chainName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if element, ok := p.chains[chain.key()]; ok {
		p.drop(element)
	}
}

func (p *past) drop(element *list.Element) {
	of := p.recent.Remove(element).(*pastChain)
	delete(p.chains, of.key)
	p.size -= of.size
}
