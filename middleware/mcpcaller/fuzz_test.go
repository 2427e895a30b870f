// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpcaller_test

import (
	"encoding/base64"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/middleware/mcpcaller"
)

func FuzzParseStep(f *testing.F) {
	for _, text := range []string{aStep(1), `{"server":"x",` + aStep(2)[1:], `{}`, `{"workflow":null}`, `{"workflow":{"chain":null}}`, `{"workflow":{},"prev":[""]}`} {
		f.Add(encoded(text))
	}
	f.Add("e30=")
	f.Add(encoded(aStep(1))[:8] + "\n" + encoded(aStep(1))[8:])
	f.Fuzz(func(t *testing.T, value string) {
		step, err := mcpcaller.ParseStep([]string{value})
		if err != nil {
			return
		}
		require.LessOrEqual(t, len(value), mcpcaller.MaxStep)
		require.LessOrEqual(t, len(step.Workflow.Step), mcpcaller.MaxText)
		text, err := base64.RawURLEncoding.DecodeString(value)
		require.NoError(t, err)
		require.Equal(t, value, base64.RawURLEncoding.EncodeToString(text), "one text for each value")
		// Another reader, which takes more, reads the same.
		var other struct {
			Workflow receipt.Workflow
			Prev     []receipt.Digest
			Server   string
		}
		require.NoError(t, json.Unmarshal(text, &other))
		require.Equal(t, other.Workflow.Step, step.Workflow.Step)
		require.Equal(t, other.Workflow.Task, step.Workflow.Task)
		require.Equal(t, other.Server, step.Server)
		require.Equal(t, len(other.Prev), len(step.Prev))
	})
}

func FuzzParseStatement(f *testing.F) {
	f.Add([]byte(statement(1, "custody.attest", `{"b":1.0,"a":[null,true,"\u0041"]}`)))
	f.Add([]byte(statement(1, "custody.approval", `1e400`)))
	f.Add([]byte(statement(1, "custody.end", `"\ud800"`)))
	f.Add([]byte(`{"workflow":{},"kind":"custody.join","statement":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, parse := range []func([]byte) (*gate.Saying, error){mcpcaller.ParseStatement, mcpcaller.ParseApproval} {
			saying, err := parse(body)
			if err != nil {
				continue
			}
			require.False(t, saying.Request.IsZero())
			require.Equal(t, saying.Workflow.Step, saying.Action.Name)
			again, err := parse(body)
			require.NoError(t, err)
			require.Equal(t, saying, again)
		}
	})
}
