// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// A step that is asked again after an update of the worker has to ask the same bytes.
func TestCallBody(t *testing.T) {
	type params struct {
		Meta      *meta           `json:"_meta,omitempty"`
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments,omitempty"`
	}
	for _, d := range []dialect{{version: versionStateless}, {version: versionSessions, session: "s"}} {
		for _, arguments := range []string{``, `{}`, `{"text":"\u003cb\u003e"}`} {
			want, err := json.Marshal(message{
				JSONRPC: "2.0", ID: "id", Method: methodCall, Params: params{d.meta(), "sag \"ä\" <1>", json.RawMessage(arguments)},
			})
			require.NoError(t, err)
			got, err := d.callBody("id", "sag \"ä\" <1>", json.RawMessage(arguments))
			require.NoError(t, err)
			require.Equal(t, string(want), string(got))
		}
	}
}
