// Package index computes the verifiable index of a log anew, SPEC 2.12, and
// compares what the log's root leaves say of it.
//
// It trusts its directory, and that the entries it is given are the log's, in
// their order and proven. What a root leaf says is compared with what the entries
// before it give.
//
// The index stands at the size that the last root leaf named, and goes to the size
// that the next one names: sizes never descend, so it never has to go back. What
// came meanwhile waits in memory. Where that gets too much the older half is let
// go, and read again when a root leaf asks for it. So memory is bounded however
// long root leaves stay away, and nothing depends on when they come.
//
// In the directory are the store of the engine, and a file that says up to where
// root leaves were compared. The store is allowed to be older than the file, or
// away: what it lacks is read again. If it is newer, as the machine lost power in
// between, or damaged, it is made again from the first entry. A directory that is
// away is a room that begins at entry 0, and compares every root leaf.
package index

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"idlog/proto/history"
	"idlog/proto/history/pebblekv"
	"idlog/proto/leaf"
)

const (
	// mostWaiting is how many hashes of entries wait in memory, 32 bytes each: some
	// 200,000 events.
	mostWaiting = 1 << 20
	// revision is how many entries are indexed at once.
	revision = 8 << 10
)

// Entry is an entry of the log.
type Entry struct {
	Index int64
	Leaf  leaf.Hash
	Keys  []leaf.Hash // of package mapfn; the Room's from then on
	Root  *leaf.Root  // nil unless it is a root leaf
	// Logged is when the log had it at the latest.
	Logged time.Time
}

// Read reads entries of the log again: the index needs the leaf hash and the keys
// of each of [from, to).
type Read func(ctx context.Context, from, to int64) ([]history.Entry, error)

// A Kind is how a root leaf is false.
type Kind string

// The kinds, in the order in which they are looked for: the first says most.
const (
	Misplaced   Kind = "misplaced"   // it is of another log, or of more entries than there are before it
	Contradicts Kind = "contradicts" // what an earlier root leaf says, [False.Earlier]
	Entries     Kind = "entries"     // the entries it speaks of have another root hash
	Index       Kind = "index"       // their index has another root: [False.Own]
)

// False is a root leaf that cannot be true.
type False struct {
	Kind  Kind
	Index int64 // of the root leaf
	Root  *leaf.Root
	// Earlier is the index of the root leaf that it contradicts, if that is its kind.
	Earlier int64
	// Own is what it would have to be; nil but for the kind Index.
	Own *leaf.Root
	// Again says that the root leaf before it was false in the same way.
	Again bool
}

// StoreError says that the directory failed. Nothing that was compared is lost.
type StoreError struct{ Err error }

func (e *StoreError) Error() string { return "keeping the index: " + e.Err.Error() }

// Unwrap returns Err.
func (e *StoreError) Unwrap() error { return e.Err }

// A Room is the index of one log. It belongs to one goroutine, and its directory
// to one Room.
type Room struct {
	dir, origin string
	logger      *slog.Logger
	engine      *history.Index
	kept, at    state // as in the file, and as of now

	// The entries below at.next that were kept in memory.
	waiting []history.Entry
	hashes  int // in waiting
	most    int // of them
}

// Open opens the room of a log, and makes it if it is not there. A room that is
// damaged begins anew.
func Open(dir, origin string, logger *slog.Logger) (*Room, error) {
	r := &Room{dir: dir, origin: origin, logger: logger, most: mostWaiting}
	err := r.open()
	if err != nil {
		return nil, &StoreError{err}
	}
	return r, nil
}

func (r *Room) open() error {
	b, err := os.ReadFile(r.file())
	if errors.Is(err, os.ErrNotExist) {
		return r.begin()
	}
	if err != nil {
		return err
	}
	if r.kept, err = parseState(b, r.origin); err != nil {
		r.logger.Warn("the index begins anew: its state is damaged", "log", r.origin, "file", r.file(), "err", err)
		return r.begin()
	}
	r.at = r.kept
	if err := r.openEngine(); errors.Is(err, history.ErrDamaged) {
		r.logger.Warn("the index is made again", "log", r.origin, "dir", r.store(), "err", err)
		return r.renew()
	} else {
		return err
	}
}

