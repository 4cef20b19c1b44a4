// Package trust is what one reader knows of logs from before, and the rules by
// which it takes in what they show next.
//
// It trusts its own directory and nobody else. Whoever calls it has verified
// signatures and quorum by a policy; trust knows no keys and no network, and
// verifies what lies between two checkpoints: that both are of one history.
//
// Crash: the file of an origin is replaced in one rename, so a restart finds the
// old checkpoint or the new one, and both were verified. A file that is missing
// looks like a first contact: whoever deletes it takes away what this reader
// could have said about the past, and no code can notice.
//
// A State may be used by any number of goroutines, and its directory by any
// number of processes.
//
// Invariants:
//   - What is remembered of an origin never goes back, and every step of it was
//     proven to continue the one before: else it is a [*Fork].
//   - A failed check is an error that holds the notes which show it, and is
//     written to the directory as an *.idlog-evidence file.
//
// Specifications: SPEC F33 (the rule of state, keyed by origin), 2.9 (evidence).
package trust
