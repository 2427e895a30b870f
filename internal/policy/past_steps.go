// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

// NewPast returns a Past of the steps, oldest first, which it keeps.
func NewPast(instance string, complete bool, steps []PastStep) Past {
	p := &pastSteps{instance: instance, complete: complete, steps: steps, names: make(map[string][]int, len(steps))}
	for i := range steps {
		p.names[steps[i].Name] = append(p.names[steps[i].Name], i)
	}
	return p
}

type pastSteps struct {
	instance string
	complete bool
	steps    []PastStep
	names    map[string][]int
}

func (p *pastSteps) Instance() string        { return p.instance }
func (p *pastSteps) Len() int                { return len(p.steps) }
func (p *pastSteps) Complete() bool          { return p.complete }
func (p *pastSteps) Step(i int) PastStep     { return p.steps[i] }
func (p *pastSteps) Named(name string) []int { return p.names[name] }
