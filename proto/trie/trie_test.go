package trie_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"idlog/proto/leaf"
	"idlog/proto/prototest"
	"idlog/proto/trie"
)

var update = flag.Bool("update", false, "write the vectors")

// vectors are testdata/vectors/trie.json.
type vectors struct {
	Heads []struct {
		N    int64  `json:"n"`
		Root []byte `json:"root"`
		Hash []byte `json:"hash"`
	} `json:"heads"`
	Maps    []mapVector  `json:"maps"`
	Refused []pathVector `json:"refused"`
}

type mapVector struct {
	Name  string       `json:"name"`
	Size  int64        `json:"size"` // all indexes are below it
	Lists []listVector `json:"lists"`
	Root  []byte       `json:"root"`
	Paths []pathVector `json:"paths"`
	Pages []pageVector `json:"pages"`
}

type listVector struct {
	Key      []byte          `json:"key"`
	Postings []postingVector `json:"postings"`
	Root     []byte          `json:"root"` // of the postings
	Hash     []byte          `json:"hash"` // of the head
}

type postingVector struct {
	Index int64  `json:"index"`
	Leaf  []byte `json:"leaf"`
}

type pathVector struct {
	Name     string       `json:"name,omitempty"`
	Key      []byte       `json:"key"`
	Present  bool         `json:"present"`
	Terminal []byte       `json:"terminal,omitempty"` // none: the map is empty
	Head     []byte       `json:"head,omitempty"`
	Steps    []stepVector `json:"steps,omitempty"`
	Root     []byte       `json:"root,omitempty"` // of a path by itself
}

type stepVector struct {
	Depth   int    `json:"depth"`
	Sibling []byte `json:"sibling"`
}

type pageVector struct {
	Key   []byte   `json:"key"`
	Start int64    `json:"start"`
	Count int64    `json:"count"`
	Left  [][]byte `json:"left,omitempty"`
	Right [][]byte `json:"right,omitempty"`
}

// flip returns the key with the bits of those numbers changed.
func flip(key leaf.Hash, bits ...int) leaf.Hash {
	for _, b := range bits {
		key[b/8] ^= 0x80 >> (b % 8)
	}
	return key
}

// indexOf returns the index of a list for each key, none like another, and a size above all its entries.
func indexOf(keys ...leaf.Hash) (x *prototest.Index, size int64) {
	lists := make(map[leaf.Hash][]trie.Posting)
	for i, k := range keys {
		for j := range 1 + i*i%7 {
			p := trie.Posting{Index: int64(i + 10*j), Leaf: leaf.HashOf(fmt.Appendf(nil, "entry %d", i+10*j))}
			lists[k] = append(lists[k], p)
			size = max(size, p.Index+1)
		}
	}
	return prototest.NewIndex(lists), size
}

func root(x *prototest.Index) leaf.Hash { return x.Root("", 0).MapRoot }

// randomKeys are keys that part early and late.
func randomKeys(r *rand.Rand, n int) []leaf.Hash {
	var keys []leaf.Hash
	for range n {
		var k leaf.Hash
		k[0], k[15], k[31] = byte(r.IntN(4))<<6, byte(r.IntN(4)), byte(r.IntN(4))
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b leaf.Hash) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(keys)
}

var base = leaf.Hash(bytes.Repeat([]byte{0x5a}, 32))

