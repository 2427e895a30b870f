// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package toolcall turns the bytes of one MCP message over HTTP into an action that policy can decide, and reads and
// filters the answers.
//
// [Parse] guarantees that guard and server cannot read one request two ways. It takes strict JSON only (RFC 7493: valid
// UTF-8, no member name twice at any level), refuses member names that a lenient reader would take for one that MCP
// knows, refuses HTTP headers that disagree with the body, and hands on [Message.Body], its own encoding of what it
// read: compact, members in the order given, strings in their shortest form, numbers with the text they came with. The
// door forwards those bytes and nothing else. Whatever cannot be read for certain, or passes a limit, is a [Refusal].
//
// [ReadAnswer], [FilterList] and [EventReader] do the same for what comes back: an answer that is not strict JSON is
// an error, so that a list which cannot be filtered for certain is not passed on.
//
// The package does not check arguments against a tool's schema, does not know which tools a server has, keeps no
// sessions, and decides nothing. It opens no file and no connection.
//
// # Where the specification leaves a choice
//
// The rules follow MCP 2026-07-28, 2025-11-25, 2025-06-18 and 2025-03-26. Decided here:
//
//   - Batches are refused in every revision, 2025-03-26 included.
//   - Mcp-Method and Mcp-Name are demanded from requests of 2026-07-28 only, but where one is present it has to agree
//     with the body in every revision. Mcp-Name stands for params.name (tools/call, prompts/get), params.uri
//     (resources/read, subscribe, unsubscribe) or params.taskId (tasks/...); on any other message it names nothing in
//     the body and is refused.
//   - Which argument an Mcp-Param header mirrors stands in the tool's schema, which is not known here. What can be told
//     without it: the header has to equal some string, integer or boolean among the arguments that is reached through
//     objects alone. A header that equals none would be wrong under any schema and is refused. The server checks the
//     rest.
//   - An initialize request is taken at the version its params ask for. The specification does not tie that to the
//     header, which may still hold the version of a session that went before, so the two may differ.
//   - A message of 2026-07-28 may not be a response. A session ID on one is kept for the door to check: servers should
//     ignore it there, but some do not.
//   - A request that lacks params and whose revision has no such method is told the latter (404, -32601), as a server
//     would tell it.
//   - A notification named like a request (tools/call without an id), or the reverse, is refused.
//   - An id that is a number has to fit 64 bits.
//   - Methods, names and URIs may be neither empty nor hold control characters; the names of members that are not known
//     may not hold U+0000, because readers in C end a string there.
//   - A number too small for a float64 is refused like one too large, because one reader takes it for zero and another
//     does not.
//   - An error answer to a message whose id is not known bears no id member, as MCP says, instead of null as JSON-RPC
//     does.
package toolcall
