// Package event turns the event message idlog.event.v1.Event into the fields that a log commits to, and into the
// tags by which it is found: SPEC 2.2 (path and value), the owners of 2.3, and TagFn of 2.4.
//
// It trusts nobody: every function takes events that a stranger wrote. It keeps no state, so there is nothing to
// promise after a crash, and all functions may be called concurrently, on different events.
//
// A field is one set scalar of the message. Its path is the names of the proto fields that lead to it, joined by
// dots, with a decimal index after the name of a list: "outcome.status", "targets.0.principal.id". Its value is a
// kind byte and data: strings are `s`, booleans `b`, integers `i`, enums `e`, bytes `x`; a Timestamp is one scalar
// `t` of nanoseconds, and the bytes of `raw` stand as `h`, their length and hash. A scalar without presence that is
// zero is no field; one with presence (`optional`) is a field even when empty, and so is each element of a list of
// scalars. Fields ascend by the bytes of their paths.
//
// The bounds are the buf.validate options of the schema, compiled once into a plan; no rule about a single field
// stands in this package.
//
// Invariants:
//   - the fields of an event are a function of its bytes, and the event, without raw, is a function of its fields;
//   - an event with content that is no field (unknown to this schema, or an empty element of a list) is refused;
//   - tags and owners are a function of the fields, the keys and the handles, and of nothing else.
package event
