package audit

import (
	"crypto/sha256"
	"math/bits"

	"idlog/proto/tile"
)

// A tree is computed bottom up from the hashes of bundles, in order. It keeps
// the tiles that are not full yet, one a level.
type tree struct {
	levels [8]struct {
		index  int64      // of the tile that is being filled
		hashes [][32]byte // of it; fewer than 256
	}
}

// A filled tile is full, and its hashes are good until the next call of add.
type filled struct {
	tile.Coord
	hashes [][32]byte
}

// add adds the root of a full tile of level 0 and returns the tiles that are
// full with it, from below.
func (t *tree) add(root [32]byte) (full []filled) {
	for level := 1; level < len(t.levels); level++ {
		l := &t.levels[level]
		l.hashes = append(l.hashes, root)
		if len(l.hashes) < tile.Width {
			return full
		}
		full = append(full, filled{tile.Coord{Level: level, Index: l.index, Width: tile.Width}, l.hashes})
		root = perfect(l.hashes)
		l.index, l.hashes = l.index+1, l.hashes[:0]
	}
	return full
}

// edge returns the tiles above level 0 that are not full and not empty.
func (t *tree) edge() (partial []filled) {
	for level := 1; level < len(t.levels); level++ {
		if l := &t.levels[level]; len(l.hashes) > 0 {
			partial = append(partial, filled{tile.Coord{Level: level, Index: l.index, Width: len(l.hashes)}, l.hashes})
		}
	}
	return partial
}

// root returns the root of the tree that ends with these leaf hashes, at most
// 256, which have not been added.
func (t *tree) root(leaves [][32]byte) [32]byte {
	peaks := make([][32]byte, 0, 64)
	take := func(hashes [][32]byte) {
		for len(hashes) > 0 {
			n := 1 << (bits.Len(uint(len(hashes))) - 1)
			peaks = append(peaks, perfect(hashes[:n]))
			hashes = hashes[n:]
		}
	}
	for level := len(t.levels) - 1; level >= 1; level-- {
		take(t.levels[level].hashes)
	}
	take(leaves)
	if len(peaks) == 0 {
		return sha256.Sum256(nil)
	}
	root := peaks[len(peaks)-1]
	for i := len(peaks) - 2; i >= 0; i-- {
		root = join(&peaks[i], &root)
	}
	return root
}

// perfect returns the root over 2^k hashes, at most 256.
func perfect(hashes [][32]byte) [32]byte {
	var row [tile.Width / 2][32]byte
	if len(hashes) == 1 {
		return hashes[0]
	}
	for i := range len(hashes) / 2 {
		row[i] = join(&hashes[2*i], &hashes[2*i+1])
	}
	for n := len(hashes) / 4; n > 0; n /= 2 {
		for i := range n {
			row[i] = join(&row[2*i], &row[2*i+1])
		}
	}
	return row[0]
}

// join is the hash of an inner node, RFC 6962.
func join(l, r *[32]byte) [32]byte {
	var b [65]byte
	b[0] = 1
	copy(b[1:], l[:])
	copy(b[33:], r[:])
	return sha256.Sum256(b[:])
}
