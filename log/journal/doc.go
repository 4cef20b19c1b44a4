// Package journal is the outbox of a log: every leaf is durable here, once,
// before it is handed to the log, and here stands where in the log it is.
//
// It trusts the disk to keep what it synced, and checksums to say when it did
// not. Leaves, payloads and principals are bytes to it; payloads come encrypted.
//
// After a crash at any moment:
//   - A row whose Put returned is there, and so is everything put before it.
//   - Every entry of the log below Cursor has its index here. Entries at or
//     above it may or may not: the caller reads them in the log and says so with
//     Sequenced before it appends anything.
//   - Rows are handed out by Take again, in the order of Put, until Sequenced
//     has their index.
//
// All methods may be called concurrently, but Take and Sequenced by one
// goroutine at a time. Rows are shared and read only.
//
// A journal is segments 00000001.rows, 00000002.rows, ... of one directory, to
// which records are appended and which are never changed, so that what is taken
// in is written once. A record is
//
//	u8 kind, u32 length of body, u32 CRC-32C of body, u32 CRC-32C of these 9 bytes, body
//
// big-endian, with the bodies
//
//	"O" u64 number of the segment                     first of each segment
//	"G" u64 position of the record                     what is written at once begins with it
//	"R" a row, see appendRow
//	"P" u64 index, positions of rows, see appendPlace  they stand there, one after the other
//
// Where a row is found by its key is told by a database beside them, index/. It
// has what the segments say up to some record, which it names, and no journal of
// its own: Open reads from that record on. Without it Open reads everything, so
// that a copy of the segments, each copied after those before it, is a backup,
// also of a journal in use. One that knows more than the segments say is refused:
// they are an older copy, and what they lack was promised.
//
// A record that ends beyond the last segment, or of which a sector is zero, or
// the end and all behind it, was torn by a crash if no "G" comes after it: it is of
// the last write, nobody was told of it, and it is cut off. Any other deviation is
// corruption and is refused. That a disk lost the end of the segments, or a sector
// of the last write, is known only if the index has seen it.
//
// Specification: SPEC 2.10, F29, F30, F31.
//
// Invariants:
//   - One key, one row, for ever: leaf bytes that were stored under a key are
//     never replaced, and no row is removed.
//   - In one process, a row is handed out by Take at most once.
//   - A row is handed out only after all rows that it needs have an index.
//   - Nothing is in the database before it is durable in a segment.
package journal
