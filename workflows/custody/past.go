// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody

import (
	"bytes"
	"container/list"
	"encoding/json"
	"hash/maphash"
	"strconv"
	"sync"

	"github.com/dapr-custody/custody/internal/linkpack"
)

// maxPast bounds the links that a worker keeps for its activities, in bytes of envelopes. The chain that was unused for
// the longest time is forgotten first; what was forgotten, the workflow gives with the next attempt.
const maxPast = 64 << 20

// past is what a worker remembers of chains: the links, so that an activity can show them to a server that wants them
// although they are not in its input, and the outcomes of activities, so that a replay need not decode them again.
// Workflows fill it in as they are executed and replayed.
type past struct {
	mu     sync.Mutex
	chains map[string]*list.Element
	recent *list.List
	size   int
	seed   maphash.Seed
}

type pastChain struct {
	key   string
	links []Link
	known map[string]bool
	// outcomes are by the hash of their text.
	outcomes map[uint64]*known
	size     int
}

// known is an outcome that was decoded before. It must not be changed.
type known struct {
	text    []byte
	outcome outcome
	// certificates are those that it bears.
	certificates linkpack.Certificates
}

func newPast() *past {
	return &past{chains: map[string]*list.Element{}, recent: list.New(), seed: maphash.MakeSeed()}
}

// key leaves the app out, which the first steps do not know.
func (n chainName) key() string {
	return strconv.FormatInt(n.Started.UnixNano(), 36) + " " + n.Instance
}

// text is JSON that is taken as it is.
type text []byte

func (t *text) UnmarshalJSON(raw []byte) error {
	*t = raw
	return nil
}

// outcome decodes the result of an activity of the chain, and keeps its links. Certificates are those of results before.
func (p *past) outcome(chain chainName, result text, certificates linkpack.Certificates) (*known, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	of, hash := p.open(chain), maphash.Bytes(p.seed, result)
	if k := of.outcomes[hash]; k != nil && bytes.Equal(k.text, result) {
		return k, nil
	}
	k := &known{text: bytes.Clone(result)}
	if err := json.Unmarshal(k.text, &k.outcome); err != nil {
		return nil, err
	}
	var err error
	if k.outcome.Links, k.certificates, err = readLinks(k.outcome.Kept, certificates); err != nil {
		return nil, err
	}
	of.outcomes[hash] = k
	p.grow(of, len(k.text))
	p.keep(of, k.outcome.Links)
	return k, nil
}

// add keeps links of a chain.
func (p *past) add(chain chainName, links []Link) {
	if len(links) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keep(p.open(chain), links)
}

func (p *past) open(chain chainName) *pastChain {
	key := chain.key()
	element, ok := p.chains[key]
	if !ok {
		element = p.recent.PushFront(&pastChain{key: key, known: map[string]bool{}, outcomes: map[uint64]*known{}})
		p.chains[key] = element
	}
	p.recent.MoveToFront(element)
	return element.Value.(*pastChain)
}

func (p *past) keep(of *pastChain, links []Link) {
	for _, link := range links {
		if !of.known[link.Digest] {
			of.known[link.Digest] = true
			of.links = append(of.links, link)
			p.grow(of, len(link.Envelope))
		}
	}
}

// grow counts bytes of the chain that is used now, and forgets others.
func (p *past) grow(of *pastChain, bytes int) {
	of.size += bytes
	p.size += bytes
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
