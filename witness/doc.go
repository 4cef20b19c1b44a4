// Package witness is a cosigner of transparency logs: it is shown checkpoints
// with proofs that each continues the one before, remembers the latest of every
// log, and cosigns what is consistent. It serves any log of
// c2sp.org/tlog-checkpoint; nothing in it knows what a log's entries mean.
//
// It trusts its key, its clock, its state directory and the list of log keys it
// was given. It trusts no log and no client: a request counts for the signature
// and the proof in it, whoever sends it.
//
// After a crash at any moment, what a released cosignature says is on disk: the
// state is synced before the first byte of a reply. A state that was synced and
// never replied to costs its client one 409 and one more request.
//
// Handlers, SetLogs and the Store may be used concurrently. One process owns a
// state directory at a time.
//
// Specifications: c2sp.org/tlog-witness, c2sp.org/tlog-cosignature.
//
// Invariants, for every origin, across restarts:
//   - Any two cosigned checkpoints are consistent: one tree continues the other.
//   - The size and the time of cosignatures never decrease.
//   - A log that was cosigned once has a state file or the witness does not
//     start: a forgotten log would be cosigned from size 0 again.
//   - A checkpoint signed by its log that contradicts the one cosigned is kept,
//     with the cosigned one, as evidence of a fork.
//
// What no local file can show is a state directory put back from an old backup
// as a whole. A witness whose disk was restored must start with a new key.
package witness
