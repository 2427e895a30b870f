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
// the longest time is forgotten first; what was forgotten, the workflow gives with the next attempt. maxOutcomes bounds
// the results that it keeps, in bytes of their texts; what was forgotten is decoded again.
const (
	maxPast     = 64 << 20
	maxOutcomes = 32 << 20
)

// past is what a worker remembers of chains: the links, so that an activity can show them to a server that wants them
// although they are not in its input, and the outcomes of activities, so that a replay need not decode them again.
// Workflows fill in the links as they are executed and replayed, and activities the outcomes that they give.
type past struct {
	mu     sync.Mutex
	chains map[string]*list.Element
	recent *list.List
	size   int

	seed maphash.Seed
	// outcomes are by the hash of their text.
	outcomes     map[uint64]*list.Element
	texts        map[string]*known // by the names of their links
	recentKnown  *list.List
	outcomesSize int
}

type pastChain struct {
	key   string
	links []Link
	known map[string]bool
	size  int
}

// known is an outcome that was decoded before. It must not be changed.
type known struct {
	hash    uint64
	text    []byte
	outcome outcome
	// links are as the text keeps them; nil where it has none in the compact form.
	links *linkpack.Text
}

func newPast() *past {
	return &past{
		chains: map[string]*list.Element{}, recent: list.New(), seed: maphash.MakeSeed(),
		outcomes: map[uint64]*list.Element{}, recentKnown: list.New(), texts: map[string]*known{},
	}
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

// outcome decodes the result of an activity, or gives what was decoded of the same text before. The memory is of the
// results before.
func (p *past) outcome(result text, memory *linkpack.Memory) (*known, error) {
	hash := maphash.Bytes(p.seed, result)
	if k := p.remembered(hash, result); k != nil {
		return k, nil
	}
	k := &known{text: bytes.Clone(result)}
	if err := json.Unmarshal(k.text, &k.outcome); err != nil {
		return nil, err
	}
	var err error
	if k.outcome.Links, k.links, err = readLinks(k.outcome.Kept, memory); err != nil {
		return nil, err
	}
	p.learn(k)
	return k, nil
}

func (p *past) remembered(hash uint64, result text) *known {
	p.mu.Lock()
	defer p.mu.Unlock()
	element := p.outcomes[hash]
	if element == nil {
		return nil
	}
	k := element.Value.(*known)
	if !bytes.Equal(k.text, result) {
		return nil
	}
	p.recentKnown.MoveToFront(element)
	return k
}

// learn keeps an outcome, whose text is set.
func (p *past) learn(k *known) {
	k.hash = maphash.Bytes(p.seed, k.text)
	if len(k.outcome.Result) > 0 && k.outcome.tool == nil {
		k.outcome.tool = &toolResult{}
		if json.Unmarshal(k.outcome.Result, k.outcome.tool) != nil {
			k.outcome.tool = nil // decodeResult says what is wrong with it
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if before := p.outcomes[k.hash]; before != nil {
		p.dropOutcome(before)
	}
	p.outcomes[k.hash] = p.recentKnown.PushFront(k)
	p.outcomesSize += len(k.text)
	if k.links != nil {
		p.texts[k.links.Name()] = k
	}
	for p.outcomesSize > maxOutcomes && p.recentKnown.Len() > 1 {
		p.dropOutcome(p.recentKnown.Back())
	}
}

func (p *past) dropOutcome(element *list.Element) {
	k := p.recentKnown.Remove(element).(*known)
	delete(p.outcomes, k.hash)
	p.outcomesSize -= len(k.text)
	if k.links != nil && p.texts[k.links.Name()] == k {
		delete(p.texts, k.links.Name())
	}
}

// links are those of a result that is remembered, by their name; nil where there is none.
func (p *past) links(name string) *linkpack.Text {
	p.mu.Lock()
	defer p.mu.Unlock()
	if k := p.texts[name]; k != nil {
		return k.links
	}
	return nil
}

// add keeps links of a chain.
func (p *past) add(chain chainName, links []Link) {
	if len(links) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	key := chain.key()
	element, ok := p.chains[key]
	if !ok {
		element = p.recent.PushFront(&pastChain{key: key, known: map[string]bool{}})
		p.chains[key] = element
	}
	p.recent.MoveToFront(element)
	of := element.Value.(*pastChain)
	for _, link := range links {
		if of.known[link.Digest] {
			continue
		}
		of.known[link.Digest] = true
		of.links = append(of.links, link)
		of.size += link.size()
		p.size += link.size()
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
