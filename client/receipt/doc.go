// Package receipt judges what a server answers to a submitter: SPEC 3.1, the whole of it and nothing else.
//
// It trusts the checkpoints that its caller has verified by a policy and held against what it knew, and the bytes that
// were sent; never a value that a server echoes. It speaks with nobody and keeps nothing: everything that it judges by
// is handed to it. Functions may be called concurrently; a [Submission] belongs to one goroutine.
//
// Invariants:
//   - Only this package makes a [Source], an [Enrolment], a [Receipt] or a [Ticket], and only after everything that
//     their comments name was verified.
//   - What does not hold is a [*Mismatch], which names the step; there is no other error about an answer.
//
// Specifications: SPEC 3.1 (the steps bear its numbers), 2.2 to 2.6 (fields, tags, persons), 2.10 (tickets).
package receipt

import (
	"fmt"
	"strings"

	"idlog/proto/leaf"
)

// Mismatch says that a receipt, a ticket or an answer does not hold: the step of SPEC 3.1 that failed, and what was
// found. For a receipt the reason is RECEIPT_MISMATCH: the log may hold something else than what was sent.
type Mismatch struct {
	Step     int    // 1 to 9 of SPEC 3.1; 0 for an answer that is no receipt
	What     string // what does not hold
	Evidence []byte // *.idlog-evidence, claim receipt-mismatch, of step 9 what it names, or of a history addition; else nil
	File     string // where Evidence was written, or a history that has none; empty with a state in memory
	Err      error  // the cause, if another package found it
}

func (e *Mismatch) Error() string {
	var b strings.Builder
	if e.Step > 0 {
		fmt.Fprintf(&b, "RECEIPT_MISMATCH in step %d: ", e.Step)
	} else {
		b.WriteString("the server's answer does not verify: ")
	}
	b.WriteString(e.What)
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	if e.File != "" {
		fmt.Fprintf(&b, " (evidence: %s)", e.File)
	}
	return b.String()
}

// Unwrap returns the cause, such as a *policy.QuorumError.
func (e *Mismatch) Unwrap() error { return e.Err }

// Hashes turns the hashes of an answer into ours.
func Hashes(wire [][]byte) ([]leaf.Hash, error) {
	out := make([]leaf.Hash, len(wire))
	for i, h := range wire {
		if len(h) != len(out[i]) {
			return nil, fmt.Errorf("hash %d of the proof has %d bytes", i, len(h))
		}
		copy(out[i][:], h)
	}
	return out, nil
}