func made() vectors {
	var v vectors
	for _, n := range []int64{1, 2, 255, 256, 1<<63 - 1} {
		h := trie.Head{N: n, Root: leaf.HashOf(fmt.Appendf(nil, "%d", n))}
		hash := h.Hash()
		v.Heads = append(v.Heads, struct {
			N    int64  `json:"n"`
			Root []byte `json:"root"`
			Hash []byte `json:"hash"`
		}{n, h.Root[:], hash[:]})
	}
	var many []leaf.Hash
	for i := range 12 {
		many = append(many, leaf.HashOf([]byte{byte(i)}))
	}
	for _, m := range []struct {
		name         string
		keys, absent []leaf.Hash
	}{
		{"no keys", nil, []leaf.Hash{{}, base}},
		{"one key", []leaf.Hash{base}, []leaf.Hash{{}, flip(base, 255)}},
		{"keys part at bit 0", []leaf.Hash{base, flip(base, 0)}, []leaf.Hash{flip(base, 1), flip(base, 0, 255)}},
		{"keys part at bit 7", []leaf.Hash{base, flip(base, 7)}, []leaf.Hash{flip(base, 0), flip(base, 7, 8)}},
		{"keys part at bit 8", []leaf.Hash{base, flip(base, 8)}, []leaf.Hash{flip(base, 7), flip(base, 8, 255)}},
		{"keys part at bit 255", []leaf.Hash{base, flip(base, 255)}, []leaf.Hash{flip(base, 254), flip(base, 0, 255)}},
		{"keys part at bits 0, 7, 8 and 255", []leaf.Hash{base, flip(base, 0), flip(base, 7), flip(base, 8), flip(base, 255)}, []leaf.Hash{flip(base, 0, 7, 8, 255), flip(base, 9)}},
		{"twelve keys", many, []leaf.Hash{{}, base}},
	} {
		x, size := indexOf(m.keys...)
		r := root(x)
		mv := mapVector{Name: m.name, Size: size, Root: r[:], Lists: []listVector{}, Pages: []pageVector{}}
		for _, k := range m.keys {
			head := x.Head(k)
			hash := head.Hash()
			lv := listVector{Key: k[:], Root: head.Root[:], Hash: hash[:]}
			for _, p := range x.Lists[k] {
				lv.Postings = append(lv.Postings, postingVector{p.Index, p.Leaf[:]})
			}
			mv.Lists = append(mv.Lists, lv)
			mv.Pages = append(mv.Pages, pageOf(x, k, 0, head.N), pageOf(x, k, head.N/2, (head.N+1)/2), pageOf(x, k, head.N/3, head.N/3))
		}
		for _, k := range slices.Concat(m.keys, m.absent) {
			p, head := x.Path(k)
			mv.Paths = append(mv.Paths, pathOf("", k, p, head.N > 0, nil))
		}
		v.Maps = append(v.Maps, mv)
	}
	for _, l := range falsePaths() {
		v.Refused = append(v.Refused, pathOf(l.name, l.key, l.path, false, l.root[:]))
	}
	return v
}

func pathOf(name string, key leaf.Hash, p trie.Path, present bool, root []byte) pathVector {
	v := pathVector{Name: name, Key: key[:], Present: present, Root: root}
	if p.Found {
		v.Terminal, v.Head = p.Terminal[:], p.Head[:]
	}
	for _, s := range p.Steps {
		v.Steps = append(v.Steps, stepVector{s.Depth, s.Sibling[:]})
	}
	return v
}

func (v pathVector) path() trie.Path {
	p := trie.Path{Found: v.Terminal != nil}
	if p.Found {
		p.Terminal, p.Head = leaf.Hash(v.Terminal), leaf.Hash(v.Head)
	}
	for _, s := range v.Steps {
		p.Steps = append(p.Steps, trie.Step{Depth: s.Depth, Sibling: leaf.Hash(s.Sibling)})
	}
	return p
}

func pageOf(x *prototest.Index, key leaf.Hash, start, count int64) pageVector {
	p := x.Page(key, start, count)
	v := pageVector{Key: key[:], Start: start, Count: count}
	for _, h := range p.Left {
		v.Left = append(v.Left, h[:])
	}
	for _, h := range p.Right {
		v.Right = append(v.Right, h[:])
	}
	return v
}

func hashes(in [][]byte) (out []leaf.Hash) {
	for _, h := range in {
		out = append(out, leaf.Hash(h))
	}
	return out
}

// TestVectors holds this package to the vectors, which prototest's index makes.
func TestVectors(t *testing.T) {
	v := made()
	for _, m := range v.Maps {
		lists := make(map[leaf.Hash]listVector)
		for _, l := range m.Lists {
			lists[leaf.Hash(l.Key)] = l
		}
		for _, p := range m.Paths {
			present, err := p.path().Verify(leaf.Hash(p.Key), leaf.Hash(m.Root))
			if err != nil || present != p.Present {
				t.Errorf("%s: key %x: present %v: %v", m.Name, p.Key, present, err)
			}
			if l, ok := lists[leaf.Hash(p.Key)]; ok != present || ok && !bytes.Equal(l.Hash, p.Head) {
				t.Errorf("%s: key %x: head %x, the map has %x", m.Name, p.Key, p.Head, l.Hash)
			}
		}
		for _, p := range m.Pages {
			l := lists[leaf.Hash(p.Key)]
			page := trie.Page{Start: p.Start, Left: hashes(p.Left), Right: hashes(p.Right)}
			for _, q := range l.Postings[p.Start : p.Start+p.Count] {
				page.Postings = append(page.Postings, trie.Posting{Index: q.Index, Leaf: leaf.Hash(q.Leaf)})
			}
			if err := page.Verify(trie.Head{N: int64(len(l.Postings)), Root: leaf.Hash(l.Root)}, m.Size); err != nil {
				t.Errorf("%s: key %x from %d: %v", m.Name, p.Key, p.Start, err)
			}
		}
	}
	for _, p := range v.Refused {
		if present, err := p.path().Verify(leaf.Hash(p.Key), leaf.Hash(p.Root)); err == nil {
			t.Errorf("%s: accepted, present %v", p.Name, present)
		}
	}
	b, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	prototest.Golden(t, "../../testdata/vectors/trie.json", *update, append(b, '\n'))
}

