// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy_test

import (
	"fmt"
	"testing"

	"github.com/dapr-custody/custody/internal/policy"
)

// longPast has count steps: the first is "first", the others have names of their
// own or, in fours, one name, and are tool calls that were answered.
func longPast(count int) policy.Past {
	steps := make([]policy.PastStep, count)
	for i := range steps {
		steps[i] = policy.PastStep{
			Name: fmt.Sprintf("step-%d", i), Kind: policy.StepTool, Server: "orders", Tool: "get_order", Status: "ok", Instance: "i-1",
			By: app("intake"), Door: app("orders"), At: facts("").Now,
		}
		if i%4 == 1 {
			steps[i].Name = "again"
		}
	}
	steps[0].Name, steps[0].Kind, steps[0].Status, steps[0].By = "first", policy.StepApproval, "approved", app("approver")
	return policy.NewPast("i-1", true, steps)
}

// BenchmarkChain is a decision by one rule that names chain.
func BenchmarkChain(b *testing.B) {
	for _, each := range []struct{ name, when string }{
		{"length", `chain.length > 1`},
		{"has", `chain.has("first")`},
		{"has-by", `chain.has("first", "spiffe://*/ns/default/approver")`},
		{"has-nobody", `!chain.has("again", "spiffe://*/ns/default/nobody")`},
		{"within", `chain.within("first", duration("10m"))`},
		{"approved-first", `chain.approvedBy("spiffe://*/ns/default/approver")`},
		{"all", `chain.all(s, s.status != "x")`},
		{"exists", `!chain.exists(s, s.name == "x" && s.tool == "")`},
	} {
		set := compile(b, doc("p", ruleWhen("r", "allow", each.when)))
		for _, steps := range []int{10, 10_000} {
			r := callAfter(longPast(steps))
			b.Run(fmt.Sprintf("%s/steps=%d", each.name, steps), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if d := set.Decide(r); d.Effect != policy.Allow {
						b.Fatal(d.Reason)
					}
				}
			})
		}
	}
}
