// Package vault keeps what opens a log: the secrets of its persons, the secrets
// of its events, and their values, all of it encrypted.
//
// It trusts the holder of the master key, and the disk only to keep bytes:
// whatever comes back is authenticated. Nothing in clear is ever written, names
// of persons included: they are found by a keyed hash.
//
// Persons' secrets and those of the log lie in a database of the vault's own.
// Events' payloads do not: Seal makes bytes that the journal stores together
// with the event's leaf, and Open reads them back. A payload opens only with
// the secrets of the persons that it concerns, so that it is closed for ever
// where one of these is destroyed.
//
// After a crash at any moment: a person whom Enrol returned is there. One whom
// it had not returned yet may be there as well, with a leaf that is in no log;
// [Vault.Current] gives it, and its leaf is still to be logged.
//
// All methods may be called concurrently.
//
// Specification: SPEC 2.3, 2.4, 2.6; F5, F16.
//
// Invariants:
//   - Every enrolment has a secret, a handle and an opening of its own, also of
//     an identifier that was enrolled before.
//   - An event's secret is drawn once and makes the keys of its payload; no two
//     payloads share a key but of one statement that is said again, which is one payload.
package vault
