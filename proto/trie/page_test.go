package trie_test

import (
	"math"
	"slices"
	"testing"

	"idlog/proto/leaf"
	"idlog/proto/prototest"
	"idlog/proto/trie"
)

// listOf returns the index of one key with n postings, each of an entry with a gap before it.
func listOf(n int64) (*prototest.Index, leaf.Hash) {
	var l []trie.Posting
	for i := range n {
		l = append(l, trie.Posting{Index: 3*i + 2, Leaf: leaf.HashOf([]byte{byte(i)})})
	}
	return prototest.NewIndex(map[leaf.Hash][]trie.Posting{base: l}), base
}

// clone returns a page that shares nothing with the other.
func clone(p trie.Page) trie.Page {
	p.Postings, p.Left, p.Right = slices.Clone(p.Postings), slices.Clone(p.Left), slices.Clone(p.Right)
	return p
}

// TestPages: each page of each list up to 18 postings holds, and none that is changed.
func TestPages(t *testing.T) {
	for n := int64(1); n <= 18; n++ {
		x, key := listOf(n)
		head, size := x.Head(key), 3*n
		for start := range n + 1 {
			for count := range n - start + 1 {
				p := x.Page(key, start, count)
				if err := p.Verify(head, size); err != nil {
					t.Fatalf("%d from %d of %d: %v", count, start, n, err)
				}
				if got := p.Whole(head); got != (count == n) {
					t.Errorf("%d from %d of %d: whole %v", count, start, n, got)
				}
				refuse := func(what string, h trie.Head, size int64, change func(p *trie.Page)) {
					t.Helper()
					changed := clone(p)
					change(&changed)
					if err := changed.Verify(h, size); err == nil {
						t.Errorf("%d from %d of %d: %s: accepted", count, start, n, what)
					}
				}
				same := func(*trie.Page) {}
				refuse("a list of none", trie.Head{Root: head.Root}, size, same)
				refuse("a negative list", trie.Head{N: -n, Root: head.Root}, size, same)
				refuse("a list beyond count", trie.Head{N: math.MaxInt64, Root: head.Root}, size, same)
				refuse("another root", trie.Head{N: n, Root: flip(head.Root, 5)}, size, same)
				refuse("shifted by one", head, size, func(p *trie.Page) { p.Start++ })
				refuse("shifted back by one", head, size, func(p *trie.Page) { p.Start-- })
				refuse("from the end of numbers on", head, size, func(p *trie.Page) { p.Start = math.MaxInt64 })
				refuse("from the end of a list beyond count on", trie.Head{N: math.MaxInt64, Root: head.Root}, size, func(p *trie.Page) { p.Start = math.MaxInt64 })
				refuse("a hash more before", head, size, func(p *trie.Page) { p.Left = append(p.Left, leaf.Hash{}) })
				refuse("a hash more after", head, size, func(p *trie.Page) { p.Right = append(p.Right, leaf.Hash{}) })
				for i := range p.Left {
					refuse("a hash before it changed", head, size, func(p *trie.Page) { p.Left[i][i] ^= 1 })
					refuse("a hash before it dropped", head, size, func(p *trie.Page) { p.Left = slices.Delete(p.Left, i, i+1) })
					refuse("a hash before it moved behind", head, size, func(p *trie.Page) {
						p.Right = slices.Insert(p.Right, 0, p.Left[i])
						p.Left = slices.Delete(p.Left, i, i+1)
					})
				}
				for i := range p.Right {
					refuse("a hash after it changed", head, size, func(p *trie.Page) { p.Right[i][i] ^= 1 })
					refuse("a hash after it dropped", head, size, func(p *trie.Page) { p.Right = slices.Delete(p.Right, i, i+1) })
				}
				for i := range p.Postings {
					refuse("a posting dropped", head, size, func(p *trie.Page) { p.Postings = slices.Delete(p.Postings, i, i+1) })
					refuse("a posting added", head, size, func(p *trie.Page) {
						p.Postings = slices.Insert(p.Postings, i, trie.Posting{Index: p.Postings[i].Index - 1})
					})
					refuse("a posting twice", head, size, func(p *trie.Page) { p.Postings = slices.Insert(p.Postings, i, p.Postings[i]) })
					refuse("another index", head, size, func(p *trie.Page) { p.Postings[i].Index-- })
					refuse("a negative index", head, size, func(p *trie.Page) { p.Postings[i].Index = -1 })
					refuse("another leaf hash", head, size, func(p *trie.Page) { p.Postings[i].Leaf[i] ^= 1 })
					if i > 0 {
						refuse("two postings swapped", head, size, func(p *trie.Page) { p.Postings[i-1], p.Postings[i] = p.Postings[i], p.Postings[i-1] })
					}
				}
				if count > 0 {
					last := p.Postings[count-1].Index
					refuse("the last entry beyond the index", head, last, same)
					if err := p.Verify(head, last+1); err != nil {
						t.Errorf("%d from %d of %d: the last entry is the index's last: %v", count, start, n, err)
					}
				}
			}
		}
	}
}

