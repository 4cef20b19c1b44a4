package history

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"

	"idlog/proto/trie"
)

// The rows of the store. Numbers in keys are big-endian; uv is a varint of encoding/binary; a run of indexes is the first
// index and then the differences, uv each.
//
//	"c" key u32(c)       append  chunk c of a list: postings 256c to 256c+255, in groups of 32: root of the group's tree, its run
//	"k" key              put     a list: uv n, roots of the perfect subtrees that make up the n postings, run of recent indexes
//	"l" u64(l)           append  leaf hashes of the entries 64l to 64l+63
//	"r"                  put     compact range of the entries whose leaf hashes fill their row
//	"s"                  put     the state, see revision.format
//	"t" key u8(v) u32(t) append  tile t of a list: roots of its perfect subtrees of 256^v postings, number 256t to 256t+255
//
// The recent indexes are those of the postings beyond the last whole group of 32; if there are none, that of the last.
const (
	kindChunk = 'c'
	kindList  = 'k'
	kindLeaf  = 'l'
	kindRange = 'r'
	kindState = 's'
	kindTile  = 't'
)

const (
	groupLevel = 5 // a group is 2^5 postings
	groupSize  = 1 << groupLevel
	tileLevel  = 8 // a chunk is 2^8 postings, a tile has 2^8 hashes
	tileSize   = 1 << tileLevel
	leafSize   = 64 // leaf hashes in a row
)

func listKey(b []byte, key Hash) []byte { return append(append(b[:0], kindList), key[:]...) }

func chunkKey(b []byte, key Hash, number int64) []byte {
	b = append(append(b[:0], kindChunk), key[:]...)
	return binary.BigEndian.AppendUint32(b, uint32(number))
}

func tileKey(b []byte, key Hash, level int, number int64) []byte {
	b = append(append(append(b[:0], kindTile), key[:]...), byte(level))
	return binary.BigEndian.AppendUint32(b, uint32(number))
}

func leafKey(b []byte, number int64) []byte {
	return binary.BigEndian.AppendUint64(append(b[:0], kindLeaf), uint64(number))
}

// A tree is the compact range of an RFC 6962 tree: the roots of the perfect subtrees that make up its leaves.
type tree []Hash

// push adds the hash of leaf number n. Each time a perfect subtree is complete, the leaf itself first, it calls visit.
func (t tree) push(n int64, h Hash, visit func(level int, h Hash)) tree {
	for level := 0; ; level++ {
		if visit != nil {
			visit(level, h)
		}
		if n>>level&1 == 0 {
			return append(t, h)
		}
		h = nodeHash(t[len(t)-1], h)
		t = t[:len(t)-1]
	}
}

// root returns the root of the tree.
func (t tree) root() Hash {
	if len(t) == 0 {
		return sha256.Sum256(nil)
	}
	h := t[len(t)-1]
	for i := len(t) - 2; i >= 0; i-- {
		h = nodeHash(t[i], h)
	}
	return h
}

func nodeHash(l, r Hash) Hash { return Hash(tlog.NodeHash(tlog.Hash(l), tlog.Hash(r))) }

// A list is the row of a postings list.
type list struct {
	n      int64
	tree   tree
	recent []int64 // indexes of the n % groupSize last postings; of the last, if that is none
}

var errRow = errors.New("a row does not have its form")

// parse reads a row into l, whose slices it uses again.
func (l *list) parse(b []byte) error {
	n, b, ok := uvarint(b)
	if !ok || n < 1 {
		return errRow
	}
	l.n, l.tree, l.recent = n, l.tree[:0], l.recent[:0]
	hashes := bits.OnesCount64(uint64(n))
	if len(b) < 32*hashes {
		return errRow
	}
	for ; hashes > 0; hashes-- {
		l.tree = append(l.tree, Hash(b[:32]))
		b = b[32:]
	}
	count := n % groupSize
	if count == 0 {
		count = 1
	}
	if l.recent, b, ok = parseRun(l.recent, b, count); !ok || len(b) > 0 {
		return errRow
	}
	return nil
}

func (l *list) format(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(l.n))
	for i := range l.tree {
		b = append(b, l.tree[i][:]...)
	}
	return appendRun(b, l.recent)
}

func (l *list) last() int64 { return l.recent[len(l.recent)-1] }

func (l *list) head() trie.Head { return trie.Head{N: l.n, Root: l.tree.root()} }

// add adds a posting, and to the batch what is complete by it.
func (l *list) add(key Hash, p trie.Posting, batch Batch, buf *buffers) {
	if l.n%groupSize == 0 {
		l.recent = l.recent[:0]
	}
	l.recent = append(l.recent, p.Index)
	n := l.n
	l.n++
	if l.n%groupSize != 0 {
		l.tree = l.tree.push(n, p.Hash(), nil)
		return
	}
	l.tree = l.tree.push(n, p.Hash(), func(level int, h Hash) {
		switch {
		case level == groupLevel:
			buf.key = chunkKey(buf.key, key, n/tileSize)
			buf.value = appendRun(append(buf.value[:0], h[:]...), l.recent)
			batch.Append(buf.key, buf.value)
		case level > 0 && level%tileLevel == 0:
			buf.key = tileKey(buf.key, key, level/tileLevel, n>>level/tileSize)
			batch.Append(buf.key, h[:])
		}
	})
	l.recent[0] = p.Index
	l.recent = l.recent[:1]
}

type buffers struct{ key, value []byte }

func appendRun(b []byte, indexes []int64) []byte {
	last := int64(0)
	for _, i := range indexes {
		b = binary.AppendUvarint(b, uint64(i-last))
		last = i
	}
	return b
}

// parseRun reads a run of count indexes and returns what is after it.
func parseRun(indexes []int64, b []byte, count int64) ([]int64, []byte, bool) {
	last := int64(0)
	for i := range count {
		var d int64
		var ok bool
		if d, b, ok = uvarint(b); !ok || i > 0 && d < 1 || last+d < last {
			return indexes, nil, false
		}
		last += d
		indexes = append(indexes, last)
	}
	return indexes, b, true
}

// uvarint reads a number in its shortest form.
func uvarint(b []byte) (int64, []byte, bool) {
	v, n := binary.Uvarint(b)
	if n < 1 || int64(v) < 0 || n > 1 && b[n-1] == 0 {
		return 0, nil, false
	}
	return int64(v), b[n:], true
}

// A group is groupSize postings of a chunk and the root of the tree over them.
type group struct {
	root    Hash
	indexes []int64
}

// parseChunk reads a chunk's groups.
func parseChunk(b []byte) ([]group, error) {
	var groups []group
	for len(b) > 0 {
		if len(b) < 32 || len(groups) == tileSize/groupSize {
			return nil, errRow
		}
		g := group{root: Hash(b[:32])}
		var ok bool
		if g.indexes, b, ok = parseRun(make([]int64, 0, groupSize), b[32:], groupSize); !ok {
			return nil, errRow
		}
		groups = append(groups, g)
	}
	return groups, nil
}
