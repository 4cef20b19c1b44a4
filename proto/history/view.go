package history

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"sort"
	"sync"

	"idlog/proto/trie"
)

// A View is one revision of an Index. Its methods may be called concurrently, and while the Index goes on; an open View
// costs the memory of what changes in the upper part of the trie while it is open.
type View struct {
	state State
	snap  Snapshot
	top   *top
	undo  *undo
	once  sync.Once
}

// View returns the present revision; it waits for an Append under way. Close it.
func (x *Index) View() *View {
	x.mu.Lock()
	defer x.mu.Unlock()
	return &View{state: x.State(), snap: x.store.Snapshot(), top: x.top, undo: x.top.open()}
}

// State returns the revision's.
func (v *View) State() State { return v.state }

// Close ends the view: nothing is under way in it. A second call does nothing.
func (v *View) Close() error {
	var err error
	v.once.Do(func() {
		v.top.close(v.undo)
		err = v.snap.Close()
	})
	return err
}

// Find returns where the search for a key ends, and the head of its list; the zero Head if the key is absent. The path was
// verified under the view's map root.
func (v *View) Find(key Hash) (trie.Path, trie.Head, error) {
	p, l, err := v.find(key)
	if err != nil {
		return trie.Path{}, trie.Head{}, fmt.Errorf("finding key %x: %w", key, err)
	}
	if l == nil {
		return p, trie.Head{}, nil
	}
	return p, l.head(), nil
}

// find returns a verified path and the list at its end, nil if the key is absent.
func (v *View) find(key Hash) (p trie.Path, l *list, err error) {
	if v.state.Keys > 0 {
		if p, l, err = v.search(key); err != nil {
			return trie.Path{}, nil, err
		}
	}
	present, err := p.Verify(key, v.state.MapRoot)
	if err != nil {
		return trie.Path{}, nil, errors.Join(ErrDamaged, err)
	}
	if !present {
		l = nil
	}
	return p, l, nil
}

// search returns the path of a key and the list of its terminal key, as the rows have them.
func (v *View) search(key Hash) (trie.Path, *list, error) {
	node, steps := v.top.find(v.undo, key)
	twigs, lists, err := v.bucket(node)
	if err != nil {
		return trie.Path{}, nil, err
	}
	for len(twigs) > 1 {
		depth, split := part(twigs)
		if trie.Bit(key, depth) == 0 {
			steps = append(steps, trie.Step{Depth: depth, Sibling: root(twigs[split:])})
			twigs, lists = twigs[:split], lists[:split]
		} else {
			steps = append(steps, trie.Step{Depth: depth, Sibling: root(twigs[:split])})
			twigs, lists = twigs[split:], lists[split:]
		}
	}
	slices.Reverse(steps)
	return trie.Path{Found: true, Terminal: twigs[0].key, Head: lists[0].head().Hash(), Steps: steps}, &lists[0], nil
}

// bucket reads the rows of a bucket that has some.
func (v *View) bucket(node uint32) ([]twig, []list, error) {
	c, err := v.snap.Scan([]byte{kindList}, []byte{kindList + 1})
	if err != nil {
		return nil, nil, err
	}
	var twigs []twig
	var lists []list
	for ok := c.Seek(listKey(nil, v.top.first(node))); ok; ok = c.Next() {
		var l list
		w, err := parseTwig(c.Key(), c.Value(), &l)
		if err != nil {
			return nil, nil, errors.Join(err, c.Close())
		}
		if v.top.bucket(&w.key) != node {
			break
		}
		twigs, lists = append(twigs, w), append(lists, l)
	}
	if err := c.Close(); err != nil {
		return nil, nil, err
	}
	if len(twigs) == 0 {
		return nil, nil, fmt.Errorf("%w: no rows of the keys from %x on", ErrDamaged, v.top.first(node))
	}
	return twigs, lists, nil
}

// Page returns the postings of a key's list from number start on, up to count of them and as many as there are, with the
// hashes that prove them. It was verified under the head that Find returns. It is an error if the key is absent, or
// start is not 0 to n.
func (v *View) Page(key Hash, start, count int64) (trie.Page, error) {
	p, err := v.page(key, start, count)
	if err != nil {
		return trie.Page{}, fmt.Errorf("reading the list of key %x: %w", key, err)
	}
	return p, nil
}

func (v *View) page(key Hash, start, count int64) (trie.Page, error) {
	_, l, err := v.find(key)
	switch {
	case err != nil:
		return trie.Page{}, err
	case l == nil:
		return trie.Page{}, errors.New("the key is absent")
	case start < 0 || start > l.n || count < 0:
		return trie.Page{}, fmt.Errorf("there are no %d numbers from %d on in a list of %d", count, start, l.n)
	}
	p, err := v.reader(key, l).page(start, start+min(count, l.n-start))
	if err != nil {
		return trie.Page{}, err
	}
	if err := p.Verify(l.head(), v.state.Size); err != nil {
		return trie.Page{}, errors.Join(ErrDamaged, err)
	}
	return p, nil
}

// Seek returns the number of the first posting in a key's list whose index is not less than index; the length of the list
// if there is none, 0 if the key is absent. It says where a page begins: only the page proves what is there.
func (v *View) Seek(key Hash, index int64) (number int64, err error) {
	_, l, err := v.find(key)
	if err == nil && l != nil {
		number, err = v.reader(key, l).seek(index)
	}
	if err != nil {
		return 0, fmt.Errorf("searching the list of key %x: %w", key, err)
	}
	return number, nil
}

