package history_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"

	"idlog/proto/history"
	"idlog/proto/history/pebblekv"
	"idlog/proto/trie"
)

func memory(t *testing.T) history.Store {
	t.Helper()
	s, err := pebblekv.Memory()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func open(t *testing.T, s history.Store, depth int) *history.Index {
	t.Helper()
	x, err := history.Open(s, history.Config{Depth: depth})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// memoryOf returns a store with an index in it.
func memoryOf(entries []history.Entry) (history.Store, error) {
	s, err := pebblekv.Memory()
	if err != nil {
		return nil, err
	}
	x, err := history.Open(s, history.Config{})
	if err != nil {
		return nil, err
	}
	return s, x.Append(entries)
}

// closing closes at the end of the test, before what was opened earlier.
func closing(t *testing.T, c interface{ Close() error }) {
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

func feed(t *testing.T, x *history.Index, entries []history.Entry, batch int) {
	t.Helper()
	for some := range slices.Chunk(entries, batch) {
		if err := x.Append(some); err != nil {
			t.Fatal(err)
		}
	}
}

// check compares a view with the oracle: its state, and for each key, present and absent ones, path, head, pages.
func check(t *testing.T, v *history.View, o oracle, r *rand.Rand, keys int) {
	t.Helper()
	if v.State() != o.state {
		t.Fatalf("state %+v, want %+v", v.State(), o.state)
	}
	all := make([]trie.Hash, 0, len(o.lists))
	for k := range o.lists {
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b trie.Hash) int { return slices.Compare(a[:], b[:]) })
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	// The longest lists are always looked at.
	slices.SortStableFunc(all, func(a, b trie.Hash) int { return min(len(o.lists[b]), 200) - min(len(o.lists[a]), 200) })
	for _, k := range all[:min(keys, len(all))] {
		checkKey(t, v, o, k, r)
		for range 3 { // others on much the same way
			k[r.IntN(32)] ^= 1 << r.IntN(8)
			checkKey(t, v, o, k, r)
		}
	}
	checkKey(t, v, o, trie.Hash{}, r)
}

func checkKey(t *testing.T, v *history.View, o oracle, key trie.Hash, r *rand.Rand) {
	t.Helper()
	list := o.lists[key]
	p, h, err := v.Find(key)
	if err != nil {
		t.Fatal(err)
	}
	if want := o.head(key); h != want {
		t.Fatalf("head %v, want %v", h, want)
	}
	present, err := p.Verify(key, o.state.MapRoot)
	if err != nil || present != (len(list) > 0) {
		t.Fatalf("the path of a key with %d postings says %v, %v", len(list), present, err)
	}
	if present && p.Head != h.Hash() {
		t.Fatal("the path is of another head")
	}
	if !present {
		if _, err := v.Page(key, 0, 1); err == nil {
			t.Fatal("a page of an absent key")
		}
		if n, err := v.Seek(key, 0); n != 0 || err != nil {
			t.Fatalf("seeking in an absent key: %d, %v", n, err)
		}
		return
	}
	pages := [][2]int{{0, len(list)}, {0, 0}, {len(list), 5}, {len(list) - 1, 100}}
	for range 4 {
		start := r.IntN(len(list))
		pages = append(pages, [2]int{start, r.IntN(len(list) - start + 1)})
	}
	for _, at := range pages {
		page, err := v.Page(key, int64(at[0]), int64(at[1]))
		if err != nil {
			t.Fatal(err)
		}
		if err := page.Verify(h, o.state.Size); err != nil {
			t.Fatal(err)
		}
		want := list[at[0]:min(at[0]+at[1], len(list))]
		if page.Start != int64(at[0]) || !slices.Equal(page.Postings, want) {
			t.Fatalf("page %v has %v, want %v", at, page.Postings, want)
		}
	}
	for range 4 {
		index := r.Int64N(o.state.Size + 2)
		want := slices.IndexFunc(list, func(p trie.Posting) bool { return p.Index >= index })
		if want < 0 {
			want = len(list)
		}
		if got, err := v.Seek(key, index); err != nil || got != int64(want) {
			t.Fatalf("seeking entry %d: number %d, %v, want %d", index, got, err, want)
		}
	}
}

func TestOracle(t *testing.T) {
	entries := world(1, 4000)
	sizes := []int{1, 7, 500, 4000}
	oracles := make(map[int]oracle)
	for _, n := range sizes {
		oracles[n] = oracleOf(entries[:n])
	}
	for _, test := range []struct{ batch, depth int }{
		{1, 0}, {1, 14}, {7, 0}, {7, 5}, {500, 0}, {500, 1}, {500, 8}, {3000, 0}, {3000, 3}, {3000, 16},
	} {
		t.Run(fmt.Sprintf("batch %d, depth %d", test.batch, test.depth), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(uint64(test.batch), uint64(test.depth)))
			x := open(t, memory(t), test.depth)
			closing(t, x)
			from := 0
			for _, n := range sizes {
				feed(t, x, entries[from:n], test.batch)
				from = n
				if x.Size() != int64(n) || x.State() != oracles[n].state {
					t.Fatalf("state %+v, want %+v", x.State(), oracles[n].state)
				}
				v := x.View()
				check(t, v, oracles[n], r, 25)
				if err := v.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestLongList goes through every level of what is stored of a list: postings, groups, chunks and tiles of two levels.
func TestLongList(t *testing.T) {
	n := 70_000
	if testing.Short() {
		n = 3000
	}
	key := sum([]byte("hot"))
	entries := make([]history.Entry, n)
	for i := range entries {
		entries[i] = history.Entry{Leaf: sum(u64(i)), Keys: []trie.Hash{key}}
	}
	o := oracleOf(entries)
	x := open(t, memory(t), 0)
	closing(t, x)
	feed(t, x, entries, 999)
	v := x.View()
	defer v.Close()
	if v.State() != o.state {
		t.Fatalf("state %+v, want %+v", v.State(), o.state)
	}
	r := rand.New(rand.NewPCG(1, 1))
	checkKey(t, v, o, key, r)
	h := o.head(key)
	for _, start := range []int64{0, 1, 31, 32, 33, 255, 256, 257, 2047, 2048, 2049, 65_535, 65_536, 65_537} {
		if start > int64(n) {
			continue
		}
		for _, count := range []int64{0, 1, 32, 100, 256} {
			p, err := v.Page(key, start, count)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Verify(h, o.state.Size); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestViews holds views open while the index goes on, beyond the growth of what is in memory, with readers of all of them
// at the same time.
func TestViews(t *testing.T) {
	entries := world(2, 4000)
	for _, depth := range []int{0, 10} {
		t.Run(fmt.Sprint("depth ", depth), func(t *testing.T) {
			x := open(t, memory(t), depth)
			closing(t, x)
			type revision struct {
				v *history.View
				o oracle
			}
			var open []revision
			var readers sync.WaitGroup
			r := rand.New(rand.NewPCG(3, 3))
			for from := 0; from < len(entries); from += 200 {
				feed(t, x, entries[from:from+200], 50)
				now := revision{x.View(), oracleOf(entries[:from+200])}
				open = append(open, now)
				readers.Go(func() { check(t, now.v, now.o, rand.New(rand.NewPCG(uint64(from), 4)), 20) })
				if len(open) > 4 { // any of them goes, not only the oldest
					readers.Wait()
					i := r.IntN(len(open))
					if err := errors.Join(open[i].v.Close(), open[i].v.Close()); err != nil {
						t.Fatal(err)
					}
					open = slices.Delete(open, i, i+1)
				}
			}
			readers.Wait()
			if kept := x.Kept(); depth > 0 && (kept == 0 || kept > len(open)*2<<depth) {
				t.Errorf("%d nodes are kept for %d views", kept, len(open))
			}
			for _, rev := range open {
				check(t, rev.v, rev.o, r, 20)
				if err := rev.v.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if kept := x.Kept(); kept != 0 {
				t.Errorf("%d nodes are kept for no view", kept)
			}
		})
	}
}

// TestGrowth has more keys than the least that is in memory is made for, with a view from before.
func TestGrowth(t *testing.T) {
	entries := make([]history.Entry, 5000)
	for i := range entries {
		entries[i].Leaf = sum(u64(i))
		for j := range 10 {
			entries[i].Keys = append(entries[i].Keys, sum(u64(i), u64(j)))
		}
	}
	x := open(t, memory(t), 0)
	closing(t, x)
	feed(t, x, entries[:1000], 100)
	before, o := x.View(), oracleOf(entries[:1000])
	defer before.Close()
	feed(t, x, entries[1000:], 100)
	r := rand.New(rand.NewPCG(5, 5))
	check(t, before, o, r, 100)
	after := x.View()
	defer after.Close()
	check(t, after, oracleOf(entries), r, 100)
}

func TestReopen(t *testing.T) {
	entries := world(3, 3000)
	dir := t.TempDir()
	for i, depth := range []int{0, 4, 12, 0} {
		s, err := pebblekv.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		x := open(t, s, depth)
		if x.Size() != int64(i*750) {
			t.Fatalf("opened at %d, closed at %d", x.Size(), i*750)
		}
		feed(t, x, entries[i*750:(i+1)*750], 100+i)
		v := x.View()
		check(t, v, oracleOf(entries[:(i+1)*750]), rand.New(rand.NewPCG(6, 6)), 30)
		if err := errors.Join(v.Close(), x.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEmpty(t *testing.T) {
	x := open(t, memory(t), 0)
	closing(t, x)
	v := x.View()
	defer v.Close()
	check(t, v, oracleOf(nil), rand.New(rand.NewPCG(7, 7)), 1)
	if err := x.Append(nil); err != nil || x.Size() != 0 {
		t.Fatalf("appending nothing: %v, size %d", err, x.Size())
	}
	// An entry without keys, and one that has a key twice.
	entries := []history.Entry{{Leaf: sum([]byte("a"))}, {Leaf: sum([]byte("b")), Keys: []trie.Hash{{1}, {1}}}}
	feed(t, x, entries[:1], 1)
	if want := oracleOf(entries[:1]).state; x.State() != want {
		t.Fatalf("state %+v, want %+v", x.State(), want)
	}
	feed(t, x, entries[1:], 1)
	entries[1].Keys = entries[1].Keys[:1]
	if want := oracleOf(entries).state; !reflect.DeepEqual(x.State(), want) {
		t.Fatalf("state %+v, want %+v", x.State(), want)
	}
}
