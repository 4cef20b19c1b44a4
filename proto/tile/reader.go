package tile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math/bits"

	"github.com/transparency-dev/merkle/compact"
	merkle "github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"idlog/proto/checkpoint"
	"idlog/proto/proof"
)

// Fetch returns the resource at a path that Coord.Path wrote, below the prefix
// of one log, uncompressed. If it is not there the error is fs.ErrNotExist. It
// reads at most MaxBundle bytes, and its result is the Reader's.
type Fetch func(ctx context.Context, path string) ([]byte, error)

// A MismatchError says that a log served something that is not what its
// checkpoint commits to. Whoever answered the fetch is at fault, or altered.
type MismatchError struct {
	Checkpoint checkpoint.Checkpoint
	Path       string // what was served, or empty if it is several partial tiles
	Problem    string
}

func (e *MismatchError) Error() string {
	what := e.Path
	if what == "" {
		what = "partial tiles"
	}
	return fmt.Sprintf("reading log %s at size %d: %s: %s", e.Checkpoint.Origin, e.Checkpoint.Size, what, e.Problem)
}

// An Entry is one proven entry of a log.
type Entry struct {
	Index int64
	Data  []byte   // the entry, the caller's to keep
	Hash  [32]byte // its leaf hash
}

// A Reader reads a log under one checkpoint. Everything it returns is proven to
// be in the tree of that checkpoint, which the caller has verified. It belongs
// to one goroutine; it remembers one tile of each level, so reading in order
// fetches each once.
type Reader struct {
	checkpoint checkpoint.Checkpoint
	fetch      Fetch
	edge       [][][32]byte // level -> the partial tile, nil where there is none; nil before it is proven
	last       [maxLevel + 1]struct {
		index  int64
		hashes [][32]byte // full and proven, or nil
	}
}

// NewReader returns the reader of the tree of a checkpoint, which must have been
// verified. It fetches nothing yet.
func NewReader(c checkpoint.Checkpoint, f Fetch) *Reader { return &Reader{checkpoint: c, fetch: f} }

// Entry returns the entry at an index.
func (r *Reader) Entry(ctx context.Context, index int64) (Entry, error) {
	for e, err := range r.Entries(ctx, index, index+1) {
		return e, err
	}
	return Entry{}, r.outside("entry", index)
}

// Entries yields the entries [from, to) in order, each proven before it is
// yielded. An error is the last thing it yields, with an empty entry.
func (r *Reader) Entries(ctx context.Context, from, to int64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		if from < 0 || from > to || to > r.checkpoint.Size {
			yield(Entry{}, r.outside("entries below", to))
			return
		}
		for at := from; at < to; {
			n := at / Width
			entries, err := r.bundle(ctx, n)
			if err != nil {
				yield(Entry{}, err)
				return
			}
			for ; at < to && at/Width == n; at++ {
				if !yield(entries[at%Width], nil) {
					return
				}
			}
		}
	}
}

// bundle fetches the bundle of that index and proves each of its entries.
func (r *Reader) bundle(ctx context.Context, index int64) ([]Entry, error) {
	hashes, err := r.tile(ctx, 0, index)
	if err != nil {
		return nil, err
	}
	c := Coord{Level: Entries, Index: index, Width: len(hashes)}
	b, got, err := r.get(ctx, c)
	if err != nil {
		return nil, err
	}
	data, err := Bundle(b, got.Width)
	if err != nil {
		return nil, r.mismatch(got, err.Error())
	}
	entries := make([]Entry, len(hashes))
	for i, want := range hashes {
		e := Entry{Index: index*Width + int64(i), Data: data[i], Hash: [32]byte(rfc6962.DefaultHasher.HashLeaf(data[i]))}
		if e.Hash != want {
			return nil, r.mismatch(got, fmt.Sprintf("entry %d does not have its leaf hash", e.Index))
		}
		entries[i] = e
	}
	return entries, nil
}

// Leaf returns the leaf hash at an index, without its entry.
func (r *Reader) Leaf(ctx context.Context, index int64) ([32]byte, error) {
	if index < 0 || index >= r.checkpoint.Size {
		return [32]byte{}, r.outside("entry", index)
	}
	return r.node(ctx, compact.NewNodeID(0, uint64(index)))
}

