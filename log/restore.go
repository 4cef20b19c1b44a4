package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"idlog/log/heads"
	"idlog/log/internal/atomicfile"
	"idlog/log/store/posix"
	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
	"idlog/proto/tile"
)

// A Claim keeps every other process away from a log that is not open, and knows
// what the log ever signed. It is for whoever puts a log back, or changes its
// keys. It belongs to one goroutine.
type Claim struct {
	// HighWater is the last tree that was signed.
	HighWater checkpoint.Checkpoint

	config Config
	locks  []io.Closer
}

// ClaimLog locks the heads directory of c, and that of the log if there is one. It
// changes nothing. What it must not build on is a *RefusedError: a log that is
// open, heads of another log, no heads at all. Of c, Dir, Heads and Origin count.
func ClaimLog(c Config) (_ *Claim, err error) {
	k := &Claim{config: c}
	defer func() {
		if err != nil {
			err = errors.Join(err, k.Close())
		}
	}()
	if _, err := os.Stat(c.Heads); errors.Is(err, fs.ErrNotExist) {
		return nil, refuse(c.Heads, "the high-water mark is missing: there is no such directory", remedyHeads)
	}
	for _, name := range []string{c.Heads, filepath.Join(c.Dir, lockName)} {
		f, err := lock(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		k.locks = append(k.locks, f)
	}
	h, err := heads.Open(c.Heads, c.Origin)
	var corrupt *heads.CorruptError
	if errors.As(err, &corrupt) {
		return nil, refuse(corrupt.File, corrupt.Problem, remedyHeads)
	} else if err != nil {
		return nil, err
	}
	k.HighWater = h.Last().Checkpoint
	return k, h.Close()
}

// Close lets others at the log.
func (k *Claim) Close() error {
	var err error
	for _, l := range k.locks {
		err = errors.Join(err, l.Close())
	}
	k.locks = nil
	return err
}

// SetKeys says with which keys the log may be opened from now on: before the
// configuration names a new one, and after it no longer names an old one. A crash
// leaves the old keys or the new ones.
func (k *Claim) SetKeys(vkeys []string) error {
	name := filepath.Join(k.config.Dir, identityName)
	_, created, err := readIdentity(name, k.config.Origin)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(name, formatIdentity(k.config.Origin, vkeys, created)); err != nil {
		return fmt.Errorf("writing identity: %w", err)
	}
	return nil
}

// PublishedKeys returns which of these keys have signed what the log published
// last. A log must not lose the last key that readers know its tree by. If
// nothing is published the error is fs.ErrNotExist.
func (k *Claim) PublishedKeys(vkeys []string) ([]string, error) {
	note, err := os.ReadFile((&Log{cfg: k.config}).publishedFile())
	if err != nil {
		return nil, fmt.Errorf("reading what is published: %w", err)
	}
	var signed []string
	for _, v := range vkeys {
		key, err := checkpoint.NewVerifier(v)
		if err != nil {
			return nil, fmt.Errorf("reading what is published: %w", err)
		}
		_, by, err := checkpoint.Open(note, k.config.Origin, key)
		if err != nil {
			return nil, fmt.Errorf("reading what is published: %w", err)
		}
		if by == 1 {
			signed = append(signed, v)
		}
	}
	return signed, nil
}

// TilesDir is the directory in which a log at dir has its tiles and bundles.
func TilesDir(dir string) string { return filepath.Join(dir, tilesName) }

// Rebuild makes c.Dir the directory of a log again, out of the tiles and bundles
// that were put into TilesDir: all those of the tree that note, a checkpoint of
// this log, is of. The leaves that followed come from tail, as many as there are
// up to size; it may be nil where note is of that size. The tree at signed.Size,
// which is within, must have the root of signed: else the error is a
// *RefusedError, and Open finds no log.
//
// If we die within it, Open finds no log either: the identity comes last.
func Rebuild(ctx context.Context, c Config, note []byte, signed checkpoint.Checkpoint, size int64, tail func(index int64) ([]byte, error)) error {
	if err := c.rebuild(ctx, note, signed, size, tail); err != nil {
		return fmt.Errorf("rebuilding log %s: %w", c.Origin, err)
	}
	return nil
}

func (c *Config) rebuild(ctx context.Context, note []byte, signed checkpoint.Checkpoint, size int64, tail func(index int64) ([]byte, error)) error {
	if _, err := c.check(); err != nil {
		return err
	}
	text, _, err := checkpoint.Split(note)
	if err != nil {
		return err
	}
	from, err := checkpoint.Parse(text)
	if err != nil {
		return err
	}
	store := posix.New(TilesDir(c.Dir), c.Origin)
	if err := store.Adopt(from.Size, from.Root); err != nil {
		return err
	}
	if err := extend(ctx, store, from.Size, size, tail); err != nil {
		return err
	}
	size, root, err := store.State(ctx)
	if err != nil {
		return err
	}
	tiles := tile.NewReader(checkpoint.Checkpoint{Origin: c.Origin, Size: size, Root: root}, fetchFrom(store.Read))
	if got, err := tiles.Root(ctx, signed.Size); err != nil {
		return err
	} else if got != signed.Root {
		return refuse(store.WhereState(), fmt.Sprintf("what was put back does not have the root that was signed at size %d", signed.Size), remedyTiles)
	}
	if err := os.MkdirAll(filepath.Dir((&Log{cfg: *c}).publishedFile()), 0o755); err != nil {
		return err
	}
	if err := atomicfile.Write((&Log{cfg: *c}).publishedFile(), bytes.Clone(note)); err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(c.Dir, lockName), nil); err != nil {
		return err
	}
	// If we die before this, there is no log. After it, there is one.
	return atomicfile.Write(filepath.Join(c.Dir, identityName), formatIdentity(c.Origin, c.VKeys, time.Now()))
}

// rebuildBatch is how many leaves of a tail are appended at once.
const rebuildBatch = 4096

// extend appends the leaves [from, size) to a store that nobody else has open.
func extend(ctx context.Context, store *posix.Dir, from, size int64, tail func(index int64) ([]byte, error)) (err error) {
	if from == size {
		return nil
	}
	a, err := store.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	for from < size {
		n := min(size-from, rebuildBatch)
		leaves := make([][]byte, n)
		for i := range leaves {
			if leaves[i], err = tail(from + int64(i)); err != nil {
				return err
			}
		}
		if _, err := a.Append(ctx, leaves); err != nil {
			return err
		}
		from += n
	}
	return nil
}

// RootAfter returns the root of the tree that begins with the tree which r reads
// and continues with leaves up to size.
func RootAfter(ctx context.Context, r *tile.Reader, from, size int64, tail func(index int64) ([]byte, error)) (leaf.Hash, error) {
	roots, err := r.Ranges(ctx, from)
	if err != nil {
		return leaf.Hash{}, fmt.Errorf("continuing a tree: %w", err)
	}
	hashes := make([][]byte, len(roots))
	for i := range roots {
		hashes[i] = roots[i][:]
	}
	tree, err := ranges.NewRange(0, uint64(from), hashes)
	if err != nil {
		return leaf.Hash{}, fmt.Errorf("continuing a tree: %w", err)
	}
	for ; from < size; from++ {
		b, err := tail(from)
		if err != nil {
			return leaf.Hash{}, fmt.Errorf("continuing a tree: %w", err)
		}
		h := leaf.HashOf(b)
		if err := tree.Append(h[:], nil); err != nil {
			return leaf.Hash{}, fmt.Errorf("continuing a tree: %w", err)
		}
	}
	return rootOf(tree), nil
}
