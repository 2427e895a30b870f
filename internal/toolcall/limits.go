// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package toolcall

// Limits bound what is read of one message. A field that is zero or less takes the default named beside it: the first
// for requests ([Parse]), the second for answers ([ReadAnswer], [FilterList], [EventReader]), which are larger.
type Limits struct {
	BodyBytes   int // whole body or event: 4 MiB, 64 MiB
	Depth       int // nesting of objects and arrays, the outermost being 1: 64, 256
	Tokens      int // member names and values together: 100,000, 4,000,000
	StringBytes int // one string as it is encoded: 1 MiB, 64 MiB
	NumberBytes int // text of one number: 64, 1,024
	NameBytes   int // one member name, method, tool name, prompt name, URI, session ID: 4 KiB, 64 KiB
	IDBytes     int // text of the id: 256, 4 KiB
}

func (l Limits) orRequest() Limits {
	return l.or(Limits{
		BodyBytes: 4 << 20, Depth: 64, Tokens: 100_000, StringBytes: 1 << 20, NumberBytes: 64, NameBytes: 4 << 10,
		IDBytes: 256,
	})
}

func (l Limits) orAnswer() Limits {
	return l.or(Limits{
		BodyBytes: 64 << 20, Depth: 256, Tokens: 4_000_000, StringBytes: 64 << 20, NumberBytes: 1 << 10,
		NameBytes: 64 << 10, IDBytes: 4 << 10,
	})
}

func (l Limits) or(d Limits) Limits {
	return Limits{
		BodyBytes:   positive(l.BodyBytes, d.BodyBytes),
		Depth:       positive(l.Depth, d.Depth),
		Tokens:      positive(l.Tokens, d.Tokens),
		StringBytes: positive(l.StringBytes, d.StringBytes),
		NumberBytes: positive(l.NumberBytes, d.NumberBytes),
		NameBytes:   positive(l.NameBytes, d.NameBytes),
		IDBytes:     positive(l.IDBytes, d.IDBytes),
	}
}

func positive(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}
