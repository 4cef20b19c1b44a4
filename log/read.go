package log

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"

	merkle "github.com/transparency-dev/merkle/proof"

	"idlog/proto/leaf"
	"idlog/proto/tile"
)

// Published returns the newest published checkpoint, or false if there is none
// yet.
func (l *Log) Published() (Published, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.published, l.published.Note != nil
}

// Await waits for a published checkpoint of at least size and returns the first
// that is seen. It returns early with a *ReadOnlyError or an ErrFatal when none
// can come, or with ctx's error.
func (l *Log) Await(ctx context.Context, size int64) (Published, error) {
	return l.await(ctx, func(p Published) bool { return p.Size >= size })
}

// Next waits for a published checkpoint whose note is not after, which may be
// nil, and returns the newest. Its errors are those of Await.
func (l *Log) Next(ctx context.Context, after []byte) (Published, error) {
	return l.await(ctx, func(p Published) bool { return !bytes.Equal(p.Note, after) })
}

func (l *Log) await(ctx context.Context, want func(Published) bool) (Published, error) {
	for {
		l.mu.Lock()
		p, readOnly, fatal, changed := l.published, l.readOnly, l.fatal, l.changed
		l.mu.Unlock()
		switch {
		case p.Note != nil && want(p):
			return p, nil
		case fatal != nil:
			return Published{}, fatal
		case readOnly != nil:
			return Published{}, readOnly
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Published{}, fmt.Errorf("waiting for a checkpoint: %w", ctx.Err())
		}
	}
}

// Inclusion returns the proof that the leaf at index is in the tree of size,
// which is at most Integrated. Proofs of the newest leaves come from memory,
// others from tiles that are not verified: the proof is, by whoever uses it.
func (l *Log) Inclusion(ctx context.Context, index, size int64) ([]leaf.Hash, error) {
	if index < 0 || index >= size || size > l.size.Load() {
		return nil, fmt.Errorf("proving inclusion of %d in %d: %w", index, size, fs.ErrNotExist)
	}
	of, err := merkle.Inclusion(uint64(index), uint64(size))
	if err != nil {
		return nil, fmt.Errorf("proving inclusion: %w", err)
	}
	return (&nodes{edge: &l.edge, store: l.store, size: size}).proof(ctx, of)
}

// Consistency returns the proof that the tree of size to, which is at most
// Integrated, continues that of size from. It is empty from size 0 and between
// equal sizes.
func (l *Log) Consistency(ctx context.Context, from, to int64) ([]leaf.Hash, error) {
	if from < 0 || from > to || to > l.size.Load() {
		return nil, fmt.Errorf("proving consistency of %d and %d: %w", from, to, fs.ErrNotExist)
	}
	of, err := merkle.Consistency(uint64(from), uint64(to))
	if err != nil {
		return nil, fmt.Errorf("proving consistency: %w", err)
	}
	return (&nodes{edge: &l.edge, store: l.store, size: to}).proof(ctx, of)
}

// Entry returns the leaf at index, below Integrated, as it stands on disk. The
// caller owns it.
func (l *Log) Entry(ctx context.Context, index int64) ([]byte, error) {
	c, ok := tile.At(tile.Entries, index/tile.Width, l.size.Load())
	if index < 0 || !ok || index%tile.Width >= int64(c.Width) {
		return nil, fmt.Errorf("reading entry %d: %w", index, fs.ErrNotExist)
	}
	b, err := l.store.Read(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("reading entry %d: %w", index, err)
	}
	entries, err := tile.Bundle(b, c.Width)
	if err != nil {
		return nil, fmt.Errorf("reading entry %d: %w", index, err)
	}
	return bytes.Clone(entries[index%tile.Width]), nil
}

// Resource returns the tile or bundle at a path of c2sp.org/tlog-tiles, as a
// reader of the published tree may see it: nothing of what lies beyond, even
// where the file on disk has it. It is fs.ErrNotExist if the published tree does
// not have it, and tile.ParsePath's error if the path is not one.
func (l *Log) Resource(ctx context.Context, path string) ([]byte, error) {
	c, err := tile.ParsePath(path)
	if err != nil {
		return nil, err
	}
	p, _ := l.Published()
	has, ok := tile.At(c.Level, c.Index, p.Size)
	if !ok || c.Width > has.Width {
		return nil, fmt.Errorf("reading %s at size %d: %w", path, p.Size, fs.ErrNotExist)
	}
	b, err := l.store.Read(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return b, nil
}

// Archived returns the published checkpoint of the smallest size that is at
// least size, with the first cosignature of every witness that gave one;
// fs.ErrNotExist beyond the last. Of those older than a day one a minute is kept.
func (l *Log) Archived(_ context.Context, size int64) ([]byte, error) {
	return l.heads.Archived(size)
}

// Around returns the largest archived size that is at most index, and the smallest
// that is greater: the entry at index was logged after the one checkpoint and
// before the other. It is 0 where there is none.
func (l *Log) Around(index int64) (after, before int64) { return l.heads.Around(index) }
