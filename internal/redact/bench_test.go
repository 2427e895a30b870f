// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package redact_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/redact"
)

// prose is 4 kB of what a server may say, with a hit here and there.
func prose() string {
	const paragraph = "Order ord_4711 was shipped on 2024-01-15 at 10:30:00 by carrier 7, parcel 9400100000000000, 2 items at 19.99 each. " +
		"The customer asked to be told; see ticket https://tickets.example.com/browse/OPS-1234?view=all for more. " +
		"Trace 4bf92f3577b34da6a3ce929d0e0e4736, host 10.1.2.3:8080, version v1.22.3: nothing of note happened. "
	text := strings.Repeat(paragraph, 4<<10/len(paragraph)+1)
	return text[:4<<10-len(mail)] + mail
}

const mail = " Write to kate@example.com."

// BenchmarkDetectors prints what a detector costs for 4 kB of text, and how good it is on testdata.
func BenchmarkDetectors(b *testing.B) {
	in := []byte(quoted(prose()))
	for _, name := range redact.Names() {
		b.Run(name, func(b *testing.B) {
			plan := compile(b, nil, name)
			precision, recall := quality(b, name)
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := plan.Apply(in, limit); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(precision, "precision")
			b.ReportMetric(recall, "recall")
		})
	}
}

// customers is a tool's result of 4 kB, once as structure and once as text.
func customers() []byte {
	const one = `{"id":"cus_4711","name":"Kate Example","email":"kate@example.com","country":"DE","orders":17,"total":451.20,"note":"prefers parcels"}`
	list := `{"customers":[` + one + strings.Repeat(","+one, 12) + `]}`
	return []byte(`{"content":[{"type":"text","text":` + quoted(list) + `}],"structuredContent":` + list + `}`)
}

func BenchmarkApply(b *testing.B) {
	for name, plan := range map[string]*redact.Plan{
		"paths": compile(b, []string{"$.customers[*].email"}), "deep": compile(b, []string{"$..email", "$..name"}),
		"email": compile(b, nil, "email"), "all": compile(b, []string{"$..name"}, redact.Names()...), "none": compile(b, []string{"$.nothing"}),
	} {
		b.Run(name, func(b *testing.B) {
			in := customers()
			out, _, err := plan.Apply(in, limit)
			require.NoError(b, err)
			require.NotEmpty(b, out)
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := plan.Apply(in, limit); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
