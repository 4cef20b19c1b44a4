// Package history is the engine of the verifiable index, SPEC 2.12: from the entries of a log it keeps, for each key that
// they stand under, the list of them, and proves what a list holds or that there is none.
//
// It is a deterministic function of the entries: the map root does not depend on the batches in which they came, on the
// depth of what is kept in memory, or on crashes in between. It trusts whoever gives it the entries, and its [Store] with
// nothing that it hands out: each path and each page was verified by package trie before it is returned.
//
// In the store are a row for each key, the postings of long lists in groups, the leaf hash of each entry, and the state:
// the size, the map root and the compact range of the log. Of the trie nothing is stored. Its upper part is in memory, and
// what is below is computed from the rows of the few keys that are there; so a start reads all rows once.
//
// After a crash an Index opens at a size that it had at the end of some earlier Append, with the roots of that size: the
// state is committed together with the rows. Append goes on from there.
//
// An Index has one writer. A [View] is one revision, and stays what it is while the Index goes on.
//
// Invariants:
//   - The state's map root is that of the rows, and the rows are those of the entries below its size.
//   - A path or page that is returned verifies under the State of its View.
package history

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"

	"idlog/proto/leaf"
	"idlog/proto/trie"
)

// Hash is 32 bytes: a key or a SHA-256 hash.
type Hash = leaf.Hash

// ErrDamaged is in the errors of an Index whose store does not hold what was put there. Nothing is proven from it: delete the
// store and index the log again, which gives the same roots.
var ErrDamaged = errors.New("the index is damaged")

// Config says how an Index works. Nothing in it changes a root.
type Config struct {
	// Depth d keeps 2^d nodes of the trie in memory, 64 bytes each; at most 26. An Index is fast with up to 5 keys a node.
	// 0 chooses by the number of keys, up to 21, and grows with it.
	Depth int
	// Recount says that Recount will be called: what an Append found is kept in memory until the next, some 100 bytes for a key
	// that it touches or that is near it.
	Recount bool
}

const (
	mostDepth = 26
	autoDepth = 21
)

// State is a revision: what a root leaf says of the entries [0, Size).
type State struct {
	Size    int64
	LogRoot Hash  // RFC 6962 root of the entries
	Keys    int64 // how many keys there are
	MapRoot Hash
}

// Root returns the root leaf of the log of an origin that says so, without a time.
func (s State) Root(origin string) *leaf.Root {
	return &leaf.Root{Origin: origin, N: s.Size, LogRoot: s.LogRoot, MapFn: leaf.MapFn, Keys: s.Keys, MapRoot: s.MapRoot}
}

// An Entry is what the index needs to know of an entry of the log: its leaf hash, and the keys that MapFn gives for it.
type Entry struct {
	Leaf Hash
	Keys []Hash
}

// Index is the index of a log over its first entries.
type Index struct {
	store Store
	auto  bool
	state atomic.Pointer[revision]

	mu     sync.Mutex // held by an Append, and by View while it begins one
	failed error      // why the Index cannot go on
	top    *top
	work   work
	before *revision // the one before the last Append; nil before it
}

// A revision is a State whose log root was not computed yet, and what it is computed from. It is not changed.
type revision struct {
	size, keys int64
	mapRoot    Hash
	log        tree // of the entries
}

func (r *revision) state() State {
	return State{Size: r.size, LogRoot: r.log.root(), Keys: r.keys, MapRoot: r.mapRoot}
}

// Open opens the index in a store, or begins one in an empty store. It reads every key's row, about a second for a million,
// and fails with ErrDamaged unless they give the map root of the state. The Index owns the store; if Open fails the
// caller closes it.
func Open(s Store, c Config) (*Index, error) {
	if c.Depth < 0 || c.Depth > mostDepth {
		return nil, fmt.Errorf("opening the index: depth %d is not 0 to %d", c.Depth, mostDepth)
	}
	x := &Index{store: s, auto: c.Depth == 0}
	if c.Recount {
		x.work.found = new(found)
	}
	if err := x.open(c.Depth); err != nil {
		return nil, fmt.Errorf("opening the index: %w", err)
	}
	return x, nil
}

