// Package tile names, splits and reads the resources of a tiled log,
// c2sp.org/tlog-tiles: tiles of hashes and bundles of entries.
//
// It trusts a verified checkpoint and nothing that is fetched: a [Reader]
// returns only what its checkpoint's root commits to. It keeps nothing on disk.
// The functions may be called concurrently; a Reader belongs to one goroutine.
//
// The tile of level l and index n holds, for i from 0 to 255, the root of the
// entries [(256n+i)·256^l, (256n+i+1)·256^l): at level 0 the leaf hashes, above
// it the roots of full tiles. The last tile of a level has as many hashes as the
// tree has roots of that kind, and is absent if that is none. Its path is
//
//	path  = "tile/" ( level / "entries" ) "/" index [ ".p/" width ]
//	index = *("x" 3DIGIT "/") 3DIGIT      ; no leading x000/
//	width = 1..255                        ; a partial tile; full ones have none
//
// and a bundle is the tile's entries, each after its u16 length.
//
// Invariants:
//   - [ParsePath] accepts exactly the paths that [Coord.Path] writes, so that a
//     path from the network can name nothing else.
//   - No hash and no entry leaves a Reader before it is proven: partial tiles
//     together give the root, a full tile gives one hash of the tile above it,
//     an entry gives its leaf hash.
package tile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

const (
	// Width is the number of hashes or entries of a full tile.
	Width = 256
	// Entries is the level of entry bundles.
	Entries = -1
	// MaxEntry is the largest entry of a bundle in bytes.
	MaxEntry = 1<<16 - 1
	// MaxBundle is the largest bundle in bytes; a tile of hashes has at most
	// 8192. Whoever fetches stops there.
	MaxBundle = Width * (2 + MaxEntry)

	hashSize = 32
	// maxLevel is the level of a tree of 2^63-1 entries whose tiles are the
	// highest: 256^7 entries under one hash.
	maxLevel = 7
)

// A Coord names one resource.
type Coord struct {
	Level int   // 0 to 7, or Entries
	Index int64 // of the tile within its level
	Width int   // 1 to 256; 256 is a full tile
}

// At returns the tile of that level and index as it is in a tree of that size,
// and false if such a tree has none.
func At(level int, index, size int64) (Coord, bool) {
	if level < Entries || level > maxLevel || index < 0 || size < 0 {
		return Coord{}, false
	}
	have := size >> (8 * max(level, 0)) // hashes or entries of the level
	if index > have/Width {
		return Coord{}, false
	}
	c := Coord{Level: level, Index: index, Width: int(min(have-index*Width, Width))}
	return c, c.Width > 0
}

// Full returns the full tile of which c is the beginning.
func (c Coord) Full() Coord {
	c.Width = Width
	return c
}

// Path returns the resource's path below the prefix of the log, without a
// leading slash. A Coord that no tree has gives a path that ParsePath refuses.
func (c Coord) Path() string {
	level := "entries"
	if c.Level != Entries {
		level = strconv.Itoa(c.Level)
	}
	index := fmt.Sprintf("%03d", c.Index%1000)
	for n := c.Index / 1000; n > 0; n /= 1000 {
		index = fmt.Sprintf("x%03d/%s", n%1000, index)
	}
	if c.Width == Width {
		return "tile/" + level + "/" + index
	}
	return fmt.Sprintf("tile/%s/%s.p/%d", level, index, c.Width)
}

// ParsePath reads the path of a tile or bundle. It refuses every text but the
// one that Path writes, so neither dots, nor escapes, nor padding get through;
// and tiles that lie beyond 2^63 entries.
func ParsePath(path string) (Coord, error) {
	c, ok := parsePath(path)
	if !ok || c.Path() != path {
		return Coord{}, fmt.Errorf("%.100q is not the path of a tile", path)
	}
	return c, nil
}

// parsePath reads numbers; that they were written canonically is for ParsePath
// to find out.
func parsePath(path string) (c Coord, ok bool) {
	rest, ok := strings.CutPrefix(path, "tile/")
	if !ok || len(path) > 64 {
		return Coord{}, false
	}
	level, rest, _ := strings.Cut(rest, "/")
	c.Level = Entries
	if level != "entries" {
		n, err := strconv.ParseUint(level, 10, 8)
		if err != nil || n > maxLevel {
			return Coord{}, false
		}
		c.Level = int(n)
	}
	index, width, partial := strings.Cut(rest, ".p/")
	c.Width = Width
	if partial {
		n, err := strconv.ParseUint(width, 10, 16)
		if err != nil || n < 1 || n >= Width {
			return Coord{}, false
		}
		c.Width = int(n)
	}
	digits := strings.NewReplacer("x", "", "/", "").Replace(index)
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 {
		return Coord{}, false
	}
	c.Index = n
	largest, ok := At(c.Level, c.Index, math.MaxInt64)
	return c, ok && c.Width <= largest.Width
}

// Bundle splits a bundle of exactly n entries, 1 to 256. The entries share
// memory with b. They are not verified.
func Bundle(b []byte, n int) ([][]byte, error) {
	if n < 1 || n > Width {
		return nil, fmt.Errorf("splitting bundle: %d entries", n)
	}
	entries := make([][]byte, 0, n)
	for i := range n {
		if len(b) < 2 {
			return nil, fmt.Errorf("splitting bundle: ends in the length of entry %d of %d", i, n)
		}
		size := int(binary.BigEndian.Uint16(b))
		if len(b)-2 < size {
			return nil, fmt.Errorf("splitting bundle: ends in entry %d of %d", i, n)
		}
		entries = append(entries, b[2:2+size:2+size])
		b = b[2+size:]
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("splitting bundle: %d bytes after %d entries", len(b), n)
	}
	return entries, nil
}

// AppendBundle appends one entry to a bundle and returns the longer bundle.
func AppendBundle(b, entry []byte) ([]byte, error) {
	if len(entry) > MaxEntry {
		return nil, fmt.Errorf("writing bundle: entry has %d bytes, more than %d", len(entry), MaxEntry)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(entry)))
	return append(b, entry...), nil
}

// Hashes splits a tile of exactly n hashes, 1 to 256. They are not verified.
func Hashes(b []byte, n int) ([][32]byte, error) {
	if n < 1 || n > Width {
		return nil, fmt.Errorf("splitting tile: %d hashes", n)
	}
	if len(b) != n*hashSize {
		return nil, errors.New("splitting tile: not " + strconv.Itoa(n) + " hashes")
	}
	hashes := make([][32]byte, n)
	for i := range hashes {
		hashes[i] = [32]byte(b[i*hashSize:])
	}
	return hashes, nil
}