// A falsePath is one that no verifier may accept.
type falsePath struct {
	name      string
	key, root leaf.Hash
	path      trie.Path
}

func falsePaths() (all []falsePath) {
	x, _ := indexOf(base, flip(base, 0), flip(base, 7), flip(base, 8), flip(base, 255))
	absent := flip(base, 9)
	add := func(name string, key leaf.Hash, change func(p *trie.Path)) {
		p, _ := x.Path(key)
		change(&p)
		all = append(all, falsePath{name, key, root(x), p})
	}
	add("the map is said to be empty", base, func(p *trie.Path) { *p = trie.Path{} })
	add("another head", base, func(p *trie.Path) { p.Head[0] ^= 1 })
	add("another key's head", base, func(p *trie.Path) { q, _ := x.Path(flip(base, 8)); p.Head = q.Head })
	add("another terminal key", base, func(p *trie.Path) { p.Terminal = flip(base, 255) })
	add("absent, for the terminal is another key of the map", base, func(p *trie.Path) { *p, _ = x.Path(flip(base, 0)) })
	add("absent, for the terminal is its neighbour", base, func(p *trie.Path) { *p, _ = x.Path(flip(base, 255)) })
	add("absent, without the last step", flip(base, 255), func(p *trie.Path) { *p, _ = x.Path(base); p.Steps = p.Steps[1:] })
	add("present, though the way leads to another key", absent, func(p *trie.Path) { p.Terminal = absent })
	add("without the first step", base, func(p *trie.Path) { p.Steps = p.Steps[1:] })
	add("without the top step", base, func(p *trie.Path) { p.Steps = p.Steps[:len(p.Steps)-1] })
	add("without steps", base, func(p *trie.Path) { p.Steps = nil })
	add("a step twice", base, func(p *trie.Path) { p.Steps = slices.Insert(p.Steps, 1, p.Steps[1]) })
	add("steps in other order", base, func(p *trie.Path) { slices.Reverse(p.Steps) })
	add("two steps swapped", base, func(p *trie.Path) { p.Steps[0], p.Steps[1] = p.Steps[1], p.Steps[0] })
	add("another sibling", base, func(p *trie.Path) { p.Steps[2].Sibling[31] ^= 1 })
	add("a sibling is the own side", base, func(p *trie.Path) {
		p.Steps[0].Sibling = trie.Leaf(p.Terminal, p.Head)
	})
	add("a negative depth", base, func(p *trie.Path) { p.Steps[3].Depth = -1 })
	add("a depth of 256", base, func(p *trie.Path) { p.Steps[0].Depth = 256 })
	x, _ = indexOf()
	add("a key of an empty map", base, func(p *trie.Path) { *p = trie.Path{Found: true, Terminal: base} })
	return all
}

// TestFalseDepth: of the depths 0 to 255 a step has one, whether the key is present or absent. That it is hashed is what
// the argument for the trie stands on.
func TestFalseDepth(t *testing.T) {
	x, _ := indexOf(base, flip(base, 0), flip(base, 7), flip(base, 8), flip(base, 255))
	for _, key := range []leaf.Hash{base, flip(base, 0), flip(base, 255), flip(base, 9), flip(base, 0, 3)} {
		p, _ := x.Path(key)
		for i, s := range p.Steps {
			for d := -1; d <= 256; d++ {
				changed := p
				changed.Steps = slices.Clone(p.Steps)
				changed.Steps[i].Depth = d
				if _, err := changed.Verify(key, root(x)); (err == nil) != (d == s.Depth) {
					t.Errorf("key %x: step %d at depth %d instead of %d: %v", key, i, d, s.Depth, err)
				}
			}
		}
	}
}

