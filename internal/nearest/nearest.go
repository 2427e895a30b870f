// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package nearest finds the word that somebody meant, for messages about a word
// that is not known. What it finds is a guess, and nothing may be decided by it.
package nearest

import "strings"

// maxWord bounds the work, in bytes: a longer word was no slip of the fingers.
const maxWord = 64

// Word returns the known word that was probably meant, or "": one that differs in
// case alone, or else one that is near to the word in small letters, of several that
// are as near the first.
func Word(word string, known []string) string {
	best, limit := "", 1+len(word)/3
	for _, k := range known {
		if strings.EqualFold(k, word) {
			return k
		}
		if d := distance(strings.ToLower(word), k); d <= limit {
			best, limit = k, d-1
		}
	}
	return best
}

// distance is the number of letters to insert, remove or replace (Levenshtein).
func distance(a, b string) int {
	if len(a) > maxWord {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
