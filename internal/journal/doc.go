// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package journal is a door's own durable, append-only file of records, split into segments and chained by hash.
//
// What it guarantees: once Append has returned, the record has reached the operating system (durability "group", the
// default: a kill -9 of the process loses nothing, a power cut loses what was not synced yet, and a sync begins 8 ms
// after the first unsynced record, or after the sync that was under way when it came) or the disk (durability "sync").
// Records have one order, which Position names. A failed write leaves no partial record. Read finds every changed,
// missing, repeated or exchanged byte, record and segment up to the last complete record, and says where.
//
// What it does not guarantee: that the end is the end. The chain is not keyed, so whoever can write the files can cut
// off records at the end, or write a new end. What has to stand against that is a signature over a Position (receipts
// carry one, and so vouch for everything before it) or a copy elsewhere.
//
// A folder holds 00000001.journal, 00000002.journal and so on, and a file named lock. A segment is a header and records:
//
//	header  magic "custodyj" | version u16 | segment u32 | journal ID [16] | first seq u64 | chain [32] | crc32c u32
//	record  length u32 | kind u8 | crc32c of the payload u32 | crc32c of the frame u32 | payload
//
// The crc32c of the frame covers the chain value before the record and the nine bytes before the checksum.
// All numbers are little endian. The first record has seq 1. The chain value of record n is
// SHA-256(chain of n-1 | kind u8 | length u32 | payload); before the first record it is
// SHA-256("custody journal v1" | journal ID). A segment's header holds the chain value before its first record.
package journal