// TestPaths: of all paths of a map, a key accepts its own, and those to the same place.
func TestPaths(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		keys := randomKeys(r, 1+r.IntN(10))
		x, _ := indexOf(keys...)
		top := root(x)
		var paths []trie.Path
		all := append(keys, randomKeys(r, 10)...)
		for _, key := range all {
			p, _ := x.Path(key)
			paths = append(paths, p)
		}
		for i, key := range all {
			head := x.Head(key)
			for j, p := range paths {
				present, err := p.Verify(key, top)
				if same := reflect.DeepEqual(p, paths[i]); same != (err == nil) {
					t.Fatalf("key %x by the path of %x, the same %v: %v", key, all[j], same, err)
				}
				if err == nil && (present != (head.N > 0) || present && p.Head != head.Hash()) {
					t.Fatalf("key %x by the path of %x: present %v", key, all[j], present)
				}
			}
		}
	}
}

// A liar's trie is any tree: nodes of any depth with anything below, keys wherever and however often.
type liar struct {
	depth       int
	left, right *liar
	key, head   leaf.Hash
}

func lie(r *rand.Rand, keys []leaf.Hash, height int) *liar {
	if height == 0 || r.IntN(4) == 0 {
		return &liar{key: keys[r.IntN(len(keys))], head: leaf.Hash{byte(r.IntN(256))}}
	}
	return &liar{depth: r.IntN(5), left: lie(r, keys, height-1), right: lie(r, keys, height-1)}
}

func (l *liar) hash() leaf.Hash {
	if l.left == nil {
		return trie.Leaf(l.key, l.head)
	}
	return trie.Node(l.depth, l.left.hash(), l.right.hash())
}

// paths are the ways to each leaf, as the tree has them.
func (l *liar) paths() (all []trie.Path) {
	if l.left == nil {
		return []trie.Path{{Found: true, Terminal: l.key, Head: l.head}}
	}
	for i, side := range []*liar{l.left, l.right} {
		sibling := []*liar{l.right, l.left}[i].hash()
		for _, p := range side.paths() {
			p.Steps = append(p.Steps, trie.Step{Depth: l.depth, Sibling: sibling})
			all = append(all, p)
		}
	}
	return all
}

// TestOneAnswer: whatever tree is behind a root, also one that has a key twice, a branch in the wrong place or depths that
// do not descend, no key has two answers.
func TestOneAnswer(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	answers, none := 0, 0
	for range 2000 {
		var keys []leaf.Hash
		for range 1 + r.IntN(6) {
			keys = append(keys, leaf.Hash{byte(r.IntN(32)) << 3})
		}
		l := lie(r, keys, 4)
		top := l.hash()
		for _, key := range append(keys, leaf.Hash{byte(r.IntN(32)) << 3}) {
			var answer string
			for _, p := range append(l.paths(), trie.Path{}) {
				present, err := p.Verify(key, top)
				if err != nil {
					continue
				}
				got := "absent"
				if present {
					got = fmt.Sprintf("head %x", p.Head)
				}
				if answer != "" && answer != got {
					t.Fatalf("key %x is %s and %s under one root", key, answer, got)
				}
				answer = got
			}
			if answer != "" {
				answers++
			} else {
				none++
			}
		}
	}
	if answers == 0 || none == 0 {
		t.Errorf("%d keys with an answer, %d without: the trees are not what this test is about", answers, none)
	}
}

// FuzzPath holds paths of any map to prototest's index: each pair of bytes is a key.
func FuzzPath(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x01\x80\x00"), byte(0), byte(1))
	f.Add([]byte{}, byte(0), byte(0))
	f.Fuzz(func(t *testing.T, b []byte, first, last byte) {
		key := func(first, last byte) (k leaf.Hash) {
			k[0], k[31] = first, last
			return k
		}
		var keys []leaf.Hash
		for i := 0; i+1 < len(b) && i < 64; i += 2 {
			keys = append(keys, key(b[i], b[i+1]))
		}
		x, _ := indexOf(keys...)
		probe := key(first, last)
		p, head := x.Path(probe)
		present, err := p.Verify(probe, root(x))
		if err != nil || present != slices.Contains(keys, probe) || present && head.Hash() != p.Head {
			t.Errorf("key %x of %x: present %v: %v", probe, keys, present, err)
		}
		for i := range p.Steps {
			p.Steps[i].Sibling[first%32] ^= 1 << (last % 8)
			if _, err := p.Verify(probe, root(x)); err == nil {
				t.Errorf("key %x of %x: step %d changed: accepted", probe, keys, i)
			}
			p.Steps[i].Sibling[first%32] ^= 1 << (last % 8)
		}
	})
}
