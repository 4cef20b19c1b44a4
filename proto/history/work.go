package history

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"idlog/proto/trie"
)

// work is what an Append uses, kept from one to the next.
type work struct {
	cache   cache
	cursor  Cursor // nil until a bucket is read
	pairs   []pair
	sorter  sorter
	changes []change
	was, is []row  // of one bucket
	values  []byte // of these rows
	twigs   []twig
	list    list
	buffers buffers
	found   *found // nil if nobody will ask for it
}

// found is what the buckets were in which the last Append's entries have keys.
type found struct {
	buckets []bucket // in ascending order
	rows    []byte   // of one after the other: key, uv length of the value, value
}

// A bucket is where its rows end, which begin where those of the one before end.
type bucket struct {
	node uint32
	end  int
}

func (f *found) add(node uint32, rows []row) {
	for i := range rows {
		f.rows = append(f.rows, rows[i].key[:]...)
		f.rows = binary.AppendUvarint(f.rows, uint64(len(rows[i].value)))
		f.rows = append(f.rows, rows[i].value...)
	}
	f.buckets = append(f.buckets, bucket{node, len(f.rows)})
}

// A pair says that an entry stands under a key. They are sorted by key, then entry.
type pair struct {
	key   Hash
	entry int32
}

func comparePairs(a, b pair) int {
	if c := cmp.Compare(binary.BigEndian.Uint64(a.key[:]), binary.BigEndian.Uint64(b.key[:])); c != 0 {
		return c
	}
	return cmp.Or(bytes.Compare(a.key[8:], b.key[8:]), cmp.Compare(a.entry, b.entry))
}

// A sorter sorts pairs. Keys are hashes, so their first bits spread them evenly over as many groups as there are pairs, and a
// group is sorted in no time, unless it is of a key that many entries have.
type sorter struct {
	spare []pair
	ends  []int32 // of the groups
}

// sort returns the pairs, which are there in the order of their entries, sorted. It keeps the memory of those it was given.
func (s *sorter) sort(pairs []pair) []pair {
	n := len(pairs)
	if n < 64 {
		slices.SortFunc(pairs, comparePairs)
		return pairs
	}
	shift := 64 - bits.Len(uint(n))
	group := func(p *pair) uint64 { return binary.BigEndian.Uint64(p.key[:]) >> shift }
	s.ends = slices.Grow(s.ends[:0], 1<<(64-shift))[:1<<(64-shift)]
	clear(s.ends)
	for i := range pairs {
		s.ends[group(&pairs[i])]++
	}
	sum := int32(0)
	for i, count := range s.ends {
		s.ends[i] = sum
		sum += count
	}
	sorted := slices.Grow(s.spare[:0], n)[:n]
	for i := range pairs { // which keeps the order of entries within a group
		g := group(&pairs[i])
		sorted[s.ends[g]] = pairs[i]
		s.ends[g]++
	}
	start := int32(0)
	for _, end := range s.ends {
		if g := sorted[start:end]; len(g) > 1 && slices.ContainsFunc(g[1:], func(p pair) bool { return p.key != g[0].key }) {
			slices.SortFunc(g, comparePairs)
		}
		start = end
	}
	s.spare = pairs
	return sorted
}

// A row is a key's row, and its twig's hash.
type row struct {
	key   Hash
	value []byte
	hash  Hash
}

// run adds the rows of the entries, the first of which has index first, to the batch. It returns the new roots of the
// buckets in which they have keys, and how many keys are new.
func (w *work) run(entries []Entry, first int64, t *top, snap Snapshot, batch Batch) (changes []change, fresh int64, err error) {
	w.leaves(entries, first, batch)
	w.pairs = w.sorter.sort(pairsOf(entries, w.pairs[:0]))
	defer func() {
		if w.cursor != nil {
			err = errors.Join(err, w.cursor.Close())
			w.cursor = nil
		}
	}()
	w.changes = w.changes[:0]
	if w.found != nil {
		w.found.buckets, w.found.rows = w.found.buckets[:0], w.found.rows[:0]
	}
	for pairs := w.pairs; len(pairs) > 0; {
		node, end := t.span(pairs)
		w.values = w.values[:0]
		var known bool
		if w.was, known = w.cache.get(node, w.was[:0]); !known && t.nodes[node] != (Hash{}) {
			if err := w.read(t, node, snap); err != nil {
				return nil, 0, err
			}
		}
		hits, err := w.merge(pairs[:end], entries, first, batch)
		if err != nil {
			return nil, 0, err
		}
		fresh += int64(len(w.is) - len(w.was))
		if known || hits > 0 { // a key that came twice comes again
			w.cache.put(node, w.is)
		}
		if w.found != nil {
			w.found.add(node, w.was)
		}
		w.changes = append(w.changes, change{node, w.root(w.is)})
		pairs = pairs[end:]
	}
	return w.changes, fresh, nil
}

// pairsOf appends the pairs of entries, in their order.
func pairsOf(entries []Entry, pairs []pair) []pair {
	count := 0
	for i := range entries {
		count += len(entries[i].Keys)
	}
	pairs = slices.Grow(pairs, count)
	for i := range entries {
		for _, k := range entries[i].Keys {
			pairs = append(pairs, pair{k, int32(i)})
		}
	}
	return pairs
}

