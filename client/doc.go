// Package client is the reader's side of idlog: it submits events, fetches
// entries and verifies all of it. SPEC 3.1 is the law of receipts, section 2
// that of the formats.
//
// It trusts a policy file, which says whose signatures count, its own state
// directory, and nobody else: not the operator, not the network, not a value
// that a server echoes. A receipt is judged by the bytes that were sent.
//
// What outlives a process is in package trust, with its promise for a crash;
// the check of an answer is package receipt; when a call is made again is
// package call. Of a submission only what was not answered is sent again, which
// is safe, as an event is known by its id.
//
// A Client may be used by any number of goroutines, and any number of
// processes may share a state directory.
//
// Invariants:
//   - Only functions of this package make a [Checkpoint], a [Receipt] or an
//     [Entry], and only after everything that their comments name was
//     verified. What was not verified is an [Unverified].
//   - The state of an origin never goes back: a smaller checkpoint than the
//     one known when a question was asked is a [*trust.Rollback], another root for
//     one size a [*trust.Fork].
//   - A failed check is an error that holds the bytes which show it, and is
//     written to the state directory as an *.idlog-evidence file (SPEC 2.9).
//   - A ticket is never returned as success, and is on disk before it is returned.
package client
