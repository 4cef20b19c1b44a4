package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	ilog "idlog/log"
	"idlog/proto/history"
	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/trie"
)

var ranges = compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}

// recount is the second computation, SPEC F25. It reads the entries between two revisions from disk again, adds what they bring to
// the lists of the earlier one, each of which its path proves under the earlier map root, and computes the map root that
// follows from these paths alone: neither the engine's arithmetic, nor anything that it holds in memory, has part in it. So
// if the earlier root is right, the later one is.
func (x *Index) recount(ctx context.Context, before, after *revision, head ilog.Published) error {
	began := time.Now()
	from, to := before.state, after.state
	reader := x.reader(head)
	logRoot, err := reader.Root(ctx, to.Size)
	if err != nil {
		return err
	}
	var found []posting
	for e, err := range reader.Entries(ctx, from.Size, to.Size) {
		if err != nil {
			return err
		}
		for _, k := range mapfn.OfEntry(e.Data) {
			found = append(found, posting{k, trie.Posting{Index: e.Index, Leaf: e.Hash}})
		}
	}
	// Of one key they are in the order of the log already.
	slices.SortStableFunc(found, func(a, b posting) int { return bytes.Compare(a.key[:], b.key[:]) })
	var changes []change
	keys := from.Keys
	for len(found) > 0 {
		n := 1
		for n < len(found) && found[n].key == found[0].key {
			n++
		}
		c, err := before.change(found[:n])
		if err != nil {
			return err
		}
		if c.fresh {
			keys++
		}
		changes = append(changes, c)
		found = found[n:]
	}
	old, now, err := roots(changes)
	if err != nil {
		return x.fault(fmt.Sprintf("the index of %d entries does not prove what it has: %v", from.Size, err), nil)
	}
	x.cfg.Metrics.recount.Since(began)
	want := history.State{Size: to.Size, LogRoot: logRoot, Keys: keys, MapRoot: now}
	if len(changes) == 0 {
		want.MapRoot = from.MapRoot
	} else if old != from.MapRoot {
		return x.fault(fmt.Sprintf("the index of %d entries no longer has the root that it had", from.Size), nil)
	}
	if want != to {
		return x.fault(fmt.Sprintf("a second computation gives other roots of the first %d entries: log root %x, %d keys, map root %x", to.Size, want.LogRoot, want.Keys, want.MapRoot), nil)
	}
	return nil
}

// posting is one under its key.
type posting struct {
	key leaf.Hash
	trie.Posting
}

// A change is a key whose list has grown: where it stood in the trie before, and its head now.
type change struct {
	key   leaf.Hash
	path  trie.Path
	head  leaf.Hash
	fresh bool
}

// change returns what postings of one key make of the list that it had.
func (r *revision) change(added []posting) (change, error) {
	c := change{key: added[0].key}
	path, head, err := r.view.Find(c.key)
	if err != nil {
		return c, err
	}
	c.path, c.fresh = path, head.N == 0
	var peaks [][]byte
	if !c.fresh {
		page, err := r.view.Page(c.key, head.N, 0)
		if err != nil {
			return c, err
		}
		if err := page.Verify(head, r.state.Size); err != nil {
			return c, err
		}
		for i := range page.Left {
			peaks = append(peaks, page.Left[i][:])
		}
	}
	list, err := ranges.NewRange(0, uint64(head.N), peaks)
	if err != nil {
		return c, err
	}
	for _, p := range added {
		h := p.Hash()
		if err := list.Append(h[:], nil); err != nil {
			return c, err
		}
	}
	root, err := list.GetRootHash(nil)
	if err != nil {
		return c, err
	}
	c.head = trie.Head{N: head.N + int64(len(added)), Root: leaf.Hash(root)}.Hash()
	return c, nil
}

var errPaths = errors.New("paths of one trie contradict each other")

// roots returns the root of the trie that the paths of the changes are of, and what it becomes by them. The keys ascend
// strictly. Every other part of the trie is a hash in some path.
func roots(changes []change) (before, after leaf.Hash, err error) {
	switch {
	case len(changes) == 0:
		return trie.Empty(), trie.Empty(), nil
	case !changes[0].path.Found:
		var twigs []twig
		for i := range changes {
			if changes[i].path.Found {
				return before, after, errPaths
			}
			twigs = append(twigs, changes[i].twig())
		}
		return trie.Empty(), join(twigs).hash, nil
	}
	old, now, err := subtrie(changes, 0)
	return old.hash, now.hash, err
}