func (x *Index) open(depth int) error {
	snap := x.store.Snapshot()
	defer snap.Close()
	r := &revision{mapRoot: trie.Empty()}
	b, err := snap.Get([]byte{kindState})
	if err != nil {
		return err
	}
	if b != nil {
		high, err := snap.Get([]byte{kindRange})
		if err != nil {
			return err
		}
		if r, err = parseRevision(b, high); err != nil {
			return err
		}
	}
	if x.auto {
		depth = chooseDepth(r.keys)
	}
	if x.top, err = build(snap, depth, r); err != nil {
		return err
	}
	x.state.Store(r)
	return nil
}

// chooseDepth gives a bucket a quarter of a key to half of one: most new keys come into an empty one, and nothing is read for them.
// At one the top grows eightfold, which reads all keys once; from 262,144 keys on it has its full depth.
func chooseDepth(keys int64) int { return min(max(bits.Len64(uint64(keys))+1, 12), autoDepth) }

// Size returns how many entries are indexed: the next one that Append takes has this index.
func (x *Index) Size() int64 { return x.state.Load().size }

// State returns the present revision's.
func (x *Index) State() State { return x.state.Load().state() }

// Close makes the index durable and closes the store. All views were closed. After it only State and Size may be called.
func (x *Index) Close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.store.Close(); err != nil {
		return fmt.Errorf("closing the index: %w", err)
	}
	return nil
}

// Append indexes the entries Size(), Size()+1 and so on as one revision. When it returns nil, views taken from then on have
// it, but a crash may still lose it; Close makes it durable. After an error the Index takes nothing more: its revision
// is undecided until it is opened again. ErrDamaged is in the error if it is the store's rows that are wrong.
func (x *Index) Append(entries []Entry) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.failed == nil {
		x.failed = x.append(entries)
	}
	if x.failed != nil {
		return fmt.Errorf("indexing: %w", x.failed)
	}
	return nil
}

func (x *Index) append(entries []Entry) error {
	x.before = x.state.Load()
	snap := x.store.Snapshot()
	defer snap.Close()
	if x.auto && x.top.depth < autoDepth && x.before.keys > 1<<x.top.depth {
		t, err := build(snap, min(x.top.depth+3, autoDepth), x.before)
		if err != nil {
			return err
		}
		x.top, x.work.cache = t, cache{} // views keep the top that they were taken from
	}
	batch := x.store.Batch()
	changes, added, err := x.work.run(entries, x.before.size, x.top, snap, batch)
	if err != nil || len(entries) == 0 {
		batch.Discard()
		return err
	}
	r := &revision{x.before.size + int64(len(entries)), x.before.keys + added, x.before.mapRoot, slices.Clone(x.before.log)}
	for i, e := range entries {
		r.log = r.log.push(x.before.size+int64(i), e.Leaf, nil)
	}
	if changes = x.top.climb(changes); len(changes) > 0 {
		r.mapRoot = changes[len(changes)-1].hash
	}
	state, high := r.format()
	batch.Put([]byte{kindState}, state)
	if r.size/leafSize > x.before.size/leafSize {
		batch.Put([]byte{kindRange}, high)
	}
	// If we die here or in Commit, the next start is at the size before; after it, at either.
	if err := batch.Commit(); err != nil {
		return err
	}
	x.top.apply(changes)
	x.work.changes = changes[:0]
	x.state.Store(r)
	return nil
}

const revisionForm = 2

