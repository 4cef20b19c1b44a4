package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"

	"idlog/client/remote"
	"idlog/client/rules"
	"idlog/proto/leaf"
	"idlog/proto/tile"
)

// A bundle is up to 256 entries, read, hashed, compared with the stored tile of
// their hashes and parsed.
type bundle struct {
	index  int64
	hashes [][32]byte  // leaf hashes; nil if neither entries nor hashes can be read
	root   [32]byte    // of them, where the bundle is full
	leaves []leaf.Leaf // nil if the entries cannot be read; an element is nil if it is no leaf
	bytes  int64
}

// read reads one bundle. It is called by several goroutines.
func (a *auditor) read(ctx context.Context, index int64) (*bundle, error) {
	c, _ := tile.At(tile.Entries, index, a.size())
	b := &bundle{index: index}
	entries, err := a.entries(ctx, c)
	if err != nil {
		return nil, err
	}
	if entries != nil {
		b.hash(entries)
		b.parse(a, entries)
	}
	h := tile.Coord{Level: 0, Index: index, Width: c.Width}
	if b.hashes != nil {
		err = a.compare(ctx, h, b.hashes)
	} else {
		b.hashes, err = a.stored(ctx, h)
	}
	if err != nil {
		return nil, err
	}
	if len(b.hashes) == tile.Width {
		b.root = perfect(b.hashes)
	}
	return b, nil
}

func (b *bundle) hash(entries [][]byte) {
	b.hashes = make([][32]byte, len(entries))
	buf := make([]byte, 0, 2048)
	for i, e := range entries {
		buf = append(append(buf[:0], 0), e...)
		b.hashes[i] = sha256.Sum256(buf)
		b.bytes += int64(len(e))
	}
}

func (b *bundle) parse(a *auditor, entries [][]byte) {
	b.leaves = make([]leaf.Leaf, len(entries))
	for i, e := range entries {
		l, err := leaf.Parse(e)
		if err == nil {
			b.leaves[i] = l
		}
		a.findings.entry(rules.Alone(b.index*tile.Width+int64(i), a.report.Family, b.leaves[i], err, rules.Window{}))
	}
}

// entries reads a bundle of entries, and on disk all of its partial files. It
// returns nil, with a finding, if it is not there or cannot be taken apart.
func (a *auditor) entries(ctx context.Context, c tile.Coord) ([][]byte, error) {
	b, got, err := a.fetch(ctx, c)
	if err != nil || b == nil {
		return nil, err
	}
	entries, err := tile.Bundle(b, got.Width)
	if err != nil {
		a.findings.add(Tile, got.Path(), "%v", err)
		return nil, nil
	}
	entries = entries[:c.Width]
	return entries, a.partials(ctx, c, func(n int) []byte { return b[:lengthOf(entries[:n])] })
}

// compare holds a stored tile of hashes, and on disk all of its partial files,
// against what was computed.
func (a *auditor) compare(ctx context.Context, c tile.Coord, want [][32]byte) error {
	b, got, err := a.fetch(ctx, c)
	if err != nil {
		return err
	}
	flat := make([]byte, 0, len(want)*32)
	for i := range want {
		flat = append(flat, want[i][:]...)
	}
	if b != nil {
		a.same(got, b, flat, got.Width == c.Width)
	}
	return a.partials(ctx, c, func(n int) []byte { return flat[:32*n] })
}

// same compares a file with what it must hold, or begin with.
func (a *auditor) same(c tile.Coord, b, want []byte, whole bool) {
	if whole && len(b) != len(want) || len(b) < len(want) {
		a.findings.add(Tile, c.Path(), "has %d bytes, not %d", len(b), len(want))
		return
	}
	if bytes.Equal(b[:len(want)], want) {
		return
	}
	at := 0
	for b[at] == want[at] {
		at++
	}
	if c.Level == tile.Entries {
		a.findings.add(Tile, c.Path(), "differs from the fuller file of the same entries at byte %d", at)
		return
	}
	under := "the tile below it"
	if c.Level == 0 {
		under = "the entry"
	}
	a.findings.add(Tile, c.Path(), "hash %d is not that of %s", at/32, under)
}

