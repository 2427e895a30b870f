// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dapr-custody/custody/internal/policy"
)

// demandingModel is a model that asks for something, in a policy that may be in shadow mode.
type demandingModel struct {
	model

	bytes, rate int // 0 for none
	grant       bool
	shadow      bool
}

func (o demandingModel) yaml(name string) string {
	text := strings.TrimSuffix(o.model.yaml(name), "}\n")
	if o.bytes > 0 {
		text += fmt.Sprintf(", maxResultBytes: %d", o.bytes)
	}
	if o.rate > 0 {
		text += fmt.Sprintf(", rate: %d/minute", o.rate)
	}
	if o.grant {
		text += ", requireGrant: true"
	}
	return text + "}\n"
}

// askedBy is what the allow rules ask that match, in words, and whether one of them
// allows for certain. A condition that cannot be evaluated counts as true for what
// its rule asks.
func askedBy(rules []demandingModel, r policy.Request) (words []string, grant, allowed bool) {
	least := 0
	var rates []int
	for _, o := range rules {
		if o.effect != "allow" || o.when == "false" || !o.matches(r) {
			continue
		}
		allowed = allowed || o.when != erring
		grant = grant || o.grant
		if o.rate > 0 {
			rates = append(rates, o.rate)
		}
		if o.bytes > 0 && (least == 0 || o.bytes < least) {
			least = o.bytes
		}
	}
	slices.Sort(rates)
	for _, rate := range slices.Compact(rates) {
		words = append(words, fmt.Sprintf("rate: %d/minute", rate))
	}
	if least > 0 {
		words = append(words, fmt.Sprintf("maxResultBytes: %d", least))
	}
	return words, grant, allowed
}

// answerOf is the effect and the obligations of a decision, by reading every rule.
func answerOf(rules []demandingModel, r policy.Request, byDefault bool) []string {
	plain := make([]model, len(rules))
	for i := range rules {
		plain[i] = rules[i].model
	}
	words, grant, allowed := askedBy(rules, r)
	denied := false
	for _, m := range plain {
		denied = denied || m.effect == "deny" && m.when != "false" && m.matches(r)
	}
	if byDefault {
		denied = denied || !referenceReaches(plain, r.Caller, r.Action.Server)
	} else {
		denied = denied || !allowed
	}
	if denied || grant {
		return []string{"deny"}
	}
	return append([]string{"allow"}, words...)
}

func drawDemanding(t *rapid.T, i int) demandingModel {
	o := demandingModel{model: drawModel(t, i), shadow: rapid.IntRange(0, 3).Draw(t, "shadow") == 0}
	if o.effect == "allow" {
		o.bytes = rapid.SampledFrom([]int{0, 0, 10, 20}).Draw(t, "bytes")
		o.rate = rapid.SampledFrom([]int{0, 0, 3, 4}).Draw(t, "rate")
		o.grant = rapid.IntRange(0, 7).Draw(t, "grant") == 0
	}
	return o
}

func effectAndWords(d policy.Decision) []string {
	return append([]string{string(d.Effect)}, d.Obligations.Words()...)
}

func TestObligationsEqualReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var enforced, all []demandingModel
		var docs []policy.Document
		for i := range rapid.IntRange(1, 10).Draw(t, "rules") {
			o := drawDemanding(t, i)
			text := doc(fmt.Sprintf("p%d", i), o.yaml("r"))
			if all = append(all, o); o.shadow {
				text = strings.Replace(text, "spec:\n", "spec:\n  mode: shadow\n", 1)
			} else {
				enforced = append(enforced, o)
			}
			parsed, err := policy.Parse("f.yaml", []byte(text))
			require.NoError(t, err)
			docs = append(docs, parsed...)
		}
		set, _, err := policy.Compile(docs, local())
		require.NoError(t, err)
		for range 20 {
			r := drawRequest(t)
			for byDefault, decide := range map[bool]func(policy.Request) policy.Decision{false: set.Decide, true: set.DecideDefault} {
				d := decide(r)
				require.Equal(t, answerOf(enforced, r, byDefault), effectAndWords(d), "%v, by default %v", r, byDefault)
				would := answerOf(all, r, byDefault)
				if d.Shadow == nil {
					require.Equal(t, effectAndWords(d), would, "%v, by default %v", r, byDefault)
				} else {
					require.Equal(t, would, effectAndWords(*d.Shadow), "%v, by default %v", r, byDefault)
				}
			}
		}
	})
}
