package log

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	"idlog/log/store"
	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
	"idlog/proto/tile"
)

// A guard decides whether the next tree may be signed. It keeps, of the tree it
// last accepted, the compact range up to the last full bundle, and computes the
// rest from disk each time: a stored entry that no longer hashes to what was
// signed is found before the next signature. It belongs to one goroutine.
type guard struct {
	origin string
	store  store.Reader

	size int64 // of the tree accepted last
	root leaf.Hash
	full *compact.Range // [0, size rounded down to full bundles)
}

// newGuard computes the guard of an accepted tree from disk, or says what does
// not match it.
func newGuard(ctx context.Context, s store.Reader, c checkpoint.Checkpoint) (*guard, error) {
	boundary := c.Size / tile.Width * tile.Width
	peaks, err := (&nodes{store: s, size: c.Size}).peaks(ctx, boundary)
	if err != nil {
		return nil, err
	}
	g := &guard{origin: c.Origin, store: s, size: c.Size, root: c.Root, full: rangeOf(boundary, peaks)}
	if _, err := g.extend(ctx, c.Size); err != nil {
		return nil, err
	}
	return g, nil
}

// extend recomputes the tree at size, which is at least the guard's, in two
// ways that share no file: from the entries of re-read bundles on top of what
// was accepted before, and from re-read tiles. Both must agree, and the first
// must pass through the accepted root. Only then does the guard move, and
// returns the subtrees computed from entries. A disagreement is a *refusal, any
// other error a failure of the disk.
func (g *guard) extend(ctx context.Context, size int64) ([]node, error) {
	r := clone(g.full)
	from := int64(r.End())
	var hashes []leaf.Hash // of the leaves [from, size)
	var added []node
	visit := func(id compact.NodeID, hash []byte) { added = append(added, node{id, leaf.Hash(hash)}) }
	full := clone(r)
	for int64(r.End()) < size {
		c, _ := tile.At(tile.Entries, int64(r.End())/tile.Width, size)
		entries, err := g.bundle(ctx, c)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			h := rfc6962.DefaultHasher.HashLeaf(e)
			hashes = append(hashes, leaf.Hash(h))
			if err := r.Append(h, visit); err != nil {
				return nil, err
			}
			if int64(r.End()) == g.size && rootOf(r) != g.root {
				return nil, &refusal{reason: fmt.Sprintf("%s: the entries below %d no longer have the root that was signed", g.store.Where(c), g.size)}
			}
		}
		if r.End()%tile.Width == 0 {
			full = clone(r)
		}
	}
	root := rootOf(r)
	if size == g.size && root != g.root {
		return nil, &refusal{reason: fmt.Sprintf("the tree of size %d no longer has the root that was signed", size)}
	}

	tiles := tile.NewReader(checkpoint.Checkpoint{Origin: g.origin, Size: size, Root: root}, fetchFrom(g.store.Read))
	if _, err := tiles.Root(ctx, size); err != nil {
		return nil, disagreement(err)
	}
	for i, want := range hashes {
		got, err := tiles.Leaf(ctx, from+int64(i))
		if err != nil {
			return nil, disagreement(err)
		}
		if got != want {
			return nil, &refusal{reason: fmt.Sprintf("entry %d does not have the leaf hash that its tile has", from+int64(i))}
		}
	}
	g.size, g.root, g.full = size, root, full
	return added, nil
}

func (g *guard) bundle(ctx context.Context, c tile.Coord) ([][]byte, error) {
	b, err := g.store.Read(ctx, c)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &refusal{reason: fmt.Sprintf("%s is missing", g.store.Where(c))}
	} else if err != nil {
		return nil, disagreement(err)
	}
	entries, err := tile.Bundle(b, c.Width)
	if err != nil {
		return nil, &refusal{reason: fmt.Sprintf("%s: %v", g.store.Where(c), err)}
	}
	return entries, nil
}

// disagreement turns what re-reading found into a verdict. An error of the file
// system other than absence is none: a restart reads again.
func disagreement(err error) error {
	var disk *fs.PathError
	if errors.As(err, &disk) && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return &refusal{reason: err.Error()}
}

// fetchFrom gives a tile.Reader the resources of a store.
func fetchFrom(read func(context.Context, tile.Coord) ([]byte, error)) tile.Fetch {
	return func(ctx context.Context, path string) ([]byte, error) {
		c, err := tile.ParsePath(path)
		if err != nil {
			return nil, err
		}
		return read(ctx, c)
	}
}

func clone(r *compact.Range) *compact.Range {
	c, err := ranges.NewRange(0, r.End(), slices.Clone(r.Hashes()))
	if err != nil {
		panic(err) // it was a range before
	}
	return c
}
