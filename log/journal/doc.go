// Package journal is the outbox of a log: every leaf is durable here, once,
// before it is handed to the log, and here stands where in the log it is.
//
// It trusts the disk to keep what it synced, and checksums to say when it did
// not. Leaves, payloads and principals are bytes to it; payloads come encrypted.
//
// After a crash at any moment:
//   - A row whose Put returned is there, and so is everything put before it.
//   - Every entry of the log below Cursor has its index here. Entries at or
//     above it may or may not: the caller reads them in the log and says so with
//     Sequenced before it appends anything.
//   - Rows are handed out by Take again, in the order of Put, until Sequenced
//     has their index.
//
// All methods may be called concurrently, but Take and Sequenced by one
// goroutine at a time. Rows are shared and read only.
//
// Specification: SPEC 2.10, F29, F30, F31.
//
// Invariants:
//   - One key, one row, for ever: leaf bytes that were stored under a key are
//     never replaced, and no row is removed.
//   - In one process, a row is handed out by Take at most once.
//   - A row is handed out only after all rows that it needs have an index.
package journal
