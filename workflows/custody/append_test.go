// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// everything is an order with a value in each member. It is not one that is ever made.
func everything() order {
	return order{
		asked: asked{
			Workflow: stepName{
				Chain:    chainName{App: "spiffe://custody.test/ns/default/intake", Instance: "refund-7", Started: time.Date(2026, 2, 3, 4, 5, 6, 7000, time.UTC)},
				Instance: "child-1", App: "intake", Name: "refund", Generation: 2, Task: 4294967295, Step: "fraud \"check\" <1> & \\ \x01 \x7f \u2028 äöü \xff",
			},
			Prev: []string{"sha256:00", "sha256:01"}, Server: "payments",
		},
		Kind: kindAttest, Statement: json.RawMessage(`{"a":1}`),
		Target:    &target{Tool: "charge", App: "payments-app", Path: "/other"},
		Arguments: json.RawMessage(`{"text":"\u003cb\u003e"}`), Repeat: true, Pending: "sha256:02",
		Links: packed{{Digest: "sha256:03", Envelope: json.RawMessage(`{"no":"envelope"}`)}}, All: true, Expect: "sha256:04", As: 7,
		Held: []string{"ab", "cd"}, After: "0123456789abcdef", Look: true,
	}
}

// What is written by hand is what json.Marshal writes.
func TestAppendOrder(t *testing.T) {
	all := everything()
	for _, v := range []any{all, all.asked, all.Workflow, all.Workflow.Chain, *all.Target} {
		for i := range reflect.ValueOf(v).NumField() {
			require.False(t, reflect.ValueOf(v).Field(i).IsZero(), "%T: %s", v, reflect.TypeOf(v).Field(i).Name)
		}
	}
	first := order{asked: asked{Workflow: stepName{Chain: chainName{Instance: "i"}, Instance: "i", Step: "echo"}}, Target: &target{Tool: "echo", App: "a"}}
	second := first
	second.Prev, second.Held = []string{}, []string{}
	cases := map[string]order{"zero": {}, "all": all, "first of a chain": first, "continues nothing": second}
	for i := 1; i < reflect.TypeOf(all).NumField(); i++ {
		one, less := order{}, everything()
		reflect.ValueOf(&one).Elem().Field(i).Set(reflect.ValueOf(all).Field(i))
		reflect.ValueOf(&less).Elem().Field(i).SetZero()
		name := reflect.TypeOf(all).Field(i).Name
		cases["only "+name], cases["all but "+name] = one, less
	}
	for name, o := range cases {
		want, err := json.Marshal(o)
		require.NoError(t, err)
		got, err := o.appendJSON(nil)
		require.NoError(t, err)
		require.Equal(t, string(want), string(got), name)
		want, err = json.Marshal(o.asked)
		require.NoError(t, err)
		require.Equal(t, string(want), "{"+string(o.appendMembers(nil))+"}", name)
	}
}

func BenchmarkAppendOrder(b *testing.B) {
	o := everything()
	o.Links, o.Workflow.Step = nil, "echo"
	b.ReportAllocs()
	for b.Loop() {
		_, err := o.appendJSON(make([]byte, 0, 1024))
		require.NoError(b, err)
	}
}
