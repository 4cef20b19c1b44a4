package prototest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/proof"
	"idlog/proto/trie"
)

// An Index is the verifiable index of some entries, computed anew for every
// question as SPEC 2.12 defines it: slow, and nothing of it is shared with the
// engine or with the code that verifies. It is what both are held to.
//
// It may also be any other map, true or not: NewIndex takes the lists as given.
type Index struct {
	// Lists are the postings of each key, ascending.
	Lists map[leaf.Hash][]trie.Posting

	entries int64
	root    leaf.Hash // of the log over the entries
	keys    []leaf.Hash
}

// NewIndex returns the index that has these lists, of a log without entries.
func NewIndex(lists map[leaf.Hash][]trie.Posting) *Index {
	x := &Index{Lists: lists, root: tree(nil)}
	for k := range lists {
		x.keys = append(x.keys, k)
	}
	slices.SortFunc(x.keys, func(a, b leaf.Hash) int { return bytes.Compare(a[:], b[:]) })
	return x
}

// IndexOf returns the index over the entries of a log, from the first on.
func IndexOf(entries [][]byte) *Index {
	lists := make(map[leaf.Hash][]trie.Posting)
	var leaves []leaf.Hash
	for i, e := range entries {
		p := trie.Posting{Index: int64(i), Leaf: leaf.HashOf(e)}
		leaves = append(leaves, p.Leaf)
		for _, k := range mapfn.OfEntry(e) {
			lists[k] = append(lists[k], p)
		}
	}
	x := NewIndex(lists)
	x.entries, x.root = int64(len(entries)), tree(leaves)
	return x
}

// Root returns the root leaf of the index for a log of that origin: all that is
// to be said of its state.
func (x *Index) Root(origin string, millis int64) *leaf.Root {
	return &leaf.Root{Origin: origin, N: x.entries, LogRoot: x.root, MapFn: leaf.MapFn,
		Keys: int64(len(x.keys)), MapRoot: x.top(x.keys), Millis: millis}
}

// Head returns the head of the key's list, which is zero if the key is absent.
func (x *Index) Head(key leaf.Hash) trie.Head {
	l := x.Lists[key]
	if len(l) == 0 {
		return trie.Head{}
	}
	return trie.Head{N: int64(len(l)), Root: tree(postings(l))}
}

// Path returns the way to where the search for the key ends, and the head of
// its list, which is zero if the key is absent.
func (x *Index) Path(key leaf.Hash) (trie.Path, trie.Head) {
	if len(x.keys) == 0 {
		return trie.Path{}, trie.Head{}
	}
	p := trie.Path{Found: true}
	keys := x.keys
	for len(keys) > 1 {
		d, middle := part(keys)
		mine, others := keys[:middle], keys[middle:]
		if bit(key, d) == 1 {
			mine, others = others, mine
		}
		p.Steps = append(p.Steps, trie.Step{Depth: d, Sibling: x.top(others)})
		keys = mine
	}
	slices.Reverse(p.Steps)
	p.Terminal, p.Head = keys[0], x.headHash(keys[0])
	return p, x.Head(key)
}

// Page returns count postings of the key's list from number start on.
func (x *Index) Page(key leaf.Hash, start, count int64) trie.Page {
	l := x.Lists[key]
	hashes := postings(l)
	return trie.Page{Start: start, Postings: slices.Clone(l[start : start+count]),
		Left: subtrees(hashes, 0, start), Right: subtrees(hashes, start+count, int64(len(l)))}
}

// top returns the root of the trie of some keys, which ascend.
func (x *Index) top(keys []leaf.Hash) leaf.Hash {
	switch len(keys) {
	case 0:
		return hash([]byte{4})
	case 1:
		head := x.headHash(keys[0])
		return hash([]byte{2}, keys[0][:], head[:])
	}
	d, middle := part(keys)
	l, r := x.top(keys[:middle]), x.top(keys[middle:])
	return hash([]byte{3, byte(d)}, l[:], r[:])
}

func (x *Index) headHash(key leaf.Hash) leaf.Hash {
	h := x.Head(key)
	return hash([]byte{5}, binary.BigEndian.AppendUint64(nil, uint64(h.N)), h.Root[:])
}

