package history_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"idlog/proto/history"
	"idlog/proto/trie"
)

type kv struct{ key, value []byte }

func rows(t *testing.T, s history.Store) (all []kv) {
	t.Helper()
	snap := s.Snapshot()
	defer snap.Close()
	c, err := snap.Scan([]byte{0}, []byte{0xff})
	if err != nil {
		t.Fatal(err)
	}
	for ok := c.Seek([]byte{0}); ok; ok = c.Next() {
		all = append(all, kv{bytes.Clone(c.Key()), bytes.Clone(c.Value())})
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	return all
}

func put(t *testing.T, s history.Store, row kv) {
	t.Helper()
	b := s.Batch()
	b.Put(row.key, row.value)
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
}

// TestDamage changes one row of the store after the other. What is then proven is still true or ErrDamaged, and an index that
// is opened, or goes on, over rows that are not those of its root is ErrDamaged.
func TestDamage(t *testing.T) {
	s := memory(t)
	x := open(t, s, 3)
	closing(t, x)
	entries := world(4, 1200)
	feed(t, x, entries, 100)
	o := oracleOf(entries)
	r := rand.New(rand.NewPCG(8, 8))
	all := rows(t, s)
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	var hot []trie.Hash
	for key, list := range o.lists {
		if len(list) > 256 {
			hot = append(hot, key)
		}
	}
	if len(hot) < 2 {
		t.Fatal("no long lists")
	}
	tried, noticed := map[byte]int{}, map[byte]int{}
	for i, row := range all {
		kind := row.key[0]
		if tried[kind] >= 80 {
			continue
		}
		// Another row of its kind, or a bit of it turned, or its end gone.
		bad := kv{row.key, bytes.Clone(row.value)}
		switch r.IntN(3) {
		case 0:
			for _, other := range slices.Concat(all[i+1:], all[:i]) {
				if other.key[0] == kind && !bytes.Equal(other.value, row.value) {
					bad.value = other.value
					break
				}
			}
		case 1:
			bad.value[r.IntN(len(bad.value))] ^= 1 << r.IntN(8)
		default:
			bad.value = bad.value[:r.IntN(len(bad.value))]
		}
		if bytes.Equal(bad.value, row.value) {
			continue
		}
		tried[kind]++
		y := open(t, s, 3) // has nothing in its cache
		put(t, s, bad)
		keys := hot
		if kind == 'k' || kind == 'c' || kind == 't' {
			keys = []trie.Hash{trie.Hash(row.key[1:33])}
		}
		hit := false
		v := x.View()
		for _, key := range keys {
			hit = stillTrue(t, v, o, key) || hit
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		if hit {
			noticed[kind]++
		}
		// The recent indexes of a list are not in its head: they are found out by its pages.
		inHead := kind == 'k' && !recentOnly(bad.value, row.value)
		_, err := history.Open(s, history.Config{})
		if (inHead || kind == 's' || kind == 'r') != errors.Is(err, history.ErrDamaged) {
			t.Errorf("opening it with a %c row that is damaged: %v", kind, err)
		}
		if inHead {
			before := y.State()
			if err := y.Append([]history.Entry{{Keys: keys}}); !errors.Is(err, history.ErrDamaged) || y.State() != before {
				t.Errorf("appending to a list that is damaged: %v", err)
			}
		}
		put(t, s, row)
	}
	for _, kind := range []byte("cklt") { // all that a page of a whole list reads
		if tried[kind] == 0 || noticed[kind] < tried[kind] {
			t.Errorf("of %d damaged %c rows %d were noticed", tried[kind], kind, noticed[kind])
		}
	}
	v := x.View()
	defer v.Close()
	check(t, v, o, r, 20)
}

// recentOnly reports whether a row of a list is one of the same head.
func recentOnly(bad, good []byte) bool {
	if _, err := history.ListRow(bad); err != nil {
		return false
	}
	n, size := binary.Uvarint(good)
	size += 32 * bits.OnesCount64(n)
	return len(bad) > size && bytes.Equal(bad[:size], good[:size])
}

// stillTrue reports whether something about the key is damaged; what is not is true.
func stillTrue(t *testing.T, v *history.View, o oracle, key trie.Hash) (hit bool) {
	t.Helper()
	list := o.lists[key]
	p, h, err := v.Find(key)
	switch {
	case errors.Is(err, history.ErrDamaged):
		hit = true
	case err != nil:
		t.Fatal(err)
	default:
		if present, err := p.Verify(key, o.state.MapRoot); !present || err != nil || h != o.head(key) {
			t.Fatalf("a wrong path: %v, %v", present, err)
		}
	}
	n := int64(len(list))
	for _, at := range [][2]int64{{0, n}, {0, 1}, {n - 1, 1}, {n / 2, 0}} {
		page, err := v.Page(key, at[0], at[1])
		switch {
		case errors.Is(err, history.ErrDamaged):
			hit = true
		case err != nil:
			t.Fatal(err)
		default:
			if err := page.Verify(o.head(key), o.state.Size); err != nil || !slices.Equal(page.Postings, list[at[0]:at[0]+at[1]]) {
				t.Fatalf("a wrong page: %v", err)
			}
		}
	}
	if number, err := v.Seek(key, 0); err == nil && (number < 0 || number > n) || err != nil && !errors.Is(err, history.ErrDamaged) {
		t.Fatalf("seeking: %d, %v", number, err)
	}
	return hit
}

// TestStateForm has a store that a later program wrote.
func TestStateForm(t *testing.T) {
	s := memory(t)
	t.Cleanup(func() { s.Close() })
	x := open(t, s, 0)
	feed(t, x, world(5, 10), 10)
	for _, row := range rows(t, s) {
		if row.key[0] == 's' {
			row.value[0]++
			sum := sha256.Sum256(row.value[:len(row.value)-32])
			put(t, s, kv{row.key, append(row.value[:len(row.value)-32], sum[:]...)})
		}
	}
	if _, err := history.Open(s, history.Config{}); err == nil || errors.Is(err, history.ErrDamaged) {
		t.Errorf("opening a later form: %v", err)
	}
	if _, err := history.Open(s, history.Config{Depth: 27}); err == nil {
		t.Error("opened with a depth of 27")
	}
}

func seeds(f *testing.F, kind byte) {
	f.Helper()
	x, err := memoryOf(world(6, 600))
	if err != nil {
		f.Fatal(err)
	}
	snap := x.Snapshot()
	defer x.Close()
	defer snap.Close()
	c, err := snap.Scan([]byte{kind}, []byte{kind + 1})
	if err != nil {
		f.Fatal(err)
	}
	n := 0
	for ok := c.Seek([]byte{kind}); ok && n < 50; ok = c.Next() {
		f.Add(bytes.Clone(c.Value()))
		n++
	}
	if err := c.Close(); err != nil || n == 0 {
		f.Fatal(n, err)
	}
}

// same checks that what is parsed is formatted as the same bytes: each row has one form.
func same(t *testing.T, b []byte, codec func([]byte) ([]byte, error)) {
	if again, err := codec(b); err == nil && !bytes.Equal(again, b) {
		t.Errorf("%x is read as %x", b, again)
	}
}

func FuzzListRow(f *testing.F) {
	seeds(f, 'k')
	f.Fuzz(func(t *testing.T, b []byte) { same(t, b, history.ListRow) })
}

func FuzzChunkRow(f *testing.F) {
	seeds(f, 'c')
	f.Fuzz(func(t *testing.T, b []byte) { same(t, b, history.ChunkRow) })
}

func FuzzStateRow(f *testing.F) {
	for _, n := range []int{10, 64, 600} {
		s, err := memoryOf(world(6, n))
		if err != nil {
			f.Fatal(err)
		}
		snap := s.Snapshot()
		state, err := snap.Get([]byte("s"))
		if err != nil {
			f.Fatal(err)
		}
		high, err := snap.Get([]byte("r"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(state, high)
		if err := errors.Join(snap.Close(), s.Close()); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, state, high []byte) {
		check := func(state []byte) {
			if a, b, err := history.StateRows(state, high); err == nil && !(bytes.Equal(a, state) && bytes.Equal(b, high)) {
				t.Errorf("%x and %x are read as %x and %x", state, high, a, b)
			}
		}
		check(state)
		sum := sha256.Sum256(slices.Concat(state, high))
		check(slices.Concat(state, sum[:]))
	})
}
