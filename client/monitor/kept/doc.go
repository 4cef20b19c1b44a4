// Package kept holds a log to what a submitter keeps of it: that what a ticket
// promises is in the log once its deadline has passed, and that the receipt of an
// event is of what was sent.
//
// It trusts a policy, the tree that its caller has verified, and the caller's word
// that all entries below the late checkpoint were read. Files are bytes until they
// are verified, and none is changed or taken away. The files of a folder are known
// by their names:
//
//	*.ticket                     a ticket, as a client's state keeps it
//	ticket-*.idlog-evidence      a ticket beside receipts
//	NAME.idlog-disclosure        a receipt
//	NAME.idlog-submission        what was sent for it, which is there before it is:
//	                             a SubmitEventsRequest of the event alone
//
// A Room belongs to one goroutine. Its folders may be written to meanwhile, by
// whoever replaces files in one rename.
//
// Invariants:
//   - A ticket is broken by witnesses' clocks alone, and only if none of the entries
//     that could be the leaf is it.
//   - Evidence of a broken promise is judged before it is handed out.
//   - Memory is bounded, however many files there are: by one file, and something
//     for each of the newest maxSeen.
//
// Specifications: SPEC 2.9 (evidence), 2.10 (tickets), 3.1 step 4 (what of a receipt
// must be what was sent), 3.3.
package kept
