// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package postgres is the binding bindings.custody-postgres: PostgreSQL behind identity. It takes and gives what Dapr's own
// postgres binding does, and beside that guarantees:
//
//   - a statement reaches the database only after sqlguard has understood all of it, the policy has allowed each relation
//     that it touches, and the intent is in the journal; whatever came of it, there is a receipt, and where that cannot be
//     written the answer is withheld;
//   - the caller is who the process says is at the other end, and sessions are opened as the role that the database document
//     gives it, with a certificate of minutes that names it: nobody holds a password, and row level security sees the caller,
//     and who stands behind it, even where the guard should misjudge a statement;
//   - what is judged is what runs: one statement in a transaction of the door's own, read-only unless the statement writes
//     and the role may, by the extended protocol with the very bytes that were judged;
//   - more rows or bytes than the limits are an error, and then nothing was changed; when nobody waits any more, the
//     statement is cancelled in the database;
//   - the caller learns nothing from a refusal but its reference, and from an error of the database its class: neither
//     values of rows nor whether what it may not touch exists.
//
// What it does not see: what the database runs by itself (see sqlguard), and what others define in the database within the
// last minute; the catalogue is read when a database is first used, when the server was started anew, after definitions that
// came through the door, and every minute.
package postgres
