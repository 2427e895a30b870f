// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package toolcall

import "strconv"

// field is a member that was met: its value in our encoding, and its first character, which says its kind.
type field struct {
	raw  []byte
	kind byte   // 0 if the member is absent
	text string // what keepText read
	at   int    // where raw begins in the encoding
}

func (f *field) present() bool { return f.kind != 0 }

func (f *field) set(raw []byte) {
	f.raw = raw[:len(raw):len(raw)]
	if len(raw) > 0 {
		f.kind = raw[0]
	}
}

// keep reads a value, an object by its members if visit is given, and remembers it.
func (s *scanner) keep(f *field, visit member) error {
	from := len(s.out)
	var err error
	if visit != nil && s.dec.PeekKind() == '{' {
		err = s.object(visit)
	} else {
		err = s.value()
	}
	f.set(s.out[from:])
	f.at = from
	return err
}

// keepText is keep for what should be a string of at most limit bytes, and remembers its characters too.
func (s *scanner) keepText(f *field, limit int) error {
	if s.dec.PeekKind() != '"' {
		return s.keep(f, nil)
	}
	encoded, err := s.text(limit)
	if err != nil {
		return err
	}
	f.set(encoded)
	f.text = string(s.plain(encoded))
	return nil
}

// keepMethod is keepText for a method.
func (s *scanner) keepMethod(f *field) error {
	if s.dec.PeekKind() != '"' {
		return s.keep(f, nil)
	}
	encoded, err := s.text(s.lim.NameBytes)
	if err != nil {
		return err
	}
	f.set(encoded)
	f.text = intern(s.plain(encoded))
	return nil
}

// keepID takes strings, integers within 64 bits, and null, of which the caller decides.
func (s *scanner) keepID(f *field) error {
	if s.dec.PeekKind() == '"' {
		encoded, err := s.text(s.lim.IDBytes)
		f.set(encoded)
		return err
	}
	if err := s.keep(f, nil); err != nil {
		return err
	}
	switch {
	case f.kind == 'n':
		return nil
	case f.kind != '-' && (f.kind < '0' || f.kind > '9'):
		return invalid(CodeInvalidRequest, "id is neither a string nor an integer")
	case len(f.raw) > s.lim.IDBytes:
		return invalid(CodeInvalidRequest, "id has more than %d bytes", s.lim.IDBytes)
	}
	if _, err := strconv.ParseInt(string(f.raw), 10, 64); err != nil || string(f.raw) == "-0" {
		return invalid(CodeInvalidRequest, "id %s is not an integer of 64 bits", clip(string(f.raw)))
	}
	return nil
}