// A reader reads one list, and each row of it once.
type reader struct {
	key    Hash
	list   *list
	snap   Snapshot
	chunks map[int64][]group
	rows   map[string][]byte // of leaf hashes and tiles
}

func (r *reader) get(key []byte) ([]byte, error) {
	if b, ok := r.rows[string(key)]; ok {
		return b, nil
	}
	b, err := r.snap.Get(key)
	if err == nil {
		r.rows[string(key)] = b
	}
	return b, err
}

func (v *View) reader(key Hash, l *list) *reader {
	return &reader{key: key, list: l, snap: v.snap, chunks: make(map[int64][]group), rows: make(map[string][]byte)}
}

// chunk returns the whole groups of a chunk.
func (r *reader) chunk(number int64) ([]group, error) {
	if groups, ok := r.chunks[number]; ok {
		return groups, nil
	}
	b, err := r.snap.Get(chunkKey(nil, r.key, number))
	if err != nil {
		return nil, err
	}
	groups, err := parseChunk(b)
	if want := min(r.list.n/groupSize-number*tileSize/groupSize, tileSize/groupSize); err != nil || int64(len(groups)) != want {
		return nil, fmt.Errorf("%w: chunk %d", ErrDamaged, number)
	}
	r.chunks[number] = groups
	return groups, nil
}

// index returns the index of posting number.
func (r *reader) index(number int64) (int64, error) {
	if whole := r.list.n / groupSize * groupSize; number >= whole {
		return r.list.recent[number-whole], nil
	}
	groups, err := r.chunk(number / tileSize)
	if err != nil {
		return 0, err
	}
	return groups[number%tileSize/groupSize].indexes[number%groupSize], nil
}

// posting returns posting number.
func (r *reader) posting(number int64) (trie.Posting, error) {
	index, err := r.index(number)
	if err != nil {
		return trie.Posting{}, err
	}
	b, err := r.get(leafKey(nil, index/leafSize))
	if err != nil {
		return trie.Posting{}, err
	}
	at := index % leafSize * 32
	if int64(len(b)) < at+32 {
		return trie.Posting{}, fmt.Errorf("%w: no leaf hash of entry %d", ErrDamaged, index)
	}
	return trie.Posting{Index: index, Leaf: Hash(b[at : at+32])}, nil
}

// subtree returns the root of the perfect subtree of 2^level postings, number i of them.
func (r *reader) subtree(level int, i int64) (Hash, error) {
	var t tree
	add := func(n int64, hash func(n int64) (Hash, error)) error {
		for k := range n {
			h, err := hash(i*n + k)
			if err != nil {
				return err
			}
			t = t.push(k, h, nil)
		}
		return nil
	}
	var err error
	switch {
	case level >= tileLevel:
		stored := level / tileLevel
		var tile []byte
		count := int64(1) << (level - stored*tileLevel)
		number := i * count / tileSize
		if tile, err = r.get(tileKey(nil, r.key, stored, number)); err != nil {
			return Hash{}, err
		}
		err = add(count, func(n int64) (Hash, error) {
			at := n % tileSize * 32
			if int64(len(tile)) < at+32 {
				return Hash{}, fmt.Errorf("%w: tile %d of level %d", ErrDamaged, number, stored)
			}
			return Hash(tile[at : at+32]), nil
		})
	case level >= groupLevel:
		err = add(1<<(level-groupLevel), func(n int64) (Hash, error) {
			groups, err := r.chunk(n * groupSize / tileSize)
			if err != nil {
				return Hash{}, err
			}
			return groups[n%(tileSize/groupSize)].root, nil
		})
	default:
		err = add(1<<level, func(n int64) (Hash, error) {
			p, err := r.posting(n)
			return p.Hash(), err
		})
	}
	if err != nil {
		return Hash{}, err
	}
	return t.root(), nil
}

// subtrees returns the roots of the perfect subtrees that make up the postings [from, to).
func (r *reader) subtrees(from, to int64) ([]Hash, error) {
	var hashes []Hash
	for from < to {
		level := bits.Len64(uint64(to-from)) - 1
		if from > 0 {
			level = min(level, bits.TrailingZeros64(uint64(from)))
		}
		h, err := r.subtree(level, from>>level)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, h)
		from += 1 << level
	}
	return hashes, nil
}

func (r *reader) page(start, end int64) (trie.Page, error) {
	p := trie.Page{Start: start}
	for n := start; n < end; n++ {
		q, err := r.posting(n)
		if err != nil {
			return trie.Page{}, err
		}
		p.Postings = append(p.Postings, q)
	}
	var err error
	if p.Left, err = r.subtrees(0, start); err != nil {
		return trie.Page{}, err
	}
	p.Right, err = r.subtrees(end, r.list.n)
	return p, err
}

func (r *reader) seek(index int64) (int64, error) {
	var err error
	number := sort.Search(int(r.list.n), func(n int) bool {
		if err != nil {
			return true
		}
		var at int64
		at, err = r.index(int64(n))
		return at >= index
	})
	return int64(number), err
}