// span returns the bucket of the first pair, and how many are in it.
func (t *top) span(pairs []pair) (node uint32, count int) {
	node = t.bucket(&pairs[0].key)
	for count = 1; count < len(pairs) && t.bucket(&pairs[count].key) == node; count++ {
	}
	return node, count
}

// leaves adds the entries' leaf hashes to the batch.
func (w *work) leaves(entries []Entry, first int64, batch Batch) {
	b := &w.buffers
	b.value = b.value[:0]
	for i := range entries {
		b.value = append(b.value, entries[i].Leaf[:]...)
		if index := first + int64(i); index%leafSize == leafSize-1 || i == len(entries)-1 {
			b.key = leafKey(b.key, index/leafSize)
			batch.Append(b.key, b.value)
			b.value = b.value[:0]
		}
	}
}

// read reads the rows of a bucket, which are those of its root.
func (w *work) read(t *top, node uint32, snap Snapshot) (err error) {
	if w.cursor == nil {
		if w.cursor, err = snap.Scan([]byte{kindList}, []byte{kindList + 1}); err != nil {
			return err
		}
	}
	w.buffers.key = listKey(w.buffers.key, t.first(node))
	for ok := w.cursor.Seek(w.buffers.key); ok; ok = w.cursor.Next() {
		k := w.cursor.Key()
		if len(k) != 33 {
			return fmt.Errorf("%w: a row of %d bytes of key", ErrDamaged, len(k))
		}
		key := Hash(k[1:])
		if t.bucket(&key) != node {
			break
		}
		from := len(w.values)
		w.values = append(w.values, w.cursor.Value()...)
		r := row{key: key, value: w.values[from:len(w.values):len(w.values)]}
		if err := w.parse(&r); err != nil {
			return err
		}
		r.hash = trie.Leaf(key, w.list.head().Hash())
		w.was = append(w.was, r)
	}
	if len(w.was) == 0 || w.root(w.was) != t.nodes[node] {
		return fmt.Errorf("%w: the rows of the keys from %x on", ErrDamaged, t.first(node))
	}
	return nil
}

// merge makes the rows of a bucket out of those that were there, which it leaves alone, and the pairs that fall in it. It
// returns how many of the keys of the pairs were there.
func (w *work) merge(pairs []pair, entries []Entry, first int64, batch Batch) (hits int, err error) {
	w.is = w.is[:0]
	was := w.was
	for len(was) > 0 || len(pairs) > 0 {
		order := -1 // of what was there and what comes
		switch {
		case len(was) == 0:
			order = 1
		case len(pairs) > 0:
			order = bytes.Compare(was[0].key[:], pairs[0].key[:])
		}
		if order < 0 {
			w.is = append(w.is, was[0])
			was = was[1:]
			continue
		}
		key := pairs[0].key
		w.list.n = 0
		w.list.tree = w.list.tree[:0]
		if order == 0 {
			if err := w.parse(&was[0]); err != nil {
				return 0, err
			}
			if w.list.last() >= first {
				return 0, fmt.Errorf("%w: key %x has entry %d of %d", ErrDamaged, key, w.list.last(), first)
			}
			was = was[1:]
			hits++
		}
		for last := int32(-1); len(pairs) > 0 && pairs[0].key == key; pairs = pairs[1:] {
			if e := pairs[0].entry; e != last { // a key that an entry has twice counts once
				w.list.add(key, trie.Posting{Index: first + int64(e), Leaf: entries[e].Leaf}, batch, &w.buffers)
				last = e
			}
		}
		from := len(w.values)
		w.values = w.list.format(w.values)
		value := w.values[from:len(w.values):len(w.values)]
		w.buffers.key = listKey(w.buffers.key, key)
		batch.Put(w.buffers.key, value)
		w.is = append(w.is, row{key, value, trie.Leaf(key, w.list.head().Hash())})
	}
	return hits, nil
}

func (w *work) parse(r *row) error {
	if err := w.list.parse(r.value); err != nil {
		return fmt.Errorf("%w: the row of key %x", ErrDamaged, r.key)
	}
	return nil
}

// root returns the root of a bucket of these rows.
func (w *work) root(rows []row) Hash {
	w.twigs = w.twigs[:0]
	for i := range rows {
		w.twigs = append(w.twigs, twig{rows[i].key, rows[i].hash})
	}
	return root(w.twigs)
}

// A cache holds the rows of buckets that were used lately: those of the young generation, and the old one, which is
// forgotten when the young one is full and becomes it.
type cache struct {
	young, old map[uint32][]row
	rows       int // of young
}

// cacheRows is what a generation holds: some 16 MiB.
const cacheRows = 1 << 16

// get appends the rows of a bucket, if they are known, to rows.
func (c *cache) get(node uint32, rows []row) ([]row, bool) {
	known, ok := c.young[node]
	if !ok {
		known, ok = c.old[node]
	}
	return append(rows, known...), ok
}

// put keeps copies of the rows of a bucket.
func (c *cache) put(node uint32, rows []row) {
	if c.rows += len(rows) - len(c.young[node]); c.young == nil || c.rows > cacheRows {
		c.young, c.old, c.rows = make(map[uint32][]row), c.young, len(rows)
	}
	size := 0
	for i := range rows {
		size += len(rows[i].value)
	}
	values := make([]byte, 0, size)
	kept := make([]row, len(rows))
	for i, r := range rows {
		from := len(values)
		values = append(values, r.value...)
		r.value = values[from:len(values):len(values)]
		kept[i] = r
	}
	c.young[node] = kept
}
