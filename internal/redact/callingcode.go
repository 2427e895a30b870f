// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package redact

// callingCode returns how many digits the country of an international number has, or 0 if there is no such country
// (ITU-T E.164 D).
func callingCode(digits string) int {
	if len(digits) < 4 {
		return 0
	}
	first, two := digits[0], int(digits[0]-'0')*10+int(digits[1]-'0')
	switch {
	case first == '1', first == '7':
		return 1
	case isTwo(two):
		return 2
	case isThree(two*10 + int(digits[2]-'0')):
		return 3
	}
	return 0
}

func isTwo(code int) bool {
	switch code {
	case 20, 27, 30, 31, 32, 33, 34, 36, 39, 40, 41, 43, 44, 45, 46, 47, 48, 49, 51, 52, 53, 54, 55, 56, 57, 58,
		60, 61, 62, 63, 64, 65, 66, 81, 82, 84, 86, 90, 91, 92, 93, 94, 95, 98:
		return true
	}
	return false
}

func isThree(code int) bool {
	switch {
	case code == 211, code == 212, code == 213, code == 216, code == 218, code >= 220 && code <= 269, code == 290, code == 291,
		code >= 297 && code <= 299, code >= 350 && code <= 359, code >= 370 && code <= 389 && code != 379 && code != 384 && code != 388,
		code == 420, code == 421, code == 423, code >= 500 && code <= 509, code >= 590 && code <= 599, code == 670,
		code >= 672 && code <= 692, code == 800, code == 808, code == 850, code == 852, code == 853, code == 855, code == 856,
		code == 870, code == 878, code >= 880 && code <= 883, code == 886, code == 888, code >= 960 && code <= 968,
		code >= 970 && code <= 977, code == 979, code >= 992 && code <= 996, code == 998:
		return true
	}
	return false
}