// A twig is a part of the trie: its hash and any key in it.
type twig struct{ key, hash leaf.Hash }

func (c *change) twig() twig { return twig{c.key, trie.Leaf(c.key, c.head)} }

// subtrie returns the part of the trie that the searches for all these keys come to after so many steps from the root, as it
// was and as it becomes. Keys that part from it above its first node are put beside it.
func subtrie(changes []change, steps int) (before, after twig, err error) {
	p := &changes[0].path
	for i := range changes {
		q := &changes[i].path
		if !q.Found || len(q.Steps) < steps || (len(q.Steps) == steps) != (len(p.Steps) == steps) {
			return before, after, errPaths
		}
	}
	left := len(p.Steps) - steps // steps that are left, the next of which is the last of them
	if left == 0 {
		return bottom(changes)
	}
	depth := p.Steps[left-1].Depth
	within := changes[:0:0]
	var beside []twig
	for i := range changes {
		c := &changes[i]
		if c.path.Steps[len(c.path.Steps)-steps-1].Depth != depth {
			return before, after, errPaths
		}
		if trie.Parting(c.key, c.path.Terminal) < depth {
			beside = append(beside, c.twig())
		} else if len(within) == 0 {
			within = changes[i : i+1]
		} else {
			within = within[:len(within)+1] // they stand together
		}
	}
	before = twig{key: p.Terminal, hash: fold(p, left)}
	after = before
	if len(within) > 0 {
		if before, after, err = node(within, steps, depth); err != nil {
			return before, after, err
		}
	}
	return before, join(insert(beside, after)), nil
}

// node is subtrie for keys that belong below its first node.
func node(changes []change, steps, depth int) (before, after twig, err error) {
	split := sort.Search(len(changes), func(i int) bool { return trie.Bit(changes[i].key, depth) == 1 })
	var old, now [2]leaf.Hash
	for bit, side := range [2][]change{changes[:split], changes[split:]} {
		if len(side) == 0 {
			other := &changes[0].path // which goes the other way
			old[bit] = other.Steps[len(other.Steps)-steps-1].Sibling
			now[bit] = old[bit]
			continue
		}
		b, a, err := subtrie(side, steps+1)
		if err != nil {
			return before, after, err
		}
		old[bit], now[bit] = b.hash, a.hash
	}
	key := changes[0].path.Terminal
	return twig{key, trie.Node(depth, old[0], old[1])}, twig{key, trie.Node(depth, now[0], now[1])}, nil
}

// bottom is subtrie where the searches end, at one leaf.
func bottom(changes []change) (before, after twig, err error) {
	p := &changes[0].path
	before = twig{p.Terminal, trie.Leaf(p.Terminal, p.Head)}
	twigs := make([]twig, 0, len(changes)+1)
	stays := true
	for i := range changes {
		c := &changes[i]
		if c.path.Terminal != p.Terminal || c.path.Head != p.Head {
			return before, after, errPaths
		}
		stays = stays && c.key != p.Terminal
		twigs = append(twigs, c.twig())
	}
	if stays {
		twigs = insert(twigs, before)
	}
	return before, join(twigs), nil
}

// fold returns the hash of the part of the trie that a path ends in, after the first so many of its steps, which go up.
func fold(p *trie.Path, steps int) leaf.Hash {
	h := trie.Leaf(p.Terminal, p.Head)
	for _, s := range p.Steps[:steps] {
		if trie.Bit(p.Terminal, s.Depth) == 0 {
			h = trie.Node(s.Depth, h, s.Sibling)
		} else {
			h = trie.Node(s.Depth, s.Sibling, h)
		}
	}
	return h
}

// insert puts a twig at its place among others.
func insert(twigs []twig, t twig) []twig {
	at, _ := slices.BinarySearchFunc(twigs, t, func(a, b twig) int { return bytes.Compare(a.key[:], b.key[:]) })
	return slices.Insert(twigs, at, t)
}

// join returns the trie of parts that ascend.
func join(twigs []twig) twig {
	if len(twigs) == 1 {
		return twigs[0]
	}
	depth := trie.Parting(twigs[0].key, twigs[len(twigs)-1].key)
	split := sort.Search(len(twigs), func(i int) bool { return trie.Bit(twigs[i].key, depth) == 1 })
	return twig{twigs[0].key, trie.Node(depth, join(twigs[:split]).hash, join(twigs[split:]).hash)}
}
