// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"github.com/go-json-experiment/json/jsontext"
)

// Digest is the SHA-256 of arguments or of a statement in RFC 8785 form. The zero
// Digest stands for none.
type Digest [32]byte

const (
	digestPrefix = "sha256:"
	nameDigest   = "action.digest"
)

// String gives "sha256:" and 64 hexadecimal digits, and "" for the zero Digest.
func (d Digest) String() string {
	if d == (Digest{}) {
		return ""
	}
	return digestPrefix + hex.EncodeToString(d[:])
}

// UnmarshalText reads the form that String gives.
func (d *Digest) UnmarshalText(text []byte) error {
	*d = Digest{}
	if len(text) == 0 {
		return nil
	}
	digits, ok := strings.CutPrefix(string(text), digestPrefix)
	sum, err := hex.DecodeString(digits)
	if !ok || err != nil || len(sum) != len(d) || digits != strings.ToLower(digits) {
		return fmt.Errorf("%.80q is not sha256: and 64 hexadecimal digits in lower case", text)
	}
	copy(d[:], sum)
	return nil
}

// digest is `action.digest`. RFC 8785 takes numbers as doubles, so arguments with a
// number that is none exactly may share their digest with others, and have none here.
func (v *variables) digest() ref.Val {
	if err, ok := v.arguments().(*types.Err); ok {
		return err
	}
	if !doubles(v.facts.Arguments) {
		return types.WrapErr(errInexact)
	}
	return types.String(v.facts.ArgumentsDigest.String())
}

// maxDouble is the largest integer up to which each is a double.
const maxDouble = 1 << 53

// doubles reports whether every number of a JSON text that readArguments has read is
// a double exactly. It looks at integers: decimals that are none were refused there.
func doubles(text []byte) bool {
	d := jsontext.NewDecoder(bytes.NewReader(text))
	for {
		token, err := d.ReadToken()
		if err != nil {
			return errors.Is(err, io.EOF)
		}
		if token.Kind() != '0' || strings.ContainsAny(token.String(), ".eE") {
			continue
		}
		n, err := strconv.ParseInt(token.String(), 10, 64)
		if err != nil || n > maxDouble || n < -maxDouble {
			return false
		}
	}
}
