package history_test

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"

	"idlog/proto/history"
	"idlog/proto/trie"
)

// What follows is SPEC 2.12 as it is written, with maps and recursion. The engine must say the same.

func sum(parts ...[]byte) (h trie.Hash) {
	d := sha256.New()
	for _, p := range parts {
		d.Write(p)
	}
	return trie.Hash(d.Sum(nil))
}

func u64(n int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

// treeRoot is the root of an RFC 6962 tree over leaf hashes.
func treeRoot(leaves []trie.Hash) trie.Hash {
	switch len(leaves) {
	case 0:
		return sum()
	case 1:
		return leaves[0]
	}
	k := 1
	for 2*k < len(leaves) {
		k *= 2
	}
	l, r := treeRoot(leaves[:k]), treeRoot(leaves[k:])
	return sum([]byte{1}, l[:], r[:])
}

// trieRoot is T(S), for the keys that agree in the bits before depth.
func trieRoot(heads map[trie.Hash]trie.Hash, depth int) trie.Hash {
	if len(heads) == 1 {
		for key, head := range heads {
			return sum([]byte{2}, key[:], head[:])
		}
	}
	sides := [2]map[trie.Hash]trie.Hash{{}, {}}
	for key, head := range heads {
		sides[key[depth/8]>>(7-depth%8)&1][key] = head
	}
	for _, side := range sides {
		if len(side) == len(heads) {
			return trieRoot(heads, depth+1)
		}
	}
	l, r := trieRoot(sides[0], depth+1), trieRoot(sides[1], depth+1)
	return sum([]byte{3, byte(depth)}, l[:], r[:])
}

// oracle is the index over some entries.
type oracle struct {
	state history.State
	lists map[trie.Hash][]trie.Posting
}

func oracleOf(entries []history.Entry) oracle {
	o := oracle{lists: make(map[trie.Hash][]trie.Posting)}
	var leaves []trie.Hash
	for i, e := range entries {
		leaves = append(leaves, e.Leaf)
		for _, k := range e.Keys {
			o.lists[k] = append(o.lists[k], trie.Posting{Index: int64(i), Leaf: e.Leaf})
		}
	}
	heads := make(map[trie.Hash]trie.Hash)
	for key, list := range o.lists {
		heads[key] = o.head(key).Hash()
		_ = list
	}
	o.state = history.State{Size: int64(len(entries)), LogRoot: treeRoot(leaves), Keys: int64(len(heads)), MapRoot: sum([]byte{4})}
	if len(heads) > 0 {
		o.state.MapRoot = trieRoot(heads, 0)
	}
	return o
}

func (o oracle) head(key trie.Hash) trie.Head {
	var leaves []trie.Hash
	for _, p := range o.lists[key] {
		leaves = append(leaves, sum([]byte{0}, u64(int(p.Index)), p.Leaf[:]))
	}
	if len(leaves) == 0 {
		return trie.Head{}
	}
	return trie.Head{N: int64(len(leaves)), Root: treeRoot(leaves)}
}

// world makes entries: some keys come all the time, some now and then, some once, and some have the first 9 bytes in common.
func world(seed uint64, n int) []history.Entry {
	r := rand.New(rand.NewPCG(seed, 1))
	key := func(kind string, i int) trie.Hash { return sum([]byte(kind), u64(i)) }
	entries := make([]history.Entry, n)
	for i := range entries {
		keys := map[trie.Hash]bool{key("hot", r.IntN(2)): true}
		if r.IntN(10) > 0 {
			keys[key("warm", r.IntN(40))] = true
			keys[key("once", i)] = true
		}
		if r.IntN(20) == 0 {
			k := key("near", 0)
			copy(k[9:], u64(r.IntN(30)*64))
			keys[k] = true
		}
		if r.IntN(50) == 0 {
			clear(keys)
		}
		entries[i].Leaf = key("leaf", i)
		for k := range keys {
			entries[i].Keys = append(entries[i].Keys, k)
		}
	}
	return entries
}
