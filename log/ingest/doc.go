// Package ingest is the only writer of a log: it takes events in, enrols their
// persons, seals them into leaves, journals these, hands them to the log in
// order, and answers with receipts or tickets.
//
// It also logs who is one person, by the word of somebody who may submit: Link.
//
// It trusts journal and vault to keep what they said is durable, and the log to
// say truly what is integrated. It trusts no submitter: an event is held to the
// schema and its bounds, and a source takes events only from principals that
// the configuration binds to it.
//
// After a crash at any moment:
//   - An event whose receipt or ticket was given is in the journal, and so it is
//     or will be in the log, once.
//   - An event of which nothing was said is in the journal or nowhere; when it
//     is submitted again the answer is the same as if there had been no crash.
//   - A person's secrets are durable before the journal names the enrolment,
//     and an enrolment is in the log before any event that needs it.
//
// New finds out what a crash left, with the code that the next round runs.
// Methods may be called concurrently, Run once.
//
// Specification: SPEC 2.3 to 2.6, 2.10, F2, F3, F15, F20, F21, F29 to F31, F34, F36.
//
// Invariants:
//   - One id of a source, one leaf. Equal submissions get equal answers.
//   - No leaf is appended twice by one process; a restart appends only what it
//     did not find in the log.
//   - No size is released to be signed before the journal has the index of every
//     entry below it.
//   - Within one process our times of receipt do not go back.
package ingest