// format returns the row of the state: u8 2, uv size, uv keys, map root, compact range of the entries that do not fill a row of
// leaf hashes, SHA-256 of all that and of the row of the range; and this: the compact range of the other entries.
func (r *revision) format() (state, high []byte) {
	low := len(r.log) - bits.OnesCount64(uint64(r.size%leafSize))
	high = make([]byte, 0, 32*low)
	for _, h := range r.log[:low] {
		high = append(high, h[:]...)
	}
	b := append(make([]byte, 0, 64+32*len(r.log)), revisionForm)
	b = binary.AppendUvarint(b, uint64(r.size))
	b = binary.AppendUvarint(b, uint64(r.keys))
	b = append(b, r.mapRoot[:]...)
	for _, h := range r.log[low:] {
		b = append(b, h[:]...)
	}
	sum := sha256.Sum256(append(b, high...))
	return append(b, sum[:]...), high
}

func parseRevision(b, high []byte) (*revision, error) {
	damaged := fmt.Errorf("%w: the row of its state", ErrDamaged)
	if len(b) < 1+sha256.Size {
		return nil, damaged
	}
	b, sum := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	if got := sha256.Sum256(slices.Concat(b, high)); !bytes.Equal(got[:], sum) {
		return nil, damaged
	}
	if b[0] != revisionForm {
		return nil, fmt.Errorf("it has form %d, this program knows %d: delete it and index again", b[0], revisionForm)
	}
	r := new(revision)
	var ok bool
	if r.size, b, ok = uvarint(b[1:]); !ok || r.size < 1 {
		return nil, damaged
	}
	count := bits.OnesCount64(uint64(r.size))
	low := bits.OnesCount64(uint64(r.size % leafSize))
	if r.keys, b, ok = uvarint(b); !ok || len(b) != 32*(1+low) || len(high) != 32*(count-low) {
		return nil, damaged
	}
	r.mapRoot = Hash(b[:32])
	for b = slices.Concat(high, b[32:]); len(b) > 0; b = b[32:] {
		r.log = append(r.log, Hash(b[:32]))
	}
	return r, nil
}

// build makes the top of the trie from the rows of all keys.
func build(snap Snapshot, depth int, r *revision) (*top, error) {
	t := newTop(depth)
	c, err := snap.Scan([]byte{kindList}, []byte{kindList + 1})
	if err != nil {
		return nil, err
	}
	var l list
	var twigs []twig
	var node uint32
	keys := int64(0)
	for ok := c.Seek([]byte{kindList}); ok; ok = c.Next() {
		w, err := parseTwig(c.Key(), c.Value(), &l)
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		if n := t.bucket(&w.key); n != node {
			if len(twigs) > 0 {
				t.nodes[node] = root(twigs)
			}
			node, twigs = n, twigs[:0]
		}
		twigs = append(twigs, w)
		keys++
	}
	if err := c.Close(); err != nil {
		return nil, err
	}
	if len(twigs) > 0 {
		t.nodes[node] = root(twigs)
	}
	for i := uint32(1)<<depth - 1; i > 0; i-- {
		t.nodes[i] = join(bits.Len32(i)-1, t.nodes[2*i], t.nodes[2*i+1])
	}
	if keys == 0 && r.keys == 0 && r.mapRoot == trie.Empty() {
		return t, nil
	}
	if keys != r.keys || t.nodes[1] != r.mapRoot {
		return nil, fmt.Errorf("%w: its rows are not those of its map root", ErrDamaged)
	}
	return t, nil
}

// parseTwig returns what a key's row adds to the trie.
func parseTwig(key, value []byte, l *list) (twig, error) {
	if len(key) != 33 {
		return twig{}, fmt.Errorf("%w: a row of %d bytes of key", ErrDamaged, len(key))
	}
	w := twig{key: Hash(key[1:])}
	if err := l.parse(value); err != nil {
		return twig{}, fmt.Errorf("%w: the row of key %x", ErrDamaged, w.key)
	}
	w.hash = trie.Leaf(w.key, l.head().Hash())
	return w, nil
}
