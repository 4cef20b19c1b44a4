// Package serve answers for the operator over gRPC: EventService takes events
// in, LogService reads the published log, QueryService answers with histories,
// and health and reflection stand beside them. It adds no truth of its own:
// events go to log/ingest, entries and proofs come from log, histories from
// log/query.
//
// It trusts nobody who calls. A caller is the leaf of its verified client
// certificate, or "local" over plaintext from the machine itself; a plaintext
// call from anywhere else is refused. Nothing here is durable, so a crash
// loses only answers, and every call may be repeated.
//
// Invariants:
//   - A call reaches a handler only if its full method name is in the table
//     that was made from the descriptors at start; a path without its slash
//     is in no table.
//   - Every error carries google.rpc.ErrorInfo with domain "idlog" and a name
//     of the closed list logv1.Reason. Only the ends of a call's own context
//     (CANCELLED, DEADLINE_EXCEEDED) and gRPC's refusals of bytes it could
//     not read as a call carry none.
//   - A request is validated by the rules in its schema before it is acted
//     upon. The events within are ingest's to check, once, with proto/event.
//   - Nothing is shown beyond the published size, and every answer about the
//     log carries the checkpoint that its proofs lead to.
//   - No payload, identifier or key is ever logged.
//
// A Server may be used by any number of goroutines.
package serve