// Inclusion returns the proof that the entry at index is in the tree, from the
// leaf's sibling upwards, as proof.Inclusion verifies it.
func (r *Reader) Inclusion(ctx context.Context, index int64) ([][32]byte, error) {
	leaf, err := r.Leaf(ctx, index)
	if err != nil {
		return nil, err
	}
	nodes, err := merkle.Inclusion(uint64(index), uint64(r.checkpoint.Size))
	if err != nil {
		return nil, fmt.Errorf("proving inclusion: %w", err)
	}
	hashes, err := r.rehash(ctx, nodes)
	if err != nil {
		return nil, err
	}
	return hashes, proof.Inclusion(leaf, index, r.checkpoint.Size, hashes, r.checkpoint.Root)
}

// Consistency returns the proof from an earlier size to the tree, as
// proof.Consistency verifies it. It is empty from size 0 and from the tree's
// own. It proves that the log of the checkpoint continues the tree that it
// itself had at that size, whose root is Root's.
func (r *Reader) Consistency(ctx context.Context, from int64) ([][32]byte, error) {
	root, err := r.Root(ctx, from)
	if err != nil {
		return nil, err
	}
	var hashes [][32]byte
	if from > 0 {
		nodes, err := merkle.Consistency(uint64(from), uint64(r.checkpoint.Size))
		if err != nil {
			return nil, fmt.Errorf("proving consistency: %w", err)
		}
		if hashes, err = r.rehash(ctx, nodes); err != nil {
			return nil, err
		}
	}
	return hashes, proof.Consistency(from, r.checkpoint.Size, root, r.checkpoint.Root, hashes)
}

// Root returns the root of the first size entries.
func (r *Reader) Root(ctx context.Context, size int64) ([32]byte, error) {
	if size < 0 || size > r.checkpoint.Size {
		return [32]byte{}, r.outside("size", size)
	}
	if err := r.prove(ctx); err != nil {
		return [32]byte{}, err
	}
	if size == 0 {
		return [32]byte(rfc6962.DefaultHasher.EmptyRoot()), nil
	}
	var peaks [][32]byte
	for _, id := range compact.RangeNodes(0, uint64(size), nil) {
		h, err := r.node(ctx, id)
		if err != nil {
			return [32]byte{}, err
		}
		peaks = append(peaks, h)
	}
	return fold(peaks), nil
}

// Ranges returns the roots of the perfect subtrees that make up the entries
// [0, at), from left to right, and then of those that make up the rest of the
// tree: what a consistency part of evidence holds, by which a fork is shown.
func (r *Reader) Ranges(ctx context.Context, at int64) ([][32]byte, error) {
	if at < 0 || at > r.checkpoint.Size {
		return nil, r.outside("size", at)
	}
	before, err := r.Subtrees(ctx, 0, at)
	if err != nil {
		return nil, err
	}
	after, err := r.Subtrees(ctx, at, r.checkpoint.Size)
	return append(before, after...), err
}

// Subtrees returns the roots of the perfect subtrees that make up the entries
// [from, to), from left to right: what an index proof holds of the entries that
// it does not name.
func (r *Reader) Subtrees(ctx context.Context, from, to int64) ([][32]byte, error) {
	if from < 0 || from > to || to > r.checkpoint.Size {
		return nil, r.outside("entries below", to)
	}
	var hashes [][32]byte
	for _, id := range compact.RangeNodes(uint64(from), uint64(to), nil) {
		h, err := r.node(ctx, id)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, h)
	}
	return hashes, nil
}

// fold joins the roots of ever smaller perfect trees, from the right.
func fold(peaks [][32]byte) [32]byte {
	root := peaks[len(peaks)-1]
	for i := len(peaks) - 2; i >= 0; i-- {
		root = join(peaks[i], root)
	}
	return root
}

func join(l, r [32]byte) [32]byte {
	return [32]byte(rfc6962.DefaultHasher.HashChildren(l[:], r[:]))
}

func (r *Reader) rehash(ctx context.Context, nodes merkle.Nodes) ([][32]byte, error) {
	var parts [][]byte
	for _, id := range nodes.IDs {
		h, err := r.node(ctx, id)
		if err != nil {
			return nil, err
		}
		parts = append(parts, h[:])
	}
	joined, err := nodes.Rehash(parts, rfc6962.DefaultHasher.HashChildren)
	if err != nil {
		return nil, fmt.Errorf("joining the hashes of a proof: %w", err)
	}
	var hashes [][32]byte
	for _, h := range joined {
		hashes = append(hashes, [32]byte(h))
	}
	return hashes, nil
}

