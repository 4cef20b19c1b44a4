package log

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/transparency-dev/merkle/compact"
	merkle "github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"idlog/log/store"
	"idlog/proto/leaf"
	"idlog/proto/tile"
)

// edgeLeaves is how many of the newest leaves the edge covers before it drops
// the older half: 8 MiB of hashes.
const edgeLeaves = 128 << 10

var ranges = compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}

// An edge keeps the right edge of the tree in memory: the hash of every
// complete subtree that ends after base, and of the subtrees that [0, base)
// consists of. With these, proofs of fresh leaves and from recent sizes need no
// disk. Everything in it was computed by the guard from re-read entries.
type edge struct {
	mu     sync.RWMutex // guards all
	base   int64
	size   int64
	levels [64]struct {
		first  int64 // index of hashes[0] among the subtrees of this level
		hashes []leaf.Hash
	}
}

// A node is a complete subtree: compact.NodeID with its hash.
type node struct {
	compact.NodeID
	hash leaf.Hash
}

// reset makes the edge begin at size, which consists of the given subtrees.
func (e *edge) reset(size int64, peaks []node) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.base, e.size = size, size
	for l := range e.levels {
		e.levels[l].first, e.levels[l].hashes = size>>l, nil
	}
	for _, p := range peaks {
		e.levels[p.Level].first, e.levels[p.Level].hashes = int64(p.Index), []leaf.Hash{p.hash}
	}
}

// extend adds the subtrees that were completed between the edge's size and the
// new one, in the order of each level. Those it has already are skipped.
func (e *edge) extend(size int64, nodes []node) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range nodes {
		if l := &e.levels[n.Level]; int64(n.Index) == l.first+int64(len(l.hashes)) {
			l.hashes = append(l.hashes, n.hash)
		}
	}
	e.size = size
	if e.size-e.base <= edgeLeaves {
		return
	}
	e.base = size - edgeLeaves/2
	for l := range e.levels {
		// One before the base: [0, base) may consist of it.
		v := &e.levels[l]
		if drop := e.base>>l - 1 - v.first; drop > 0 && drop <= int64(len(v.hashes)) {
			v.first += drop
			v.hashes = slices.Clone(v.hashes[drop:])
		}
	}
}

func (e *edge) node(id compact.NodeID) (leaf.Hash, bool) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	l := &e.levels[id.Level]
	if i := int64(id.Index) - l.first; i >= 0 && i < int64(len(l.hashes)) {
		return l.hashes[i], true
	}
	return leaf.Hash{}, false
}

// nodes reads subtrees of a tree: from the edge where it has them, else from
// tiles, which are not verified.
type nodes struct {
	edge  *edge // may be nil
	store store.Reader
	size  int64
	tiles map[tile.Coord][][32]byte
}

func (n *nodes) get(ctx context.Context, id compact.NodeID) (leaf.Hash, error) {
	if n.edge != nil {
		if h, ok := n.edge.node(id); ok {
			return h, nil
		}
	}
	level, height := int(id.Level/8), id.Level%8
	first := int64(id.Index << height)
	c, ok := tile.At(level, first/tile.Width, n.size)
	at := int(first % tile.Width)
	if !ok || at+1<<height > c.Width {
		return leaf.Hash{}, fmt.Errorf("reading node %d of level %d: not in a tree of size %d", id.Index, id.Level, n.size)
	}
	hashes, ok := n.tiles[c]
	if !ok {
		b, err := n.store.Read(ctx, c)
		if err != nil {
			return leaf.Hash{}, err
		}
		if hashes, err = tile.Hashes(b, c.Width); err != nil {
			return leaf.Hash{}, fmt.Errorf("reading %s: %w", n.store.Where(c), err)
		}
		if n.tiles == nil {
			n.tiles = make(map[tile.Coord][][32]byte)
		}
		n.tiles[c] = hashes
	}
	return perfect(hashes[at : at+1<<height]), nil
}

// perfect returns the root over 2^k hashes.
func perfect(hashes [][32]byte) leaf.Hash {
	if len(hashes) == 1 {
		return hashes[0]
	}
	half := len(hashes) / 2
	l, r := perfect(hashes[:half]), perfect(hashes[half:])
	return leaf.Hash(rfc6962.DefaultHasher.HashChildren(l[:], r[:]))
}

// peaks returns the subtrees that [0, size) consists of.
func (n *nodes) peaks(ctx context.Context, size int64) ([]node, error) {
	var peaks []node
	for _, id := range compact.RangeNodes(0, uint64(size), nil) {
		h, err := n.get(ctx, id)
		if err != nil {
			return nil, err
		}
		peaks = append(peaks, node{id, h})
	}
	return peaks, nil
}

// proof returns the hashes of a proof.
func (n *nodes) proof(ctx context.Context, of merkle.Nodes) ([]leaf.Hash, error) {
	parts := make([][]byte, 0, len(of.IDs))
	for _, id := range of.IDs {
		h, err := n.get(ctx, id)
		if err != nil {
			return nil, err
		}
		parts = append(parts, h[:])
	}
	joined, err := of.Rehash(parts, rfc6962.DefaultHasher.HashChildren)
	if err != nil {
		return nil, fmt.Errorf("joining the hashes of a proof: %w", err)
	}
	hashes := make([]leaf.Hash, 0, len(joined))
	for _, h := range joined {
		hashes = append(hashes, leaf.Hash(h))
	}
	return hashes, nil
}

// rangeOf returns a compact range that may be appended to.
func rangeOf(size int64, peaks []node) *compact.Range {
	hashes := make([][]byte, 0, len(peaks))
	for _, p := range peaks {
		hashes = append(hashes, slices.Clone(p.hash[:]))
	}
	r, err := ranges.NewRange(0, uint64(size), hashes)
	if err != nil {
		panic(err) // peaks gives as many as the range wants
	}
	return r
}

func rootOf(r *compact.Range) leaf.Hash {
	root, err := r.GetRootHash(nil)
	if err != nil {
		panic(err) // the range begins at 0
	}
	if root == nil {
		return leaf.Hash(rfc6962.DefaultHasher.EmptyRoot())
	}
	return leaf.Hash(root)
}