// stored returns the hashes of a tile as they are stored, nil if they are not.
func (a *auditor) stored(ctx context.Context, c tile.Coord) ([][32]byte, error) {
	b, got, err := a.fetch(ctx, c)
	if err != nil || b == nil {
		return nil, err
	}
	hashes, err := tile.Hashes(b, got.Width)
	if err != nil {
		a.findings.add(Tile, got.Path(), "%v", err)
		return nil, nil
	}
	return hashes[:c.Width], nil
}

// fetch is find with a finding in place of fs.ErrNotExist and remote.ErrTooLarge.
func (a *auditor) fetch(ctx context.Context, c tile.Coord) ([]byte, tile.Coord, error) {
	b, got, err := a.find(ctx, c)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		a.findings.add(Missing, c.Path(), "is not there")
		return nil, c, nil
	case errors.Is(err, remote.ErrTooLarge):
		a.findings.add(Tile, got.Path(), "is larger than any tile")
		return nil, c, nil
	}
	a.tiles.Add(1)
	return b, got, err
}

// find reads a resource, or a fuller one that begins with it: a log may take
// partial tiles away once there are more hashes.
func (a *auditor) find(ctx context.Context, c tile.Coord) ([]byte, tile.Coord, error) {
	b, err := a.cfg.Log.Resource(ctx, c.Path())
	if c.Width == tile.Width || !errors.Is(err, fs.ErrNotExist) {
		return b, c, err
	}
	var try []tile.Coord
	if a.dir != nil {
		widths, err := a.dir.partials(c)
		if err != nil {
			return nil, c, err
		}
		for _, w := range widths {
			if w > c.Width {
				try = append(try, tile.Coord{Level: c.Level, Index: c.Index, Width: w})
			}
		}
	}
	// The full one last: a log in use takes partial ones away only once it is there.
	for _, at := range append(try, c.Full()) {
		if b, ferr := a.cfg.Log.Resource(ctx, at.Path()); ferr == nil || !errors.Is(ferr, fs.ErrNotExist) {
			return b, at, ferr
		}
	}
	return nil, c, err
}

// resource is the tile.Fetch of the log: what is at a path, and no more of it.
func (a *auditor) resource(ctx context.Context, path string) ([]byte, error) {
	c, err := tile.ParsePath(path)
	if err != nil {
		return nil, err
	}
	b, got, err := a.find(ctx, c)
	if err != nil || got == c {
		return b, err
	}
	if c.Level != tile.Entries {
		return b[:min(32*c.Width, len(b))], nil
	}
	entries, err := tile.Bundle(b, got.Width)
	if err != nil {
		return nil, err
	}
	return b[:lengthOf(entries[:c.Width])], nil
}

// lengthOf returns how long a bundle of these entries is.
func lengthOf(entries [][]byte) (n int) {
	for _, e := range entries {
		n += 2 + len(e)
	}
	return n
}

// partials compares the partial files of a tile on disk, as far as they lie
// within the newest tree; prefix gives what the first n must be.
func (a *auditor) partials(ctx context.Context, c tile.Coord, prefix func(n int) []byte) error {
	if a.dir == nil {
		return nil
	}
	widths, err := a.dir.partials(c)
	if err != nil {
		return err
	}
	for _, w := range widths {
		if w >= c.Width { // was compared, or lies beyond
			continue
		}
		p := tile.Coord{Level: c.Level, Index: c.Index, Width: w}
		b, err := a.dir.Resource(ctx, p.Path())
		if errors.Is(err, fs.ErrNotExist) { // a log in use takes them away
			continue
		} else if err != nil {
			return err
		}
		a.tiles.Add(1)
		a.same(p, b, prefix(w), true)
	}
	return nil
}
