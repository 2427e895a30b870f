// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"strconv"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// readNumber gives a JSON number the CEL value that compares as the number does:
//
//   - without fraction and exponent: int within 64 bits, else uint within 64 bits;
//   - else a double, if the text is a decimal that float64 gives back digit by
//     digit, below 2^53.
//
// Doubles that are told apart by their texts are then in the order of their
// texts, and CEL, which compares integers with doubles as float64, loses nothing
// by it. Every other number is errInexact.
func readNumber(text string) (ref.Val, error) {
	if !strings.ContainsAny(text, ".eE") {
		if i, err := strconv.ParseInt(text, 10, 64); err == nil {
			return types.Int(i), nil
		}
		if u, err := strconv.ParseUint(text, 10, 64); err == nil {
			return types.Uint(u), nil
		}
		return nil, errInexact
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !exact(types.Double(f)) {
		return nil, errInexact
	}
	if normalDecimal(text) != normalDecimal(strconv.FormatFloat(f, 'e', -1, 64)) {
		return nil, errInexact
	}
	return types.Double(f), nil
}

// decimal is digits × 10^exponent, the digits without zeros at either end.
type decimal struct {
	digits   string
	exponent int
}

// normalDecimal reads a number of JSON. The sign is left out: ParseFloat keeps it.
func normalDecimal(text string) decimal {
	mantissa, power, _ := strings.Cut(strings.ToLower(strings.TrimPrefix(text, "-")), "e")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return decimal{}
	}
	// A power too large for an int was refused by ParseFloat, or made zero by it.
	exponent, err := strconv.Atoi(power)
	if err != nil && power != "" {
		return decimal{digits: digits, exponent: -1 << 31}
	}
	trimmed := strings.TrimRight(digits, "0")
	return decimal{digits: trimmed, exponent: exponent - len(fraction) + len(digits) - len(trimmed)}
}