// begin empties the room. Without the file nothing of the store is of use.
func (r *Room) begin() error {
	r.kept = newState()
	r.at = r.kept
	if err := os.RemoveAll(r.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return err
	}
	return r.openEngine()
}

func (r *Room) file() string  { return filepath.Join(r.dir, "state") }
func (r *Room) store() string { return filepath.Join(r.dir, "store") }

func (r *Room) openEngine() error {
	s, err := pebblekv.Open(r.store())
	if err != nil {
		return err
	}
	x, err := history.Open(s, history.Config{})
	if err != nil {
		return errors.Join(err, s.Close())
	}
	r.engine = x
	return nil
}

// renew begins the store anew; the state stays.
func (r *Room) renew() error {
	if r.engine != nil {
		if err := r.engine.Close(); err != nil {
			r.logger.Warn("closing an index that is made again", "log", r.origin, "err", err)
		}
		r.engine = nil
	}
	if err := os.RemoveAll(r.store()); err != nil {
		return err
	}
	return r.openEngine()
}

// Close closes the room. What Keep did not keep is followed again.
func (r *Room) Close() error {
	if r.engine == nil {
		return nil
	}
	if err := r.engine.Close(); err != nil {
		return &StoreError{err}
	}
	return nil
}

// Next is the index of the entry that Follow takes next.
func (r *Room) Next() int64 { return r.at.next }

// Last returns the newest root leaf that stood where it may and went on from those
// before it, nil if there is none, and its index.
func (r *Room) Last() (*leaf.Root, int64) { return r.at.last, r.at.lastAt }

// False returns the first of the root leaves that were false in one way up to now,
// -1 if the newest one is true.
func (r *Room) False() int64 { return r.at.bad }

// Uncovered is since when there is an entry, not itself a root leaf, that no root
// leaf speaks of; zero if there is none.
func (r *Room) Uncovered() time.Time { return r.at.since }

// Again goes back to what was kept, for who was cut off.
func (r *Room) Again() {
	over := int(min(r.at.next-r.kept.next, int64(len(r.waiting))))
	r.letGo(len(r.waiting)-over, len(r.waiting))
	r.at = r.kept
}

// Keep makes it durable that all entries up to now were followed, and that whoever
// had to be told of a False was.
func (r *Room) Keep() error { return r.keep(true) }

func (r *Room) keep(sync bool) error {
	if err := write(r.file(), r.at.format(r.origin), sync); err != nil {
		return &StoreError{err}
	}
	r.kept = r.at
	return nil
}

// Follow takes the entry of the index Next, and passes over earlier ones. If it is
// a root leaf that is false, that is returned, and the caller tells of it before
// it goes on: Keep must come after that, or Again. Errors are a *StoreError, after
// which the room is closed, or of read; then Again, and the entries once more.
func (r *Room) Follow(ctx context.Context, e Entry, read Read) (*False, error) {
	switch {
	case e.Index < r.at.next:
		return nil, nil
	case e.Index > r.at.next:
		return nil, fmt.Errorf("indexing entry %d: the next one is %d", e.Index, r.at.next)
	}
	r.at.next++
	r.waiting = append(r.waiting, history.Entry{Leaf: e.Leaf, Keys: e.Keys})
	if r.hashes += 1 + len(e.Keys); r.hashes > r.most {
		r.letGo(0, (len(r.waiting)+1)/2)
	}
	if e.Root == nil {
		r.at.entry(e)
		return nil, nil
	}
	f, err := r.compare(ctx, e, read)
	if err != nil {
		return nil, err
	}
	if f == nil {
		r.at.bad = -1
		r.at.covered(e)
	} else {
		f.Index, f.Root = e.Index, e.Root
		if f.Again = r.at.bad >= 0 && r.at.kind == f.Kind; !f.Again {
			r.at.bad, r.at.kind = e.Index, f.Kind
		}
	}
	if f == nil || f.Kind == Entries || f.Kind == Index {
		r.at.last, r.at.lastAt = e.Root, e.Index
	}
	if f != nil && !f.Again {
		return f, nil
	}
	// Nobody has to be told of this one. It is written at once, so that no start
	// finds the store beyond a root leaf that is to be compared. If we die here it
	// is compared again.
	return f, r.keep(false)
}

