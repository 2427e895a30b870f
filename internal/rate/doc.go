// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package rate says how often a caller may do something: so many times a second, minute or hour, for each of many keys.
//
// # What a limit means
//
// A limit of n per unit is a bucket that holds n calls and is full at first. A call takes one out; one comes back every
// unit/n (rounded up to the nanosecond). So n calls may come at once, then one each unit/n, and in any time of length t
// there are at most n + t/(unit/n): a window of one unit sees fewer than 2n calls, and in the long run the rate is
// never above n per unit. It is the generic cell rate algorithm (ITU-T I.371): all that is kept of a bucket is the time
// when it is full again.
//
// # What it guarantees
//
// Take charges all of its claims or none. Without a file the buckets live as long as the process. With one, a charge
// has reached the operating system before Take returns, so that a kill -9 of the process loses none; what cannot be
// written is not allowed. The number of buckets has a bound: one that is full is forgotten when room is needed, and
// when none is, new keys are refused. Anything that is not understood (a damaged file, a time out of range, a limit of
// zero) is an error.
//
// A changed limit for the same key takes force at the first Take that brings it. Who had k calls left has the lower of
// k and the new n left, and the new limit fills up the bucket from there; who had a full bucket has a full one. So an
// edit gives no call to anyone whose bucket was not full, and to nobody more than a full one.
//
// # The clock
//
// It is the wall clock, because a file outlives the machine's start. Set back, no bucket gains, and none counts as
// emptier than empty: at the next Take of a key it misses at most n calls, so that the wait is at most unit/n from then
// on. Set forward, buckets fill up as if the time had passed, to n and not beyond.
//
// # What it does not guarantee
//
// Nothing is synced for each Take. A power cut or a crash of the kernel may forget the last moments (on Linux about
// half a minute), which is in favor of the callers. The checksums find damage, not intent: who can write or remove the
// file can set buckets as they like. Two processes with two files count apart.
//
// # The file
//
// A header and slots, 64 bytes each, so that none lies across two pages or disk sectors and a write is never seen in
// part:
//
//	header  magic "custodyr" | version u16 | zero [2] | process ID u32 | zero [44] | crc32c u32
//	slot    SHA-256 of the key [32] | time when full i64 | count u32 | unit in seconds u32 | zero [12] | crc32c u32
//
// All numbers are little endian, times are nanoseconds since 1970, a checksum covers what stands before it. A slot of
// zeros was never written. A piece of a slot at the end is a write that failed, and so was never allowed: it is cut
// off. Any other slot that does not match its checksum may belong to anyone, so the whole file is refused, and the
// error says to remove it if all limits may begin anew. Nothing removes it by itself, or damaging the file would be a
// way to gain.
package rate
