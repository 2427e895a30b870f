// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package redact takes sensitive values out of what MCP servers answer. A policy rule asks for it with a [Spec], which
// [Compile] turns into a [Plan]; [Plan.Apply] rewrites the result, the error, or the params of a notification.
//
// # What is promised
//
// A value at one of the paths does not come through, whatever it is. A value of a shape that a detector knows (the
// files in testdata show which, with the ones known to be missed) does not come through in any string or member name,
// also where it is written with JSON escapes, as JSON inside a string, in full-width characters, with invisible
// characters inside, or with other dashes and blanks than those on the keyboard. What comes out is strict JSON, and
// applying the same plan again finds nothing more. What cannot be read for certain is an error, and then nothing may
// pass.
//
// # What is not
//
// Detectors lower the risk; they prove no absence. They know shapes, not meaning: no names, no addresses, no diagnoses,
// no number that is written in words or split over two strings, no homoglyphs (a Cyrillic а for a Latin a), and nothing
// that is encoded (base64, hex, compressed, HTML entities but those for @). A server that wants to get a value past
// them will. They also hit what only looks sensitive. `make bench` prints how often both happens on testdata.
//
//   - email: no address without a dot in its domain (root@localhost), no git@host:path, no user name of a URL.
//   - card: 13 to 19 digits, Luhn, a known issuer, and blanks or dashes where people put them. A JSON number too.
//   - iban: country, its length, its letters and digits, and the check digits.
//   - phone: international with +, or national with separators. Digits alone only behind a word like "tel", in the text
//     or as the member name.
//   - us-ssn: AAA-GG-SSSS with dashes or blanks that was or can be given out. Nine digits alone are not a hit, and
//     neither is a number.
//   - secret: keys and tokens whose shape shows their issuer, JSON Web Tokens, private keys in PEM, passwords of URLs,
//     and what stands behind password=, api_key: and the like (or in a member of such a name) and does not look
//     like a plain word.
//
// # Where paths begin
//
// Paths begin at every structuredContent, and at every text outside of it that is JSON, since servers repeat the
// structured content there. In the data of an error or of a notification (a top-level member "data") they begin too.
// A text inside these that is JSON counts both as the value it holds at its place and as a beginning of its own.
// So a result without structuredContent and without text that is JSON has no value at any path: prose passes, and so
// does JSON that stands inside prose. Where a server packs its answer differently into text and structuredContent
// ({"result":[…]} there, […] here), a path hits the one shape it names: `$..email` reaches both. Use detectors as well
// where the server is free to answer in prose.
//
// # Binary
//
// Images, audio and blobs cannot be looked into, so a plan with detectors takes them out, unless the Spec says pass.
// Base64 in other strings is not looked into either, and it is not taken out.
package redact
