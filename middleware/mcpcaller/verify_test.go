// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpcaller_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/middleware/mcpcaller"
)

const chainName = `{"instance":"refund-1","started":"2026-11-23T09:00:00.000000005Z"}`

// verifiedLinks is the answer of verify.
type verifiedLinks struct {
	Links []struct {
		Digest, Step, Kind, Status, By, At, Instance, Name string
		Prev                                               []string
	}
	Heads  []string
	Ended  bool
	Faults []struct{ Digest, Step, Kind, Detail string }
}

func (r *rig) verify(chain string, links ...string) verifiedLinks {
	r.t.Helper()
	got := r.do(http.MethodPost, mcpcaller.PathVerify, fmt.Sprintf(`{"chain":%s,"links":[%s]}`, chain, strings.Join(links, ",")))
	require.Equal(r.t, 200, got.status, got.body)
	var out verifiedLinks
	require.NoError(r.t, json.Unmarshal([]byte(got.body), &out))
	return out
}

// stated makes a link that continues prev.
func (r *rig) stated(task int, kind, prev string) said {
	body := strings.Replace(statement(task, kind, `true`), `"prev":[`, `"prev":[`+prev+`],"x":[`, 1)
	from, to := strings.Index(body, `,"x":[`), strings.Index(body, `,"kind"`)
	return r.say(mcpcaller.PathAttest, body[:from]+body[to:])
}

func TestVerify(t *testing.T) {
	r := newRig(t)
	first := r.stated(1, "custody.attest", "")
	second := r.stated(2, "custody.end", `"`+first.Digest+`"`)

	got := r.verify(chainName, string(second.Envelope), string(first.Envelope))
	require.Empty(t, got.Faults)
	require.True(t, got.Ended)
	require.Equal(t, []string{second.Digest}, got.Heads)
	require.Len(t, got.Links, 2)
	require.Equal(t, first.Digest, got.Links[0].Digest, "in the order of the chain")
	require.Equal(t, "charge", got.Links[0].Step)
	require.Equal(t, "custody.attest", got.Links[0].Kind)
	require.Equal(t, "stated", got.Links[0].Status)
	require.Equal(t, r.host.ID.String(), got.Links[0].By)
	require.Equal(t, []string{first.Digest}, got.Links[1].Prev)

	running := r.verify(chainName, string(first.Envelope))
	require.Empty(t, running.Faults, "a workflow may still run")
	require.False(t, running.Ended)

	tampered := strings.Replace(string(first.Envelope), `"sig":"`, `"sig":"AAAA`, 1)
	elsewhere := newRig(t).stated(1, "custody.attest", "")
	for name, test := range map[string]struct {
		chain string
		links []string
		want  string
	}{
		"cut off":            {chainName, []string{string(second.Envelope)}, "missing"},
		"tampered":           {chainName, []string{tampered}, "signature"},
		"another root":       {chainName, []string{string(elsewhere.Envelope)}, "certificate"},
		"another run":        {strings.Replace(chainName, "05Z", "06Z", 1), []string{string(first.Envelope)}, "other-chain"},
		"twice":              {chainName, []string{string(first.Envelope), string(first.Envelope)}, "duplicate"},
		"no envelope at all": {chainName, []string{string(first.Envelope), `{"payload":1}`}, "envelope"},
	} {
		got := r.verify(test.chain, test.links...)
		require.NotEmpty(t, got.Faults, name)
		require.Equal(t, test.want, got.Faults[0].Kind, name)
	}
	require.Empty(t, r.verify(chainName).Links)
	require.Len(t, r.records().Receipts, 2, "verifying records nothing")
}

func TestVerifyRefuses(t *testing.T) {
	r := newRig(t)
	for want, body := range map[string]string{
		"chain needs instance": `{"chain":{"instance":"i"},"links":[]}`,
		"unknown object":       `{"chain":` + chainName + `,"links":[],"more":1}`,
		"duplicate":            `{"chain":` + chainName + `,"links":[],"links":[]}`,
		"EOF":                  ``,
	} {
		got := r.do(http.MethodPost, mcpcaller.PathVerify, body)
		require.Equal(t, 400, got.status, got.body)
		require.Contains(t, got.body, want)
	}
	got := r.do(http.MethodPost, mcpcaller.PathVerify, `{"links":[]}`)
	require.Contains(t, got.body, "chain needs instance")
}
