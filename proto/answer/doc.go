// Package answer is history files: a question on the events of a log, and an answer that shows of itself whether it is
// whole. SPEC 2.15.
//
// It trusts the trust file it is given, and nothing in a history. It keeps no state and asks nobody; all functions may be
// called concurrently, but a History belongs to one goroutine while it is made.
//
// An answer is whole if nothing that could have an event in it was left out: every epoch, every enrolment of an identifier,
// every list. Which lists these are follows from the question, the evidence and the lists before them, by one derivation.
// [History.Missing] is how one who makes an answer asks it what to look up next; [History.Verify] is how a reader holds an
// answer to it:
//
//	for {
//		m, err := h.Missing()
//		...
//		if m.None() {
//			break
//		}
//		for _, q := range m.Queries {
//			h.Add(lookUp(q))
//		}
//		// and the proofs, handles and keys that m asks for
//	}
//
// Invariants:
//   - Parse accepts a byte string only if Format gives it back.
//   - A history has exactly the answers that its question needs: one less is an IncompleteError, one more is refused.
//   - Without a quorum of verifiers every entry is proven to be in the log, and the verdict is not Proven.
package answer
