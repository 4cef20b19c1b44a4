package history

import (
	"bytes"
	"errors"
	"fmt"

	"idlog/proto/trie"
)

// Recount computes what the entries after a view lead to, as a second computation beside Append's: how many keys there are
// then, and the map root. It reads the rows from the view's snapshot again and believes nothing that is in memory, for it
// computes the view's own root again from the same parts; if that is another than it was, the error is ErrDamaged.
func (v *View) Recount(entries []Entry) (keys int64, root Hash, err error) {
	r := recount{view: v, entries: entries, keys: v.state.Keys}
	if keys, root, err = r.run(); err != nil {
		return 0, Hash{}, fmt.Errorf("computing the index again: %w", err)
	}
	return keys, root, nil
}

type recount struct {
	view    *View
	entries []Entry
	cursor  Cursor
	keys    int64
	seek    []byte
	list    list
	was, is []twig // of one bucket
}

// A step is a node of the top, as it was and as it becomes.
type step struct {
	node    uint32
	was, is Hash
}

func (r *recount) run() (keys int64, root Hash, err error) {
	v := r.view
	n := 0
	for i := range r.entries {
		n += len(r.entries[i].Keys)
	}
	pairs := make([]pair, 0, n)
	for i := range r.entries {
		for _, k := range r.entries[i].Keys {
			pairs = append(pairs, pair{k, int32(i)})
		}
	}
	if len(pairs) == 0 {
		return r.keys, v.state.MapRoot, nil
	}
	pairs = new(sorter).sort(pairs)
	if r.cursor, err = v.snap.Scan([]byte{kindList}, []byte{kindList + 1}); err != nil {
		return 0, Hash{}, err
	}
	defer func() { err = errors.Join(err, r.cursor.Close()) }()
	var steps []step
	for len(pairs) > 0 {
		node := v.top.bucket(&pairs[0].key)
		end := 1
		for end < len(pairs) && v.top.bucket(&pairs[end].key) == node {
			end++
		}
		s, err := r.bucket(node, pairs[:end])
		if err != nil {
			return 0, Hash{}, err
		}
		steps = append(steps, s)
		pairs = pairs[end:]
	}
	for depth := v.top.depth - 1; depth >= 0; depth-- {
		steps = v.climb(steps, depth)
	}
	was := steps[0].was
	if v.state.Keys == 0 {
		was = trie.Empty()
	}
	if was != v.state.MapRoot {
		return 0, Hash{}, fmt.Errorf("%w: the revision of %d entries no longer has its map root", ErrDamaged, v.state.Size)
	}
	return r.keys, steps[0].is, nil
}

// climb returns the nodes of a depth above steps, which are all that change of the depth below, in order.
func (v *View) climb(steps []step, depth int) []step {
	v.top.mu.RLock()
	defer v.top.mu.RUnlock()
	above := steps[:0]
	for i := 0; i < len(steps); i++ {
		l := steps[i]
		r := step{}
		if i+1 < len(steps) && steps[i+1].node == l.node|1 && l.node&1 == 0 {
			r = steps[i+1]
			i++
		} else {
			other := v.top.node(v.undo, l.node^1)
			r = step{was: other, is: other}
			if l.node&1 == 1 {
				l, r = r, l
			}
		}
		node := steps[i].node / 2
		above = append(above, step{node, join(depth, l.was, r.was), join(depth, l.is, r.is)})
	}
	return above
}

// bare reports whether a bucket had no keys, which the view's root says as well.
func (v *View) bare(node uint32) bool {
	v.top.mu.RLock()
	defer v.top.mu.RUnlock()
	return v.top.node(v.undo, node) == Hash{}
}

// bucket reads the rows of a bucket and adds the pairs that fall in it.
func (r *recount) bucket(node uint32, pairs []pair) (step, error) {
	r.was, r.is = r.was[:0], r.is[:0]
	ok := !r.view.bare(node)
	if ok {
		r.seek = listKey(r.seek, r.view.top.first(node))
		ok = r.cursor.Seek(r.seek)
	}
	for ; ok; ok = r.cursor.Next() {
		k := r.cursor.Key()
		if len(k) != 33 {
			return step{}, fmt.Errorf("%w: a row of %d bytes of key", ErrDamaged, len(k))
		}
		key := Hash(k[1:])
		if r.view.top.bucket(&key) != node {
			break
		}
		for len(pairs) > 0 && bytes.Compare(pairs[0].key[:], key[:]) < 0 {
			r.list.n, r.list.tree = 0, r.list.tree[:0]
			pairs = r.add(pairs)
		}
		if err := r.list.parse(r.cursor.Value()); err != nil {
			return step{}, fmt.Errorf("%w: the row of key %x", ErrDamaged, key)
		}
		t := twig{key, trie.Leaf(key, r.list.head().Hash())}
		r.was = append(r.was, t)
		if len(pairs) > 0 && pairs[0].key == key {
			r.keys-- // add counts it again
			pairs = r.add(pairs)
		} else {
			r.is = append(r.is, t)
		}
	}
	for len(pairs) > 0 {
		r.list.n, r.list.tree = 0, r.list.tree[:0]
		pairs = r.add(pairs)
	}
	s := step{node: node, is: root(r.is)}
	if len(r.was) > 0 {
		s.was = root(r.was)
	}
	return s, nil
}

// add appends the pairs of the first key to the list and takes its twig down. It returns the other pairs.
func (r *recount) add(pairs []pair) []pair {
	key := pairs[0].key
	for last := int32(-1); len(pairs) > 0 && pairs[0].key == key; pairs = pairs[1:] {
		if e := pairs[0].entry; e != last { // a key that an entry has twice counts once
			p := trie.Posting{Index: r.view.state.Size + int64(e), Leaf: r.entries[e].Leaf}
			r.list.tree = r.list.tree.push(r.list.n, p.Hash(), nil)
			r.list.n++
			last = e
		}
	}
	r.keys++
	r.is = append(r.is, twig{key, trie.Leaf(key, r.list.head().Hash())})
	return pairs
}