// TestUnordered: a list that a liar did not order is refused, although hashes and head are those of its map.
func TestUnordered(t *testing.T) {
	a, b := trie.Posting{Index: 4, Leaf: leaf.Hash{4}}, trie.Posting{Index: 9, Leaf: leaf.Hash{9}}
	for _, c := range []struct {
		name string
		list []trie.Posting
		ok   bool
	}{
		{"ordered", []trie.Posting{a, b}, true},
		{"the wrong way round", []trie.Posting{b, a}, false},
		{"one entry twice", []trie.Posting{a, a, b}, false},
		{"one entry with two leaf hashes", []trie.Posting{a, {Index: 4, Leaf: leaf.Hash{5}}}, false},
		{"an entry that is not there yet", []trie.Posting{a, {Index: 10, Leaf: leaf.Hash{9}}}, false},
	} {
		x := prototest.NewIndex(map[leaf.Hash][]trie.Posting{base: c.list})
		if err := x.Page(base, 0, int64(len(c.list))).Verify(x.Head(base), 10); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestBefore: a page says what the list was when it ended where the page begins.
func TestBefore(t *testing.T) {
	for n := int64(1); n <= 18; n++ {
		x, key := listOf(n)
		for start := range n + 1 {
			p := x.Page(key, start, n-start)
			head, err := p.Before()
			if start == 0 {
				if err == nil {
					t.Errorf("a list that begins with its page was %+v before", head)
				}
				continue
			}
			older, _ := listOf(start)
			if err != nil || head != older.Head(key) {
				t.Errorf("before number %d: %+v, %v; was %+v", start, head, err, older.Head(key))
			}
		}
	}
}

// TestCovers: a page covers a window if, and only if, none of its list's entries in the window can be outside of the page,
// as the page alone shows.
func TestCovers(t *testing.T) {
	const n = 6
	x, key := listOf(n) // entries 2, 5, 8, 11, 14, 17
	head := x.Head(key)
	for start := range int64(n + 1) {
		for count := range n - start + 1 {
			p := x.Page(key, start, count)
			for from := range int64(3 * n) {
				for to := from + 1; to <= 3*n; to++ {
					// Outside, as far as the page shows, any entry before the first and after the last might stand.
					want := count > 0
					for i := from; i < to && want; i++ {
						want = (start == 0 || i >= p.Postings[0].Index) && (start+count == n || i <= p.Postings[count-1].Index)
					}
					if got := p.Covers(head, from, to); got != want {
						t.Fatalf("%d from %d: covers [%d, %d): %v", count, start, from, to, got)
					}
				}
			}
		}
	}
}

// FuzzPage holds pages of any place to prototest's index.
func FuzzPage(f *testing.F) {
	f.Add(uint8(5), uint8(2), uint8(1), uint16(0))
	f.Add(uint8(200), uint8(64), uint8(100), uint16(77))
	f.Fuzz(func(t *testing.T, n, start, count uint8, at uint16) {
		if n == 0 {
			return
		}
		x, key := listOf(int64(n))
		first := int64(start) % (int64(n) + 1)
		p := x.Page(key, first, min(int64(count), int64(n)-first))
		if err := p.Verify(x.Head(key), 3*int64(n)); err != nil {
			t.Fatal(err)
		}
		all := slices.Concat(p.Left, p.Right)
		if len(all) == 0 {
			return
		}
		i := int(at) % len(all)
		all[i] = flip(all[i], int(at)%256)
		p.Left, p.Right = all[:len(p.Left)], all[len(p.Left):]
		if err := p.Verify(x.Head(key), 3*int64(n)); err == nil {
			t.Errorf("hash %d changed: accepted", i)
		}
	})
}