// compare finds out whether a root leaf is false. It brings the index to the size
// that the leaf names.
func (r *Room) compare(ctx context.Context, e Entry, read Read) (*False, error) {
	root, last := e.Root, r.at.last
	switch {
	case root.Origin != r.origin || root.N > e.Index:
		return &False{Kind: Misplaced}, nil
	case last != nil && (root.N < last.N || root.N == last.N && !root.Agrees(last)):
		return &False{Kind: Contradicts, Earlier: r.at.lastAt}, nil
	}
	if r.engine.Size() > root.N {
		r.logger.Warn("the index is made again: it is of more entries than the next root leaf", "log", r.origin, "size", r.engine.Size(), "root", root.N)
		if err := r.renew(); err != nil {
			return nil, &StoreError{err}
		}
	}
	own, err := r.root(ctx, root.N, read)
	if err != nil || root.Agrees(own) {
		return nil, err
	}
	if r.at.bad < 0 {
		// It may be ours that is wrong. Only one that was made from nothing accuses.
		r.logger.Warn("the index is made again: a root leaf says something else", "log", r.origin, "entry", e.Index)
		if err := r.renew(); err != nil {
			return nil, &StoreError{err}
		}
		if own, err = r.root(ctx, root.N, read); err != nil || root.Agrees(own) {
			return nil, err
		}
	}
	if root.LogRoot != own.LogRoot && root.N > 0 { // of no entries there is no proof
		return &False{Kind: Entries}, nil
	}
	return &False{Kind: Index, Own: own}, nil
}

// root returns the root leaf that the index would make of the first n entries.
func (r *Room) root(ctx context.Context, n int64, read Read) (*leaf.Root, error) {
	err := r.reach(ctx, n, read)
	if errors.Is(err, history.ErrDamaged) {
		r.logger.Warn("the index is made again", "log", r.origin, "dir", r.store(), "err", err)
		if err := r.renew(); err != nil {
			return nil, &StoreError{err}
		}
		err = r.reach(ctx, n, read)
	}
	if err != nil {
		return nil, err
	}
	return r.engine.State().Root(r.origin), nil
}

// reach indexes the entries below n, which were followed. If we die here, the
// store is at one of the sizes on the way, or at an earlier one.
func (r *Room) reach(ctx context.Context, n int64, read Read) error {
	first := r.at.next - int64(len(r.waiting))
	for from := r.engine.Size(); from < n; from = r.engine.Size() {
		to := min(n, from+revision)
		var entries []history.Entry
		if from >= first {
			entries = r.waiting[from-first : to-first]
		} else {
			var err error
			if entries, err = read(ctx, from, min(to, first)); err != nil {
				return fmt.Errorf("reading entries for the index again: %w", err)
			}
		}
		if err := r.engine.Append(entries); err != nil {
			return &StoreError{err}
		}
	}
	r.letGo(0, int(min(max(0, n-first), int64(len(r.waiting)))))
	return nil
}

// letGo takes entries out of those that wait: at one of the ends.
func (r *Room) letGo(from, to int) {
	for _, e := range r.waiting[from:to] {
		r.hashes -= 1 + len(e.Keys)
	}
	if from > 0 {
		clear(r.waiting[from:to])
		r.waiting = r.waiting[:from]
		return
	}
	n := copy(r.waiting, r.waiting[to:])
	clear(r.waiting[n:])
	r.waiting = r.waiting[:n]
}