// part returns the first bit in which ascending keys differ, and how many have
// a 0 there.
func part(keys []leaf.Hash) (depth, zeros int) {
	for bit(keys[0], depth) == bit(keys[len(keys)-1], depth) {
		depth++
	}
	return depth, slices.IndexFunc(keys, func(k leaf.Hash) bool { return bit(k, depth) == 1 })
}

func bit(key leaf.Hash, depth int) byte { return key[depth/8] << (depth % 8) >> 7 }

func postings(l []trie.Posting) (hashes []leaf.Hash) {
	for _, p := range l {
		hashes = append(hashes, hash([]byte{0}, binary.BigEndian.AppendUint64(nil, uint64(p.Index)), p.Leaf[:]))
	}
	return hashes
}

func hash(parts ...[]byte) leaf.Hash { return sha256.Sum256(bytes.Join(parts, nil)) }

// tree returns the root of RFC 6962 over leaf hashes.
func tree(leaves []leaf.Hash) leaf.Hash {
	switch len(leaves) {
	case 0:
		return hash()
	case 1:
		return leaves[0]
	}
	k := 1
	for 2*k < len(leaves) {
		k *= 2
	}
	l, r := tree(leaves[:k]), tree(leaves[k:])
	return hash([]byte{1}, l[:], r[:])
}

// subtrees returns the roots of the perfect subtrees that make up the leaves
// [from, to) of a tree, from left to right.
func subtrees(leaves []leaf.Hash, from, to int64) (roots [][32]byte) {
	for from < to {
		n := int64(1)
		for from%(2*n) == 0 && from+2*n <= to {
			n *= 2
		}
		roots = append(roots, tree(leaves[from:from+n]))
		from += n
	}
	return roots
}

// AppendRoot adds the root leaf of the index over the first n entries, and
// returns where it stands.
func (l *Log) AppendRoot(n, millis int64) int64 {
	b, err := IndexOf(l.Leaves[:n]).Root(l.Origin, millis).Format()
	if err != nil {
		panic(err)
	}
	return l.Append(b)
}

// A Query asks for what stands under the key of a field and value: the whole
// list with its entries, unless it says less.
type Query struct {
	Field        uint16
	Value        leaf.Hash
	Start, Count int64 // of the page; Count 0 is all that follow, and below 0 none
	HashesOnly   bool  // not the entries
}

// IndexProof returns the index proof that answers the queries, which ascend,
// under a note of that size by the root leaf at that index.
func (l *Log) IndexProof(at, size int64, note []byte, strict bool, queries ...Query) *proof.Index {
	parsed, err := leaf.Parse(l.Leaves[at])
	if err != nil {
		panic(err)
	}
	n := parsed.(*leaf.Root).N
	p := &proof.Index{At: at, Root: l.Leaves[at], Strict: strict, Checkpoint: note}
	x := IndexOf(l.Leaves[:n])
	var known []int64
	for _, q := range queries {
		key := mapfn.Key(q.Field, q.Value)
		a := proof.Answer{Field: q.Field, Value: q.Value}
		var head trie.Head
		if a.Path, head = x.Path(key); head.N > 0 {
			count := max(q.Count, 0)
			if q.Count == 0 {
				count = head.N - q.Start
			}
			a.List = &proof.List{Head: head, Page: x.Page(key, q.Start, count), Entries: make([][]byte, count)}
			for i, post := range a.List.Page.Postings {
				known = append(known, post.Index)
				if !q.HashesOnly {
					a.List.Entries[i] = l.Leaves[post.Index]
				}
			}
		}
		p.Answers = append(p.Answers, a)
	}
	if !strict {
		known = nil
	}
	slices.Sort(known)
	from := int64(0)
	upTo := func(to int64) {
		p.Hashes = append(p.Hashes, l.Subtrees(from, to)...)
		from = to
	}
	for _, i := range slices.Compact(known) {
		upTo(i)
		from++
	}
	upTo(n)
	upTo(at)
	from++
	upTo(size)
	return p
}

// Subtrees returns the roots of the perfect subtrees that make up the entries
// [from, to), from left to right.
func (l *Log) Subtrees(from, to int64) [][32]byte {
	var leaves []leaf.Hash
	for _, e := range l.Leaves {
		leaves = append(leaves, leaf.HashOf(e))
	}
	return subtrees(leaves, from, to)
}
