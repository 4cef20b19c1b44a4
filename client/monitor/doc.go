// Package monitor follows a log for months and says, to somebody, what it finds:
// that each checkpoint continues the ones before, is cosigned and fresh, that
// the witnesses and the clients of this machine saw the same tree, and of every
// entry, once, that it is a leaf of this log under announced keys, received when
// it says, and that one event is one leaf; and of what a submitter keeps, that it is
// in the log as it was promised and shown.
//
// It trusts a policy, its own directory and its clock. What a log, a witness or
// a webhook says, and what a submitter keeps, is bytes until it is verified.
//
// If it is told to, it also computes the index of the log, SPEC 2.12, and compares
// the root leaves: package index.
//
// It cannot skip. Five files of the directory, besides the memory of ids and the
// index, are all of its state, and each is replaced in one rename:
//
//	cursor        what was verified and checked, and whose findings were delivered
//	keys          the keys that the log announced
//	outbox        findings that are on their way
//	stopped       the contradiction at which this log is no longer followed
//	acknowledged  ids of contradictions at which it goes on
//
// The one way of a finding, and what a restart does when it was cut off:
//
//	found       in memory only        the entries are above the cursor: found again
//	evidence    its file is written   as before; the file is written again, the same
//	outbox      written               it is delivered from the outbox, under its id
//	delivered   every sink took it    delivered again: at least once, under its id
//	stopped     if a contradiction    the outbox once more; then it refuses to go on
//	settled     outbox removed        the entries are read again; what is found again
//	                                  has the id it had
//	index       its state written     it passes over the entries that are read again
//	memory      keys and ids written  they are written again, which changes nothing
//	cursor      moved                 goes on from here
//
// What a submitter keeps goes the same way, once all entries that were accepted are
// checked: a file is looked at until what it says was delivered and stands in the
// memory, by the hash of what it holds. Until then it is looked at again.
//
// A contradiction is one of fork, rollback, duplicate, witness-fork, bad-root,
// broken-promise and receipt-mismatch, each with a file that package evidence judges. What has no such file does not stop
// the monitor: an entry that breaks a rule of package rules is a fault, reported
// once; a state of affairs, as silence, is an alarm that is raised, repeated every
// hour and taken back.
//
// A Monitor belongs to one goroutine and its directory to one Monitor; the state
// of package trust beside it is shared with every client of the machine, whose
// checkpoints must be of the same history.
//
// Invariants:
//   - The cursor never moves past a finding that a sink has not taken, nor past
//     an entry whose id is not in the memory on disk.
//   - Nothing is read but under a checkpoint that satisfies the policy and
//     continues the cursor's.
//   - To begin anew, or not at the first entry, is itself a finding.
//   - Memory is bounded, whatever a log does and however long: by a step of
//     entries, rules.MaxKeys, something for each witness, and what package kept holds.
//
// Specifications: SPEC 2.1, 2.4, 2.9, 2.10, 2.12 and 3.3; protocol F13 (time bounds from the
// archive), F34 (repeats), F43 (a monitor's own quorum).
package monitor
