// Package backup copies a log to a folder, while it runs or not, and puts it
// back.
//
// It trusts the log that it copies and the heads directory of the log that it
// puts back. It trusts no backup: what comes back is held against its manifest,
// against the root that the manifest's checkpoint signs, and in the end against
// the tree heads that the log signed, which no backup contains.
//
// A backup is a folder:
//
//	ORIGIN          the log that it is of; written first
//	MANIFEST        every file with size and SHA-256; written last
//	tiles/          tiles and bundles, by the paths of c2sp.org/tlog-tiles
//	state-<n>/      of the n-th backup into this folder:
//	  checkpoint    what the tiles are a tree of
//	  journal/      leaves, where they stand, and encrypted payloads
//	  subjects/     the sealed secrets of persons
//	  public/       configuration and policy, for people
//
// It is consistent by the order in which it is made: the published checkpoint
// is read first; then the journal is copied, which has at least every entry
// below it; then the persons, of whom there are at least those that the journal
// needs; then the tiles up to the checkpoint, which do not change. So nothing
// waits, and nothing in a backup needs what is not in it. Private keys and the
// heads directory are not in it: a thief of one disk must not get both halves,
// and a log whose heads came back together with it would not know what it had
// signed since (SPEC F31, F32).
//
// A second backup into the same folder copies what is new. After a crash at any
// moment of it the folder holds the backup before, whole, and what it lacks to
// the next one is copied by the next. A restore works on empty directories, and
// marks each until all are complete; serving refuses a marked one.
//
// Functions block until they are done and may be called from any goroutine; a
// folder is written by one of them at a time, which a lock in it takes care of.
//
// Specification: SPEC F29 to F32.
package backup
