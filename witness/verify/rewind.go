package verify

import (
	"fmt"

	"idlog/proto/history"
	"idlog/proto/leaf"
	"idlog/proto/trie"
)

// rewind returns the number of keys and the map root of the index over the entries
// [0, n), from a view of more and the keys, each at least once, of the entries that
// the view has from n on. A list is cut to its postings before n, whose root the
// page that begins there proves; a key without any is taken out of the trie, and
// the node above it goes with it.
func rewind(v *history.View, n int64, keys []leaf.Hash) (count int64, root leaf.Hash, err error) {
	var touched []twig
	seen := make(map[leaf.Hash]bool, len(keys))
	count = v.State().Keys
	for _, k := range keys {
		if seen[k] {
			continue
		}
		seen[k] = true
		path, head, err := v.Find(k)
		if err != nil {
			return 0, root, err
		}
		if head.N == 0 {
			return 0, root, fmt.Errorf("going back to size %d: the index lacks key %x of a later entry", n, k)
		}
		t := twig{key: k, steps: path.Steps}
		before, err := v.Seek(k, n)
		if err != nil {
			return 0, root, err
		}
		if before == 0 {
			count--
		} else {
			page, err := v.Page(k, before, 1)
			if err != nil {
				return 0, root, err
			}
			if t.head, err = page.Before(); err != nil {
				return 0, root, err
			}
		}
		touched = append(touched, t)
	}
	if len(touched) == 0 {
		return count, v.State().MapRoot, nil
	}
	root, ok := pruned(touched)
	if !ok {
		root = trie.Empty()
	}
	return count, root, nil
}

// A twig is a key of the trie with the way to it, and its list at the size that is
// gone back to: the zero Head if it has none.
type twig struct {
	key   leaf.Hash
	head  trie.Head
	steps []trie.Step // those above it that pruned has not come to; the last is the topmost
}

// pruned returns the hash of the subtree that all these twigs, and what stands
// beside them, are in; false if nothing is left of it. It uses up their steps.
func pruned(twigs []twig) (hash leaf.Hash, ok bool) {
	steps := twigs[0].steps
	if len(steps) == 0 { // a leaf, so the only twig
		return trie.Leaf(twigs[0].key, twigs[0].head.Hash()), twigs[0].head.N > 0
	}
	top := steps[len(steps)-1]
	var sides [2][]twig
	for _, t := range twigs {
		t.steps = t.steps[:len(t.steps)-1]
		bit := trie.Bit(t.key, top.Depth)
		sides[bit] = append(sides[bit], t)
	}
	var hashes [2]leaf.Hash
	var left [2]bool
	for i, side := range sides {
		if len(side) == 0 { // nothing there has changed
			hashes[i], left[i] = top.Sibling, true
			continue
		}
		hashes[i], left[i] = pruned(side)
	}
	switch {
	case left[0] && left[1]:
		return trie.Node(top.Depth, hashes[0], hashes[1]), true
	case left[0]:
		return hashes[0], true
	default:
		return hashes[1], left[1]
	}
}
