// Package store is what a log needs of the place that keeps its entries and
// Merkle tree.
//
// A backend is trusted with nothing: package log re-reads and re-hashes what a
// backend says it has integrated before it signs a word about it. What a
// backend must do is in the comments of the interfaces.
package store

import (
	"context"
	"fmt"

	"idlog/proto/leaf"
	"idlog/proto/tile"
)

// A DamagedError says that a file does not have the form that its name promises.
type DamagedError struct {
	File, Problem string
}

func (e *DamagedError) Error() string { return fmt.Sprintf("reading %s: %s", e.File, e.Problem) }

// Reader reads what a backend holds. Nothing it returns is verified. All
// methods may be called concurrently, also while an Appender writes.
type Reader interface {
	// State returns the size and root that the backend claims to have
	// integrated. A missing state is fs.ErrNotExist, never a state of size 0.
	// Like Read and Stored, it names what it cannot read in an *fs.PathError, and
	// what it cannot understand in a *DamagedError.
	State(ctx context.Context) (size int64, root leaf.Hash, err error)
	// Read returns the tile or entry bundle at c with exactly c.Width hashes or
	// entries, cut out of a fuller one if need be; fs.ErrNotExist if there is
	// neither. The caller owns the bytes.
	Read(ctx context.Context, c tile.Coord) ([]byte, error)
	// Stored returns what is stored at c itself and has its width, which is
	// what the backend itself reads when it appends at that size.
	Stored(ctx context.Context, c tile.Coord) ([]byte, error)
	// Where names for an operator what holds c, and what holds the state.
	Where(c tile.Coord) string
	WhereState() string
}

// A Backend is a place for one log.
type Backend interface {
	Reader
	// Create makes an empty log, durably. It is called once in the life of a
	// log and fails with fs.ErrExist if anything is there.
	Create(ctx context.Context) error
	// Sweep removes what a crash left behind and no reader needs. It is called
	// after everything was found in order and before Open.
	Sweep(ctx context.Context) error
	// Open starts appending. The caller excludes every other writer.
	Open(ctx context.Context) (Appender, error)
}

// An Appender appends to a log.
type Appender interface {
	// Append adds the leaves in order and returns the index of the first once
	// all of them and the tree over them are durable. It is called by one
	// goroutine at a time. After any error it is unknown which leaves are in
	// the log: the caller stops, and finds out from disk after a restart.
	Append(ctx context.Context, leaves [][]byte) (first int64, err error)
	// Close waits for writes under way and ends the appender's goroutines.
	Close() error
}