// node returns the hash of a perfect subtree of the tree.
func (r *Reader) node(ctx context.Context, id compact.NodeID) ([32]byte, error) {
	level, height := int(id.Level/8), id.Level%8
	first := int64(id.Index << height) // among the hashes of the level
	hashes, err := r.tile(ctx, level, first/Width)
	if err != nil {
		return [32]byte{}, err
	}
	at := int(first % Width)
	if at+1<<height > len(hashes) {
		return [32]byte{}, r.outside("node of level", int64(id.Level))
	}
	return perfect(hashes[at : at+1<<height]), nil
}

// perfect returns the root over 2^k hashes.
func perfect(hashes [][32]byte) [32]byte {
	if len(hashes) == 1 {
		return hashes[0]
	}
	half := len(hashes) / 2
	return join(perfect(hashes[:half]), perfect(hashes[half:]))
}

// tile returns a proven tile of hashes: a partial one, or a full one that gives
// the hash which the proven tile above it has for it. The recursion ends at the
// level whose only tile is partial.
func (r *Reader) tile(ctx context.Context, level int, index int64) ([][32]byte, error) {
	if err := r.prove(ctx); err != nil {
		return nil, err
	}
	c, ok := At(level, index, r.checkpoint.Size)
	if !ok {
		return nil, r.outside("tile", index)
	}
	if c.Width < Width {
		return r.edge[level], nil
	}
	if l := &r.last[level]; l.hashes != nil && l.index == index {
		return l.hashes, nil
	}
	above, err := r.tile(ctx, level+1, index/Width)
	if err != nil {
		return nil, err
	}
	hashes, got, err := r.hashes(ctx, c)
	if err != nil {
		return nil, err
	}
	if perfect(hashes) != above[index%Width] {
		return nil, r.mismatch(got, "does not have the hash that the tile above it has")
	}
	r.last[level].index, r.last[level].hashes = index, hashes
	return hashes, nil
}

// prove fetches the partial tiles, once, and proves them: each of their hashes
// is under one of the perfect trees that together give the root.
func (r *Reader) prove(ctx context.Context) error {
	if r.edge != nil {
		return nil
	}
	edge := make([][][32]byte, maxLevel+1)
	var peaks [][32]byte
	for level := maxLevel; level >= 0; level-- {
		c, ok := At(level, r.checkpoint.Size>>(8*level)/Width, r.checkpoint.Size)
		if !ok {
			continue
		}
		hashes, _, err := r.hashes(ctx, c)
		if err != nil {
			return err
		}
		edge[level] = hashes
		for rest := hashes; len(rest) > 0; {
			n := 1 << (bits.Len(uint(len(rest))) - 1)
			peaks = append(peaks, perfect(rest[:n]))
			rest = rest[n:]
		}
	}
	root := [32]byte(rfc6962.DefaultHasher.EmptyRoot())
	if len(peaks) > 0 {
		root = fold(peaks)
	}
	if root != r.checkpoint.Root {
		return &MismatchError{Checkpoint: r.checkpoint, Problem: "do not lead to the root"}
	}
	r.edge = edge
	return nil
}

// hashes fetches a tile of hashes, not yet proven, cut to the width asked for.
func (r *Reader) hashes(ctx context.Context, c Coord) ([][32]byte, Coord, error) {
	b, got, err := r.get(ctx, c)
	if err != nil {
		return nil, got, err
	}
	hashes, err := Hashes(b, got.Width)
	if err != nil {
		return nil, got, r.mismatch(got, err.Error())
	}
	return hashes[:c.Width], got, nil
}

// get fetches a resource, or in its place the full tile that it begins.
//
// SPEC: tlog-tiles, Partial Tiles: a log may delete a partial tile once the
// full one is there.
func (r *Reader) get(ctx context.Context, c Coord) ([]byte, Coord, error) {
	b, err := r.fetch(ctx, c.Path())
	if c.Width < Width && errors.Is(err, fs.ErrNotExist) {
		if full, ferr := r.fetch(ctx, c.Full().Path()); ferr == nil {
			return full, c.Full(), nil
		}
	}
	if err != nil {
		return nil, c, fmt.Errorf("fetching %s: %w", c.Path(), err)
	}
	return b, c, nil
}

func (r *Reader) mismatch(c Coord, problem string) error {
	return &MismatchError{Checkpoint: r.checkpoint, Path: c.Path(), Problem: problem}
}

func (r *Reader) outside(what string, n int64) error {
	return fmt.Errorf("reading log %s: %s %d is not in a tree of size %d", r.checkpoint.Origin, what, n, r.checkpoint.Size)
}
