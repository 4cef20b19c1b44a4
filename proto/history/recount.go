package history

import (
	"bytes"
	"errors"
	"fmt"

	"idlog/proto/trie"
)

// ErrDisagrees is in the errors of a Recount that comes to another revision than Append did. Nobody can tell which of the two
// erred: what was appended is not to be believed, and not to be built upon.
var ErrDisagrees = errors.New("a second computation has other roots")

// Recount computes the last revision again, as a second computation beside Append's, from its entries, which the caller
// has read again. It is nil if both come to the same. The rows as they were before are the one thing that both have in
// common: they are believed because the map root of the revision before is computed from them once more. If that is not
// what it was, the error is ErrDamaged. So the last revision is right if the one before was. Config.Recount was set.
func (x *Index) Recount(entries []Entry) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.work.found == nil {
		return errors.New("computing the index again: Config.Recount was not set")
	}
	after := x.state.Load()
	if x.before == nil { // nothing was appended yet
		x.before = after
	}
	r := recount{entries: entries, first: x.before.size, keys: x.before.keys, found: *x.work.found}
	if err := r.run(x.top, x.before, after); err != nil {
		return fmt.Errorf("computing the index again: %w", err)
	}
	return nil
}

type recount struct {
	entries []Entry
	first   int64 // index of the first entry
	keys    int64
	found   found // what is left of it
	at      int   // where the rows of the next bucket begin
	list    list
	was, is []twig // of one bucket
}

// A step is a node of the top, as it was and as it becomes.
type step struct {
	node    uint32
	was, is Hash
}

func (r *recount) run(t *top, before, after *revision) error {
	pairs := new(sorter).sort(pairsOf(r.entries, nil))
	steps := make([]step, 0, len(r.found.buckets))
	for len(pairs) > 0 {
		node, end := t.span(pairs)
		if len(r.found.buckets) == 0 || r.found.buckets[0].node != node {
			return fmt.Errorf("%w: it has keys among those from %x on", ErrDisagrees, t.first(node))
		}
		s, err := r.bucket(pairs[:end])
		if err != nil {
			return err
		}
		steps = append(steps, s)
		pairs = pairs[end:]
	}
	if len(r.found.buckets) > 0 {
		return fmt.Errorf("%w: it has no keys among those from %x on", ErrDisagrees, t.first(r.found.buckets[0].node))
	}
	was, is := before.mapRoot, before.mapRoot
	if len(steps) > 0 {
		for depth := t.depth - 1; depth >= 0; depth-- {
			steps = t.ascend(steps, depth)
		}
		if was, is = steps[0].was, steps[0].is; before.keys == 0 {
			was = trie.Empty()
		}
	}
	switch size := before.size + int64(len(r.entries)); {
	case was != before.mapRoot:
		return fmt.Errorf("%w: the revision of %d entries no longer has its map root", ErrDamaged, before.size)
	case size != after.size || r.keys != after.keys || is != after.mapRoot:
		return fmt.Errorf("%w of the first %d entries, not %d: %d keys, map root %x", ErrDisagrees, size, after.size, r.keys, is)
	}
	return nil
}

// ascend returns the nodes of a depth above steps, which are all that changed of the depth below, in order.
func (t *top) ascend(steps []step, depth int) []step {
	above := steps[:0]
	for i := 0; i < len(steps); i++ {
		s := &steps[i]
		a := step{node: s.node / 2}
		switch {
		case s.node&1 == 1:
			l := t.nodes[s.node-1]
			a.was, a.is = join(depth, l, s.was), join(depth, l, s.is)
		case i+1 < len(steps) && steps[i+1].node == s.node+1:
			i++
			r := &steps[i]
			a.was, a.is = join(depth, s.was, r.was), join(depth, s.is, r.is)
		default:
			r := t.nodes[s.node+1]
			a.was, a.is = join(depth, s.was, r), join(depth, s.is, r)
		}
		above = append(above, a)
	}
	return above
}

// bucket adds the pairs that fall in the next bucket to its rows.
func (r *recount) bucket(pairs []pair) (step, error) {
	r.was, r.is = r.was[:0], r.is[:0]
	b := r.found.buckets[0]
	r.found.buckets = r.found.buckets[1:]
	for rows := r.found.rows[r.at:b.end]; len(rows) > 0; {
		if len(rows) < 32 {
			return step{}, fmt.Errorf("%w: what was found of it", ErrDamaged)
		}
		key := Hash(rows[:32])
		length, rest, ok := uvarint(rows[32:])
		if !ok || length > int64(len(rest)) {
			return step{}, fmt.Errorf("%w: the row of key %x", ErrDamaged, key)
		}
		rows = rest[length:]
		for len(pairs) > 0 && bytes.Compare(pairs[0].key[:], key[:]) < 0 {
			r.list.n, r.list.tree = 0, r.list.tree[:0]
			pairs = r.add(pairs)
		}
		if err := r.list.parse(rest[:length]); err != nil {
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
	r.at = b.end
	s := step{node: b.node, is: root(r.is)}
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
			p := trie.Posting{Index: r.first + int64(e), Leaf: r.entries[e].Leaf}
			r.list.tree = r.list.tree.push(r.list.n, p.Hash(), nil)
			r.list.n++
			last = e
		}
	}
	r.keys++
	r.is = append(r.is, twig{key, trie.Leaf(key, r.list.head().Hash())})
	return pairs
}
