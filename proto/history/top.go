package history

import (
	"cmp"
	"math/bits"
	"slices"
	"sort"
	"sync"

	"idlog/proto/trie"
)

// A top is the upper part of the trie, in memory: for each of the 2^depth buckets, which are the keys that begin with the
// same depth bits, the root of the bucket's own trie, and what they make together. Node 1 is the root, the children of i
// are 2i and 2i+1, the bucket of the bits b is node 2^depth + b. Zeros stand where there is no key; a node with keys on
// one side only is its child.
type top struct {
	depth int
	mu    sync.RWMutex
	nodes []Hash // written by the owner of the Index, who alone may read without mu
	// newest is the last of the undos of open views, nil if there are none.
	newest *undo
}

// An undo holds what nodes were before they were changed for the first time after its view was taken and before the next
// one was. So the nodes of a view are those in its undo, else in the next one's, and so on, else in the top itself.
type undo struct {
	old        []change // in the order of climb
	prev, next *undo
}

// A change is a node's new hash.
type change struct {
	node uint32
	hash Hash
}

func newTop(depth int) *top { return &top{depth: depth, nodes: make([]Hash, 2<<depth)} }

// bucket returns the node of a key's bucket.
func (t *top) bucket(key *Hash) uint32 {
	first := uint32(key[0])<<24 | uint32(key[1])<<16 | uint32(key[2])<<8 | uint32(key[3])
	return uint32(1<<t.depth | uint64(first)>>(32-t.depth))
}

// first returns the least key of a bucket.
func (t *top) first(node uint32) Hash {
	b := uint32(uint64(node-1<<t.depth) << (32 - t.depth))
	return Hash{byte(b >> 24), byte(b >> 16), byte(b >> 8), byte(b)}
}

// climb extends the changes of buckets, which ascend, by all that follows from them above, depth by depth. The last is the root's.
//
// The children are fetched some at a time, and then hashed: their memory is far apart, and one is waited for while
// the next is on its way.
func (t *top) climb(changes []change) []change {
	var below [64]struct{ l, r Hash }
	from := 0
	for depth := t.depth - 1; depth >= 0; depth-- {
		to := len(changes)
		for i := from; i < to; {
			n := 0
			for ; i < to && n < len(below); n++ {
				c := changes[i]
				i++
				b := &below[n]
				switch {
				case c.node&1 == 1:
					b.l, b.r = t.nodes[c.node-1], c.hash
				case i < to && changes[i].node == c.node+1:
					b.l, b.r = c.hash, changes[i].hash
					i++
				default:
					b.l, b.r = c.hash, t.nodes[c.node+1]
				}
				changes = append(changes, change{node: c.node / 2})
			}
			above := changes[len(changes)-n:]
			for j := range above {
				above[j].hash = join(depth, below[j].l, below[j].r)
			}
		}
		from = to
	}
	return changes
}

func join(depth int, l, r Hash) Hash {
	switch {
	case l == Hash{}:
		return r
	case r == Hash{}:
		return l
	}
	return trie.Node(depth, l, r)
}

// apply makes the changes, which are in the order of climb. Readers get in between, and see in each view what it always had.
func (t *top) apply(changes []change) {
	t.mu.RLock()
	viewed := t.newest != nil
	t.mu.RUnlock()
	if viewed {
		old := make([]change, len(changes))
		for i, c := range changes {
			old[i] = change{c.node, t.nodes[c.node]}
		}
		t.mu.Lock()
		if t.newest != nil {
			t.newest.old = together(t.newest.old, old)
		}
		t.mu.Unlock()
	}
	const step = 1024
	for len(changes) > 0 {
		some := changes[:min(step, len(changes))]
		changes = changes[len(some):]
		t.mu.Lock()
		for i := range some {
			t.nodes[some[i].node] = some[i].hash
		}
		t.mu.Unlock()
	}
}

// order compares nodes by the order of climb: from below, and from the left.
func order(a, b uint32) int { return cmp.Or(bits.Len32(b)-bits.Len32(a), cmp.Compare(a, b)) }

// together returns both, and of a node that both have the first.
func together(first, then []change) []change {
	if len(first) == 0 {
		return then
	}
	all := make([]change, 0, len(first)+len(then))
	for len(first) > 0 && len(then) > 0 {
		c := order(first[0].node, then[0].node)
		if c <= 0 {
			all, first = append(all, first[0]), first[1:]
		} else {
			all = append(all, then[0])
		}
		if c >= 0 {
			then = then[1:]
		}
	}
	return append(append(all, first...), then...)
}

func (t *top) open() *undo {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := &undo{prev: t.newest}
	if u.prev != nil {
		u.prev.next = u
	}
	t.newest = u
	return u
}

// close forgets a view: what it had kept for older ones goes to the one before.
func (t *top) close(u *undo) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if u.prev != nil {
		u.prev.old = together(u.prev.old, u.old)
		u.prev.next = u.next
	}
	if u.next != nil {
		u.next.prev = u.prev
	} else {
		t.newest = u.prev
	}
	u.old = nil
}

// node returns a node as a view has it; mu is held.
func (t *top) node(u *undo, node uint32) Hash {
	for ; u != nil; u = u.next {
		if i, ok := slices.BinarySearchFunc(u.old, node, func(c change, node uint32) int { return order(c.node, node) }); ok {
			return u.old[i].hash
		}
	}
	return t.nodes[node]
}

// find goes from the root to the bucket where the search for a key ends, in a view, and returns the steps on its way,
// from the root on. There are keys.
func (t *top) find(u *undo, key Hash) (bucket uint32, steps []trie.Step) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	steps = make([]trie.Step, 0, t.depth+8)
	node := uint32(1)
	for depth := range t.depth {
		l, r := t.node(u, 2*node), t.node(u, 2*node+1)
		switch {
		case l == Hash{}:
			node = 2*node + 1
		case r == Hash{}:
			node = 2 * node
		case trie.Bit(key, depth) == 0:
			steps = append(steps, trie.Step{Depth: depth, Sibling: r})
			node = 2 * node
		default:
			steps = append(steps, trie.Step{Depth: depth, Sibling: l})
			node = 2*node + 1
		}
	}
	return node, steps
}

// A twig is a leaf of the trie: a key and the hash of its leaf.
type twig struct{ key, hash Hash }

// root returns the root of the trie of some keys, which ascend and are not none.
func root(twigs []twig) Hash {
	if len(twigs) == 1 {
		return twigs[0].hash
	}
	depth, split := part(twigs)
	return trie.Node(depth, root(twigs[:split]), root(twigs[split:]))
}

// part returns the first bit in which two or more keys, which ascend, differ, and the number of the first that has it.
func part(twigs []twig) (depth, split int) {
	depth = trie.Parting(twigs[0].key, twigs[len(twigs)-1].key)
	return depth, sort.Search(len(twigs), func(i int) bool { return trie.Bit(twigs[i].key, depth) == 1 })
}
